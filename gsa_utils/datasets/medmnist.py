"""MedMNIST v2: medical image sets with official splits, https://medmnist.com."""

from pathlib import Path

import numpy as np
import torch

from gsa_utils.arguments import bad_value
from gsa_utils.datasets.download import fetch
from gsa_utils.images import ImageSet


def flags(usable: bool = True) -> list[str]:
    """MedMNIST's names of its sets: those that can be loaded here, or all."""
    from medmnist import INFO  # brings pandas and scikit-image along: a second that the other sets need not wait

    return [flag for flag in INFO if not usable or _kind(flag) not in ("3D", "multi-label")]


def load_medmnist(flag: str, split: str, size: int | None, root: Path) -> ImageSet:
    """The official `split`, (N, 1 or 3, size, size), from the npz under `root`, downloaded where it is missing.

    Raises:
        ValueError: a set that is 3D or multi-label, a size that it is not published in.
        DataUnavailable: the file is neither there nor downloadable, or is not what it should be.
    """
    from medmnist import INFO

    if flag not in flags():
        expected = f"a 2D set with one label an image: {', '.join(flags())}"
        raise bad_value("name", f"{flag!r}, which is {_kind(flag)}", expected)
    info = INFO[flag]
    suffixes = {28: ""} | {int(key[4:]): key[3:] for key in info if key.startswith("url_")}
    size = 28 if size is None else size
    if size not in list(suffixes):
        raise bad_value("size", size, f"{', '.join(map(str, suffixes))}: the sizes that {flag} is published in")
    suffix = suffixes[size]
    source = info["url" + suffix], "md5:" + info["MD5" + suffix]
    (path,) = fetch(root, {f"{flag}{suffix}.npz": source})
    with np.load(path, allow_pickle=False) as arrays:
        images, labels = torch.from_numpy(arrays[f"{split}_images"]), arrays[f"{split}_labels"]
    # (N, H, W) or (N, H, W, 3) on disk
    images = images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2).contiguous()
    names = tuple(info["label"][key] for key in sorted(info["label"], key=int))
    return ImageSet(images, torch.from_numpy(labels.astype(np.int64)[:, 0]), names, name=flag)


def _kind(flag: str) -> str:
    from medmnist import INFO

    return "3D" if flag.endswith("3d") else INFO[flag]["task"].split(",")[0]
