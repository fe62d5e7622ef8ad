"""Image sets by name, found on disk or downloaded once and verified.

What each named set is, its source, licence, checksum and citation, and where its files land: data/README.md.
"""

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
import torch

from gsa_utils.arguments import bad_value, unknown_name
from gsa_utils.images import ImageSet

SPLITS = ("train", "val", "test")
PHANTOMS = ("phantom-chest", "phantom-retina", "phantom-face")


class DataUnavailable(RuntimeError):
    """A data file is missing and cannot be downloaded, or is not the file it should be; the message says what to do."""


def load_image_set(
    name: str, split: str = "train", size: int | None = None, root: str | os.PathLike | None = None
) -> ImageSet:
    """One split of a named image set: images (N, C, size, size), labels (N,).

    Args:
        name: "phantom-chest", "phantom-retina" or "phantom-face": generated, no file needed, the important region is
            known (phantoms.py). A 2D MedMNIST v2 flag with one label an image, such as "pneumoniamnist" or
            "breastmnist" (https://medmnist.com; CC BY 4.0, but dermamnist CC BY-NC 4.0). "london-faces": 102 people,
            neutral and smiling (https://doi.org/10.6084/m9.figshare.5047666.v5, CC BY 4.0), `groups` says who.
        split: "train", "val" or "test": MedMNIST's official ones; the London faces are split by person.
        size: rows and columns. MedMNIST publishes 28 (default), 64, 128 and 224; London faces 96 (default) or less.
        root: folder where files are looked for and downloaded to. Default: $GSA_DATA; else data/cache of the checkout
            that this package lies in; else ./data/cache. A read-only folder that holds the file is never written to.

    Raises:
        ValueError: unknown name or split, a size the set does not come in, a MedMNIST set that is 3D or multi-label.
        DataUnavailable: the file is neither there nor downloadable, or is not what it should be.
    """
    if split not in SPLITS:
        raise unknown_name("split", split, SPLITS)
    if name in PHANTOMS:
        from gsa_utils.datasets.phantoms import load_phantom

        return load_phantom(name, split, size)
    if name == "london-faces":
        from gsa_utils.datasets.london import load_london_faces  # which itself needs `fetch`

        return load_london_faces(split, size, data_root(root))
    return _load_medmnist(name, split, size, data_root(root))


def _load_medmnist(flag: str, split: str, size: int | None, root: Path) -> ImageSet:
    from medmnist import INFO  # brings pandas and scikit-image along: a second that the other sets need not wait

    kinds = {f: "3D" if f.endswith("3d") else info["task"].split(",")[0] for f, info in INFO.items()}
    usable = [f for f, kind in kinds.items() if kind not in ("3D", "multi-label")]
    if flag not in usable:
        if flag in list(kinds):
            expected = f"a 2D set with one label an image: {', '.join(usable)}"
            raise bad_value("name", f"{flag!r}, which is {kinds[flag]}", expected)
        raise unknown_name("name", flag, [*PHANTOMS, "london-faces", *usable])
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


def data_root(root: str | os.PathLike | None = None) -> Path:
    """The folder of data files: `root`, else $GSA_DATA, else data/cache of the checkout, else ./data/cache."""
    checkout = Path(__file__).resolve().parents[2]
    base = checkout if (checkout / "pyproject.toml").is_file() else Path()
    return Path(root or os.environ.get("GSA_DATA") or base / "data" / "cache").expanduser().absolute()


def fetch(folder: Path, files: Mapping[str, tuple[str, str]]) -> list[Path]:
    """The paths of `files` under `folder`: each downloaded where it is missing, each verified.

    Where all are there nothing is written, so `folder` may be read-only. A file whose checksum is wrong is neither
    used, replaced nor deleted: it may be somebody's only copy of something else.

    Args:
        folder: created where it is missing.
        files: file name -> (URL, "algorithm:checksum").

    Raises:
        DataUnavailable: says which file, its URL and checksum, and what to do.
    """
    _verify(folder, files)
    missing = {name: source for name, source in files.items() if not (folder / name).exists()}
    if missing:
        _download(folder, missing)
        _verify(folder, missing)
    return [folder / name for name in files]


def _download(folder: Path, files: Mapping[str, tuple[str, str]]) -> None:
    import pooch
    from filelock import FileLock
    from tqdm import tqdm

    several, name = len(files) > 1, next(iter(files))
    pooch.get_logger().setLevel("WARNING" if several else "INFO")  # one bar for many files, not a line for each
    registry, urls = {n: checksum for n, (_, checksum) in files.items()}, {n: url for n, (url, _) in files.items()}
    store = pooch.create(folder, "", registry=registry, urls=urls, retry_if_failed=2)  # waits 1 s, then 2 s
    get = pooch.HTTPDownloader(progressbar=not several, chunk_size=2**16, timeout=30)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".download.lock"):
            for name in tqdm(files, f"to {folder}", unit="file", disable=not several):
                if not (folder / name).exists():  # what appeared meanwhile, pooch would replace if wrong
                    store.fetch(name, downloader=get)  # into a temporary file, renamed once its checksum is right
                    (folder / name).chmod(0o644)  # temporary files are private, but a data folder may be shared
    except (OSError, ValueError) as error:  # network and disk errors are OSErrors, a wrong checksum a ValueError
        raise DataUnavailable(
            f"{name} is not in {folder} and could not be downloaded from {urls[name]} ({error}). Put that file "
            f"({registry[name]}) into {folder}, or set GSA_DATA to a folder that holds it or can be written to. "
            f"The phantom sets need no download: {', '.join(PHANTOMS)}."
        ) from error


def _verify(folder: Path, files: Mapping[str, tuple[str, str]]) -> None:
    for name, (url, checksum) in files.items():
        path, (algorithm, expected) = folder / name, checksum.split(":")
        if not path.exists():
            continue
        found = _checksum(path, algorithm, path.stat().st_mtime_ns)
        if found != expected:
            raise DataUnavailable(
                f"{path} has {algorithm} {found}, expected {expected}: damaged, or another file. It was not used and "
                f"left as it is. Move it away to have it downloaded again from {url}, or set GSA_DATA elsewhere."
            )


@cache
def _checksum(path: Path, algorithm: str, modified: int) -> str:
    """The file's checksum: computed once in a process, and again if the file has been modified since."""
    import pooch

    return pooch.file_hash(str(path), alg=algorithm)


def split_in_three(image_set: ImageSet) -> dict[str, ImageSet]:
    """About 70, 15 and 15 % of the images (of the groups, where there are any), the same ones every time."""
    train, rest = image_set.split(0.7, seed=0)
    return dict(zip(SPLITS, (train, *rest.split(0.5, seed=0)), strict=True))
