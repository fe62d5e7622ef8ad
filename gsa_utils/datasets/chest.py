"""Two open sets of chest X-rays: Kermany's of children, pneumonia or not, and the NIH's of adults, a finding or none.

Neither can be downloaded from here; data/README.md says what to put where, and what is wrong with each set.

All images of a set are pooled and divided anew by person: in the folders that they come in, people may be on two sides.
Exact copies of a file are left out: they teach nothing new and would be counted twice.

Images become squares and lose their aspect ratio: the maker of Kermany's ready copy squashed it so, and its originals
shall give the same pictures; the NIH's originals are square. Resizing is antialiased (Lanczos), as for the other sets.
"""

import csv
import hashlib
import re
import warnings
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO, StringIO
from pathlib import Path, PurePosixPath
from zipfile import ZipFile

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from gsa_utils.arguments import bad_value, text_of, whole_number
from gsa_utils.datasets.download import DataUnavailable, read_npz, verify, write_npz
from gsa_utils.images import ImageSet, split_in_three
from gsa_utils.splits import group_numbers

MENDELEY = "https://doi.org/10.17632/rscbjbr9sj"
NIH_BOX = "https://nihcc.app.box.com/v/ChestXray-NIHCC"
NIH1000 = "https://github.com/dinbe0527/kcr2019d1"


@dataclass(frozen=True)
class _Source:
    """One form in which a set may lie in the data folder, or one folder below."""

    place: str  # a zip file, a folder, or a table beside folders of images; a pattern for glob
    name: str  # of an image in there: a pattern that finds the person and, for class 1, `ill`; a table says both itself
    side: int  # the largest size that the images are good for
    count: int  # images, when all are there
    address: str
    checksum: str = ""


@dataclass(frozen=True)
class _Collection:
    class_names: tuple[str, str]
    sources: tuple[_Source, ...]  # the first that is there is taken
    advice: str


# bacteria, virus, NORMAL2-: a number is one child, whatever stands around it. data/README.md says why.
_CHILD = r"chest_xray/(train|val|test)/(NORMAL|(?P<ill>PNEUMONIA))/(NORMAL2-)?(?P<person>(person|IM-)\d+)[-_].*\.jpe?g"
_ADULT = r"(NIH1000/)?(train|valid|test)/(0_normal|(?P<ill>1_abnormal))/(?P<person>\d+)_\d+\.png"
_KERMANY_SUM = "sha256:d194b1e796cac8f4d3ef17fb0077333f51fec5682a39ec2372919c4f44c927c7"
_NIH_SUM = "sha256:79526223dde1ed833d85fb2213c7a6032db0c9c3c686126e7e221884f262718f"

COLLECTIONS = {
    "kermany-chest": _Collection(
        ("normal", "pneumonia"),
        (
            _Source("chest_xray", _CHILD, 224, 5856, MENDELEY),
            _Source("kermany_chest_224.zip", _CHILD, 224, 5840, MENDELEY, _KERMANY_SUM),
        ),
        f"the folder chest_xray from the archive at {MENDELEY}, or kermany_chest_224.zip",
    ),
    "nih-chest": _Collection(
        ("no finding", "finding"),
        (
            _Source("Data_Entry_2017*.csv", "", 1024, 112_120, NIH_BOX),
            _Source("NIH1000", _ADULT, 64, 1000, NIH1000),
            _Source("nih_chest_64.zip", _ADULT, 64, 1000, NIH1000, _NIH_SUM),
        ),
        f"Data_Entry_2017_v2020.csv and, beside it, the image folders from {NIH_BOX} (42 GB); or, for 1,000 of these "
        f"images at 64 x 64, the folder NIH1000 from {NIH1000} or nih_chest_64.zip",
    ),
}


def load_chest(name: str, split: str, size: int | None, root: Path) -> ImageSet:
    """The images of `split`, (N, 1, size, size), grey; `groups` holds the NIH's patient numbers, or numbers children.

    The resized images are kept in NAME_SIZE.npz under `root` where that can be written to, and read from there the next
    time, also when the files that they were made from are gone. The whole set is in memory while it is divided, and the
    split beside it: the NIH's 112,120 images take .46 GB at 64 pixels, 5.6 GB at 224.

    Args:
        name: "kermany-chest" or "nih-chest".
        size: 64 unless told. Kermany's up to 224; the NIH's up to 1024, or 64 where the small copy is all there is.

    Raises:
        ValueError: when `size` is no whole number, or larger than the images are good for.
        DataUnavailable: files missing, or not what they should be.
    """
    collection, size = COLLECTIONS[name], 64 if size is None else size
    best = max(collection.sources, key=lambda source: source.side)
    if not whole_number(size, 1) or size > best.side:
        raise bad_value("size", repr(size), f"a whole number of pixels from 1 to {best.side}")
    source, path = _find(collection, root)
    if source and size > source.side:
        raise bad_value("size", size, f"at most {source.side}, which {path} is good for; larger images: {best.address}")
    made = root / f"{name.replace('-', '_')}_{int(size)}.npz"
    if not source and not made.exists():
        raise DataUnavailable(
            f"{name} is not in {root} and cannot be downloaded from here. Put there {collection.advice}; or set "
            "GSA_DATA to the folder that holds it. The phantom sets need no files: phantom-chest, phantom-retina, "
            "phantom-face."
        )
    images, labels, people = (torch.from_numpy(a) for a in _kept_or_read(made, source, path, int(size)))
    return split_in_three(ImageSet(images[:, None], labels, collection.class_names, people, name=name))[split]


