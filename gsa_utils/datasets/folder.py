"""Image sets from a folder of your own: one sub-folder per class, grey or colour, 8 or 16 bits."""

import os
import re
import warnings
from collections import Counter
from collections.abc import Callable, Hashable
from itertools import product
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gsa_utils.arguments import Size, at_home, bad_value, check_name, height_and_width
from gsa_utils.files.reader import IMAGE_SUFFIXES, Reader
from gsa_utils.images import SPLITS, ImageSet, split_in_three

# Other people's names for split folders: taken for classes, they would teach a model to tell training from testing.
MISNAMED_SPLITS = {*SPLITS, "training", "valid", "validation", "testing"}


def load_image_folder(
    path: str | os.PathLike,
    size: Size,
    split: str = "train",
    groups: Callable[[Path], Hashable] | None = None,
) -> ImageSet:
    """One split of your own images: a folder with one sub-folder per class, whose sorted names are the class names.

    Where `path` holds train, val or test folders, these are the splits; else all images are divided 70 : 15 : 15, the
    same way every time. Deeper folders are searched too. A warning says what is left out: files that are no images, or
    lie beside the class folders; linked folders; all pages and frames of a file but its first.
    Images come out (N, 1, height, width), or (N, 3, height, width) if any image of any split is in colour. Deep grey
    images (16 bits) are divided by one number: the smallest 2^k - 1 that at most a thousandth of an image's pixels
    exceed, because scanners store 10, 12 or 14 bits in 16, and a few pixels may be burnt in. Resizing is antialiased
    (Lanczos) and does not keep the aspect ratio.

    Args:
        path: the folder.
        size: rows and columns, or (height, width), of every image that comes out.
        split: "train", "val" or "test".
        groups: gives the person or patient of an image file; no group straddles two splits. Where it is missing and
            file names look like people with several images each, a warning says so.

    Raises:
        ValueError: names the argument: no such folder, no classes, a class without images, an image that cannot be
            read or has 16 bits a colour, a group in two of your split folders, too few images to divide, an unknown
            split, a bad size.
    """
    check_name("split", split, SPLITS)
    shape = height_and_width("size", size)
    if groups is not None and not callable(groups):
        raise bad_value("groups", repr(groups), "a function from an image's path to its person or patient, or None")
    path = at_home("path", path)
    class_names, files, labels, parts = _list_images(path)
    if groups is None and (example := _several_of_one(files)):
        warnings.warn(f"{path}: {example}. Without groups= a model is tested on whom it was trained on", stacklevel=2)
    people = [(groups or str)(file) for file in files]  # without groups each image is one
    if None in people:
        raise bad_value("groups", f"None for {files[people.index(None)]}", "a person or patient of every image")
    people, names = _number_groups([str(person) for person in people], parts)
    if parts[0]:
        chosen = torch.tensor([part == split for part in parts])
        if not chosen.any():
            raise bad_value("split", repr(split), f"one of the folders in {path}: {', '.join(sorted(set(parts)))}")
    else:
        chosen = _choose_part(labels, people, class_names, split)
    read = Reader.of(files, shape)  # of all files: every split comes out alike
    chosen = chosen.nonzero()[:, 0]
    images = torch.from_numpy(np.stack([read(files[i]) for i in chosen]))
    if groups is None:
        return ImageSet(images, labels[chosen], class_names, name=path.name)
    return ImageSet(images, labels[chosen], class_names, people[chosen], name=path.name, group_names=names)


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
    if misnamed := [name for name in names if name.lower() in MISNAMED_SPLITS and name not in parts]:
        raise bad_value("path", f"{path} with a folder {misnamed[0]}", f"split folders named {', '.join(SPLITS)}")
    class_names = tuple(sorted({name for part in parts for name in _sub_folders(path / part)}))
    if not class_names:
        raise bad_value("path", f"{path} without class folders", "one sub-folder per class (in each split folder)")
    found = []
    others = [
        f for part in {"", *parts} for f in sorted((path / part).iterdir()) if f.is_file() and not _hidden(Path(f.name))
    ]
    for part, name in product(parts, class_names):
        folder = path / part / name
        inside = [f for f in sorted(folder.rglob("*")) if not _hidden(f.relative_to(folder))]
        others += [f for f in inside if f.is_symlink() and f.is_dir()]  # their files are not looked for
        inside = [f for f in inside if f.is_file()]
        images = [f for f in inside if f.suffix.lower() in IMAGE_SUFFIXES]
        if not images:
            came = f"{folder} with no image among {len(inside)} files"
            raise bad_value("path", came, f"at least one image of every class ({' '.join(IMAGE_SUFFIXES)})")
        found += [(f, class_names.index(name), part) for f in images]
        others += [f for f in inside if f.suffix.lower() not in IMAGE_SUFFIXES]
    if others:
        came = f"left out {len(others)} of {len(found) + len(others)} files and links, no images of a class"
        warnings.warn(f"{path}: {came}: {others[0]} ...", stacklevel=3)
    files, labels, parts = zip(*found, strict=True)
    return class_names, list(files), torch.tensor(labels), list(parts)


def _several_of_one(files: list[Path]) -> str:
    """In words, that what the file names begin with looks like people who have several images each; else empty."""
    starts = [re.split(r"[-_ .]", file.stem)[0] for file in files]
    counts = Counter(start for start in starts if re.search(r"\d", start))
    shared = [start for start in starts if counts[start] > 1]
    if len(counts) < max(5, len(files) / 20) or len(shared) < len(files) / 2:
        return ""
    one, two, *_ = (file.name for file, start in zip(files, starts, strict=True) if start == shared[0])
    return f"{len(shared)} of {len(files)} images share the start of their name, as if of one person: {one}, {two}"


def _number_groups(people: list[str], parts: list[str]) -> tuple[Tensor, tuple[str, ...]]:
    """Each image's person or patient as a number, and all their names; nobody may be in two split folders."""
    home = {}
    for person, part in zip(people, parts, strict=True):
        if home.setdefault(person, part) != part:
            raise bad_value("groups", f"{person!r} in {home[person]} and in {part}", "each group in one split only")
    names, numbers = np.unique(people, return_inverse=True)
    return torch.from_numpy(numbers), tuple(names.tolist())


def _choose_part(labels: Tensor, people: Tensor, class_names: tuple[str, ...], split: str) -> Tensor:
    """(N,) bool, what `split` gets. Decided on blank images, so that no file need be read to be left out."""
    if (count := len(people.unique())) < 6:
        raise bad_value("path", f"{count} images or groups", "at least 6 to divide, or train, val and test folders")
    blank = ImageSet(torch.zeros((len(labels), 1, 1, 1), dtype=torch.uint8), labels, class_names, people)
    return torch.isin(people, split_in_three(blank)[split].groups)
