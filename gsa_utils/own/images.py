"""All images of a folder or a table, with their classes and persons; a file that cannot be read is said, not fatal."""

import csv
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import joblib
import numpy as np
import torch
from tqdm.auto import tqdm

from gsa_utils.arguments import Size, at_home, bad_value
from gsa_utils.files.reader import IMAGE_SUFFIXES, Reader
from gsa_utils.images import SPLITS, ImageSet

LEAST = 10  # images of a class, two in each of five folds


class Listed(NamedTuple):
    """An image file, its class, and whose it is ("" where nobody says)."""

    file: Path
    label: str
    person: str


@dataclass(frozen=True)
class Found:
    """What was read.

    Attributes:
        files: of the images, in their order.
        left_out: files that are no images or could not be read, each with the reason.
    """

    image_set: ImageSet
    files: list[Path]
    left_out: list[tuple[Path, str]]
    reader: Reader


def list_images(source: Path, persons: str | None = None) -> tuple[list[Listed], list[tuple[Path, str]]]:
    """The images of a folder with a sub-folder per class, or of a CSV with columns file, label and, maybe, person.

    Folders named train, val and test are looked into, and count as one. Files of a CSV are relative to its folder.

    Args:
        persons: a regular expression that finds the person in a file's path below `source`: its first group, or all
            that matches. None: in a folder each image is a person of its own.

    Raises:
        ValueError: a source that is neither, has no classes, or a column too few; a pattern that does not match a file.
    """
    source = at_home("source", source)
    if source.is_file():
        found, others = _from_table(source), []
    elif source.is_dir():
        found, others = _from_folder(source)
    else:
        raise bad_value("source", source, "a folder with one sub-folder per class, or a CSV of file, label, person")
    if persons is not None:
        root = source if source.is_dir() else source.parent
        found = [one._replace(person=_person(one.file, root, persons)) for one in found]
    if len(classes := sorted({one.label for one in found})) < 2:
        raise bad_value("source", f"{source} with the classes {classes}", "images of at least two classes")
    return found, others


def _from_table(path: Path) -> list[Listed]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise bad_value("source", f"{path} ({error})", "a CSV in UTF-8") from error
    if not rows or not {"file", "label"} <= set(rows[0]):
        came = f"{path} with the columns {', '.join(map(str, rows[0])) if rows else 'of no row'}"
        raise bad_value("source", came, "a CSV with the columns file and label, and person where it is known")
    for number, row in enumerate(rows, 2):
        if not row["file"] or not row["label"]:
            raise bad_value("source", f"{path}, line {number}, without a file or a label", "both in every row")
    return [Listed(path.parent / row["file"], row["label"], row.get("person") or "") for row in rows]


def _from_folder(source: Path) -> tuple[list[Listed], list[tuple[Path, str]]]:
    found, others = [], []
    for file in sorted(source.rglob("*")):
        inside = file.relative_to(source).parts
        if file.is_dir() or any(part.startswith((".", "__MACOSX")) for part in inside):
            continue
        folders = inside[1:] if inside[0].lower() in SPLITS else inside
        if file.suffix.lower() not in IMAGE_SUFFIXES:
            others.append((file, "no image"))
        elif len(folders) < 2:
            others.append((file, "in no class folder"))
        else:
            found.append(Listed(file, folders[0], ""))
    return found, others


def _person(file: Path, root: Path, pattern: str) -> str:
    try:
        match = re.search(pattern, file.relative_to(root).as_posix())
    except re.error as error:
        raise bad_value("persons", repr(pattern), f"a regular expression ({error})") from error
    if match is None:
        raise bad_value("persons", repr(pattern), f"a pattern that is found in every path, and not in {file.name}")
    return match[1] if match.re.groups else match[0]


def read_images(
    source: str | Path, size: Size, persons: str | None = None, most: int | None = None, progress: bool = True
) -> Found:
    """Read all of them, `most` at random where there are more.

    Raises:
        ValueError: what `list_images` refuses, or fewer than LEAST images of a class that can be read.
    """
    listed, left_out = list_images(Path(source), persons)
    if most is not None and len(listed) > most:
        kept = np.sort(np.random.default_rng(0).permutation(len(listed))[:most])
        left_out.append((Path(source), f"{len(listed) - most} images more than the {most} that are looked at"))
        listed = [listed[i] for i in kept]
    usable, reader = _readable(listed, size, left_out)
    read = joblib.Parallel(n_jobs=-1, prefer="threads", return_as="generator")(
        joblib.delayed(_read)(reader, one.file) for one in usable
    )
    read = list(tqdm(read, "images", len(usable), disable=not progress))
    left_out += [(one.file, why) for one, why in zip(usable, read, strict=True) if isinstance(why, str)]
    good = [(one, pixels) for one, pixels in zip(usable, read, strict=True) if not isinstance(pixels, str)]
    names = sorted({one.label for one in usable})
    counts = {name: sum(one.label == name for one, _ in good) for name in names}
    if len(names) < 2 or min(counts.values()) < LEAST:
        came = ", ".join(f"{count} of {name}" for name, count in counts.items())
        raise bad_value("source", f"{came} that can be read", f"at least {LEAST} images of each of two classes")
    image_set = ImageSet(
        torch.from_numpy(np.stack([pixels for _, pixels in good])),
        torch.tensor([names.index(one.label) for one, _ in good]),
        tuple(names),
        _groups(one for one, _ in good),
        name=Path(source).stem,
    )
    return Found(image_set, [one.file for one, _ in good], left_out, reader)


def _readable(listed: list[Listed], size: Size, left_out: list[tuple[Path, str]]) -> tuple[list[Listed], Reader]:
    """What can be opened at all, and a reader that suits these; the reasons of the others are added to `left_out`."""
    usable = []
    for one in listed:
        try:
            Reader.of([one.file], size)
            usable.append(one)
        except ValueError as error:
            left_out.append((one.file, str(error).partition("(")[2].partition(")")[0] or str(error)))
    return usable, Reader.of([one.file for one in usable], size)


def _read(reader: Reader, file: Path) -> np.ndarray | str:
    try:
        return reader(file)
    except ValueError as error:
        return str(error)


def _groups(listed: Iterable[Listed]) -> torch.Tensor | None:
    persons = [one.person or f"\0{number}" for number, one in enumerate(listed)]  # unnamed: of one's own
    if all(person.startswith("\0") for person in persons):
        return None
    return torch.from_numpy(np.unique(persons, return_inverse=True)[1])
