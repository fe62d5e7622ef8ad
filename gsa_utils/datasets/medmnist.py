"""MedMNIST v2: medical image sets with official splits, https://medmnist.com.

checksums/medmnist.json was taken from `medmnist.INFO` of the package medmnist 3.0.2 (Apache-2.0); the files themselves
are the record https://doi.org/10.5281/zenodo.10519652.
"""

import json
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch

from gsa_utils.arguments import bad_value
from gsa_utils.datasets.download import fetch
from gsa_utils.images import ImageSet


@cache
def published() -> dict[str, dict]:
    """Every flag of MedMNIST v2 -> its task; of the 2D sets with one label an image also labels and files by size."""
    return json.loads(files("gsa_utils.datasets").joinpath("checksums/medmnist.json").read_text(encoding="utf-8"))


def flags() -> list[str]:
    """The sets that can be loaded."""
    return [flag for flag, facts in published().items() if "files" in facts]


def load_medmnist(flag: str, split: str, size: int | None, root: Path) -> ImageSet:
    """The official `split`, (N, 1 or 3, size, size), from the npz under `root`, downloaded where it is missing.

    Raises:
        ValueError: a set that is 3D or multi-label, a size that it is not published in.
        DataUnavailable: the file is neither there nor downloadable, or is not what it should be.
    """
    facts = published()[flag]
    if flag not in flags():
        expected = f"a 2D set with one label an image: {', '.join(flags())}"
        raise bad_value("name", f"{flag!r}, which is {facts['task']}", expected)
    sources = {int(side): source for side, source in facts["files"].items()}
    size = 28 if size is None else size
    if size not in list(sources):
        raise bad_value("size", size, f"{', '.join(map(str, sources))}: the sizes that {flag} is published in")
    name = f"{flag}.npz" if size == 28 else f"{flag}_{int(size)}.npz"
    # MedMNIST publishes md5 only, which anybody can forge; sha256 is ours, of the files that we have had.
    algorithm = "sha256" if "sha256" in sources[size] else "md5"
    (path,) = fetch(root, {name: (sources[size]["url"], f"{algorithm}:{sources[size][algorithm]}")})
    with np.load(path, allow_pickle=False) as arrays:
        images, labels = torch.from_numpy(arrays[f"{split}_images"]), arrays[f"{split}_labels"]
    # (N, H, W) or (N, H, W, 3) on disk
    images = images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2).contiguous()
    return ImageSet(images, torch.from_numpy(labels.astype(np.int64)[:, 0]), tuple(facts["labels"]), name=flag)