def _find(collection: _Collection, root: Path) -> tuple[_Source | None, Path]:
    """The source that is there, and where; None where there is none."""
    for source in collection.sources:
        if paths := sorted(root.glob(source.place)) or sorted(root.glob(f"*/{source.place}")):
            if source.checksum:
                verify(paths[-1].parent, {paths[-1].name: (source.address, source.checksum)})
            return source, paths[-1]
    return None, root


def _kept_or_read(made: Path, source: _Source | None, path: Path, size: int) -> tuple[np.ndarray, ...]:
    """Images (N, size, size) uint8, labels (N,) and people (N,) int64: from `made`, else from the files of the set."""
    found = _list(source, path) if source else {}
    fingerprint = hashlib.sha256(repr(found).encode()).hexdigest()
    if made.exists():
        *arrays, made_from = read_npz(made, "images", "labels", "people", "made_from")
        if arrays[0].shape[1:] != (size, size) or (source and made_from != fingerprint):
            raise DataUnavailable(
                f"{made} holds images {arrays[0].shape} of files {made_from}, expected {size} x {size} pixels and "
                f"{fingerprint} as in {path}. Move it away to have it made again."
            )
        return tuple(arrays)
    images, digests = _read(source, path, tuple(found), fingerprint, size)
    _, labels, people = zip(*found.values(), strict=True)
    kept, people = _leave_out_copies(digests, group_numbers(people, len(people)).numpy())
    if len(kept) < len(images):  # the whole set may fill the memory: not copied without need
        images = images[kept]
    arrays = {"images": images, "labels": np.array(labels, np.int64)[kept], "people": people[kept]}
    write_npz(made, **arrays, made_from=fingerprint)
    if made.exists():
        _read.cache_clear()
    return tuple(arrays.values())


def _list(source: _Source, path: Path) -> dict[str, tuple[int, int, int | str]]:
    """Name -> bytes, label and person of each image, in order. Other files, as systems leave about, do not count."""
    if path.suffix == ".zip":
        with ZipFile(path) as archive:
            files = {file.filename: file.file_size for file in archive.infolist()}
    else:
        inside = path.parent.glob("images*/**/*.png") if path.suffix == ".csv" else path.rglob("*")
        files = {file.relative_to(path.parent).as_posix(): file.stat().st_size for file in inside}
    known = _by_table(files, path) if path.suffix == ".csv" else _by_name(files, source.name)
    if not known:
        raise DataUnavailable(f"{path}: none of its images are there under their names. Source: {source.address}")
    if len(known) < source.count:
        warnings.warn(f"{path}: {len(known)} of {source.count} images are there", stacklevel=5)
    return {name: (files[name], *known[name]) for name in sorted(known)}


def _by_name(names: Iterable[str], pattern: str) -> dict[str, tuple[int, int | str]]:
    """Label and person of each image, where its name tells both."""
    found = {name: match for name in names if (match := re.fullmatch(pattern, name))}
    people = {name: match["person"] for name, match in found.items()}
    return {name: (int(bool(found[name]["ill"])), int(p) if p.isdigit() else p) for name, p in people.items()}


def _by_table(names: Iterable[str], table: Path) -> dict[str, tuple[int, int]]:
    """Label and person of each image that the NIH's table lists."""
    try:
        lines = csv.DictReader(StringIO(text_of("root", table)))
        if missing := {"Image Index", "Finding Labels", "Patient ID"} - set(lines.fieldnames or ()):
            raise DataUnavailable(f"{table} has no column {', '.join(sorted(missing))}. Source: {NIH_BOX}")
        rows = {
            row["Image Index"]: (int(row["Finding Labels"] != "No Finding"), int(row["Patient ID"])) for row in lines
        }
    except (ValueError, TypeError, csv.Error) as error:  # no UTF-8, no number, a row that ends early
        raise DataUnavailable(f"{table} cannot be read ({error}). Source: {NIH_BOX}") from error
    return {name: rows[image] for name in names if (image := PurePosixPath(name).name) in rows}


@lru_cache(maxsize=1)  # for a folder that cannot be written to: its three splits are read at once
def _read(
    source: _Source, path: Path, names: tuple[str, ...], fingerprint: str, size: int
) -> tuple[np.ndarray, list[bytes]]:
    """(N, size, size) uint8, and a checksum of each file."""
    images, digests = np.empty((len(names), size, size), np.uint8), []
    with ZipFile(path) if path.suffix == ".zip" else nullcontext() as archive:
        for image, name in zip(images, tqdm(names, path.name, unit="image", delay=20), strict=True):
            try:
                content = archive.read(name) if archive else (path.parent / name).read_bytes()
                image[:] = _pixels(content, size)
            except Exception as error:  # zip files and each of Pillow's decoders have their own ways to fail
                message = f"{name} cannot be read in {path.parent} ({error}). Source: {source.address}"
                raise DataUnavailable(message) from error
            digests.append(hashlib.sha256(content).digest())
    return images, digests


def _pixels(content: bytes, size: int) -> np.ndarray:
    """(size, size) uint8. Some of the NIH's files are RGBA; those at hand are opaque."""
    with Image.open(BytesIO(content)) as image:
        # A JPEG may be decoded at 1/2, 1/4 or 1/8, which is faster; three times the size asked for keeps the picture.
        image.draft("L", (3 * size, 3 * size))
        return np.asarray(image.convert("L").resize((size, size), Image.Resampling.LANCZOS))


def _leave_out_copies(digests: list[bytes], people: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions of all images but copies of earlier ones; and the people of all, two who share a file made one."""
    first: dict[bytes, int] = {}
    original = np.array([first.setdefault(digest, i) for i, digest in enumerate(digests)])
    people = people.copy()
    for copy in np.flatnonzero(people != people[original]):
        people[people == people[copy]] = people[original[copy]]
    return np.unique(original), people
