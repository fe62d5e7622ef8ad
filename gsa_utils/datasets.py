"""Image sets by name, found on disk or downloaded once and verified, or from a folder of your own.

What each named set is, its source, licence, checksum and citation, and where its files land: data/README.md.
"""

import os
import warnings
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from itertools import product
from numbers import Integral
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from gsa_utils.errors import bad_value, unknown_name
from gsa_utils.images import ImageSet

SPLITS = ("train", "val", "test")
PHANTOMS = ("phantom-chest", "phantom-retina", "phantom-face")
IMAGE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
GREY_MODES = ("1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "I;16N", "F")


class DataUnavailable(RuntimeError):
    """A data file is missing and cannot be downloaded, or is not the file it should be; the message says what to do."""


def load_image_set(
    name: str, split: str = "train", size: int | None = None, root: str | os.PathLike | None = None
) -> ImageSet:
    """One split of a named image set: images (N, C, size, size), labels (N,).

    Args:
        name: "phantom-chest", "phantom-retina" or "phantom-face": generated, no file needed, the important region is
            known (`gsa_utils.phantoms`). A 2D MedMNIST v2 flag with one label an image, such as "pneumoniamnist" or
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
        from gsa_utils.phantoms import load_phantom

        return load_phantom(name, split, size)
    if name == "london-faces":
        from gsa_utils.london import load_london_faces  # which itself needs `fetch`

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
    checkout = Path(__file__).resolve().parents[1]
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


def load_image_folder(
    path: str | os.PathLike,
    size: int | tuple[int, int],
    split: str = "train",
    groups: Callable[[Path], Hashable] | None = None,
) -> ImageSet:
    """One split of your own images: a folder with one sub-folder per class, whose sorted names are the class names.

    Where `path` holds train, val or test folders, these are the splits; else all images are divided 70 : 15 : 15, the
    same way every time. Deeper folders are searched too; files that are no images are left out with a warning.
    Images come out (N, 1, height, width), or (N, 3, height, width) if any image of any split is in colour. Deep grey
    images (16 bits) are divided by one number: the smallest 2^k - 1 that no pixel of the folder exceeds, because
    scanners store 10, 12 or 14 bits in 16. Resizing is antialiased (Lanczos) and does not keep the aspect ratio.

    Args:
        path: the folder.
        size: rows and columns, or (height, width), of every image that comes out.
        split: "train", "val" or "test".
        groups: gives the person or patient of an image file; no group straddles two splits.

    Raises:
        ValueError: names the argument: no such folder, no classes, a class without images, an image that cannot be
            read, a group in two of your split folders, too few images to divide, an unknown split, a bad size.
    """
    if split not in SPLITS:
        raise unknown_name("split", split, SPLITS)
    shape = tuple(size) if isinstance(size, tuple | list) else (size, size)  # (height, width)
    if len(shape) != 2 or not all(isinstance(side, Integral) and side > 0 for side in shape):
        raise bad_value("size", repr(size), "a positive whole number of pixels, or (height, width)")
    if groups is not None and not callable(groups):
        raise bad_value("groups", repr(groups), "a function from an image's path to its person or patient, or None")
    path = Path(path).expanduser()
    class_names, files, labels, parts = _list_images(path)
    people = _number_groups([str((groups or str)(file)) for file in files], parts)  # no groups: each image is one
    if parts[0]:
        chosen = torch.tensor([part == split for part in parts])
        if not chosen.any():
            raise bad_value("split", repr(split), f"one of the folders in {path}: {', '.join(sorted(set(parts)))}")
    else:
        chosen = _choose_part(labels, people, class_names, split)
    colour, white = _colour_and_white(files)  # of all files: every split comes out alike
    chosen = chosen.nonzero()[:, 0]
    images = torch.from_numpy(np.stack([_pixels(files[i], shape, colour, white) for i in chosen]))
    return ImageSet(images, labels[chosen], class_names, people[chosen] if groups else None, name=path.name)


def _sub_folders(folder: Path) -> list[str]:
    if not folder.is_dir():
        raise bad_value("path", folder, "an existing folder with one sub-folder per class")
    return sorted(f.name for f in folder.iterdir() if f.is_dir() and not _hidden(Path(f.name)))


def _hidden(path: Path) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in path.parts)


def _list_images(path: Path) -> tuple[tuple[str, ...], list[Path], Tensor, list[str]]:
    """Class names; then of each image its file, its class number, and the split folder it lies in ("" for none)."""
    names = _sub_folders(path)
    parts = [n for n in SPLITS if n in names] if "train" in names or set(names) <= set(SPLITS) else [""]
    class_names = tuple(sorted({name for part in parts for name in _sub_folders(path / part)}))
    if not class_names:
        raise bad_value("path", f"{path} without class folders", "one sub-folder per class (in each split folder)")
    found, others = [], []
    for part, name in product(parts, class_names):
        folder = path / part / name
        inside = sorted(f for f in folder.rglob("*") if f.is_file() and not _hidden(f.relative_to(folder)))
        images = [f for f in inside if f.suffix.lower() in IMAGE_SUFFIXES]
        if not images:
            came = f"{folder} with no image among {len(inside)} files"
            raise bad_value("path", came, f"at least one image of every class ({' '.join(IMAGE_SUFFIXES)})")
        found += [(f, class_names.index(name), part) for f in images]
        others += [f for f in inside if f.suffix.lower() not in IMAGE_SUFFIXES]
    if others:
        came = f"left out {len(others)} of {len(found) + len(others)} files, no images: {others[0]}"
        warnings.warn(f"{path}: {came} ...", stacklevel=3)
    files, labels, parts = zip(*found, strict=True)
    return class_names, list(files), torch.tensor(labels), list(parts)


def _number_groups(people: list[str], parts: list[str]) -> Tensor:
    """Each image's person or patient as a number, the same in every split; nobody may be in two split folders."""
    home = {}
    for person, part in zip(people, parts, strict=True):
        if home.setdefault(person, part) != part:
            raise bad_value("groups", f"{person!r} in {home[person]} and in {part}", "each group in one split only")
    return torch.from_numpy(np.unique(people, return_inverse=True)[1])


def _choose_part(labels: Tensor, people: Tensor, class_names: tuple[str, ...], split: str) -> Tensor:
    """(N,) bool, what `split` gets. Decided on blank images, so that no file need be read to be left out."""
    if (count := len(people.unique())) < 6:
        raise bad_value("path", f"{count} images or groups", "at least 6 to divide, or train, val and test folders")
    blank = ImageSet(torch.zeros((len(labels), 1, 1, 1), dtype=torch.uint8), labels, class_names, people)
    return torch.isin(people, split_in_three(blank)[split].groups)


@contextmanager
def _opened(file: Path) -> Iterator[Image.Image]:
    try:
        with Image.open(file) as image:
            yield image
    except Exception as error:  # each of Pillow's decoders has its own ways to fail
        raise bad_value("path", f"{file}, which cannot be read ({error})", "an 8- or 16-bit image") from error


def _colour_and_white(files: list[Path]) -> tuple[bool, int]:
    """Whether any file is a colour image (even if all its pixels are grey), and what is white in the deep grey ones."""
    colour, highest = False, 255
    for file in files:
        with _opened(file) as image:  # reads no pixels
            colour |= image.mode not in GREY_MODES
            if image.mode.startswith("I"):
                highest = max(highest, int(np.asarray(image).max()))
    return colour, 2 ** highest.bit_length() - 1


def _pixels(file: Path, shape: tuple[int, int], colour: bool, white: int) -> np.ndarray:
    """(C, height, width) uint8"""
    with _opened(file) as image:
        image = ImageOps.exif_transpose(image)  # cameras store "turn me", which would leave the images unaligned
        values = np.asarray(image)
        if image.mode == "F" or values.min() < 0:
            raise ValueError("fractional or negative intensities, whose black and white are unknown")
        if image.mode.startswith("I"):
            image = Image.fromarray((values * (255 / white)).round().astype(np.uint8))
        image = image.convert("RGB" if colour else "L").resize(shape[::-1], Image.Resampling.LANCZOS)
    pixels = np.asarray(image)  # (H, W) or (H, W, 3)
    return pixels.transpose(2, 0, 1) if colour else pixels[None]
