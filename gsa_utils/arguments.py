"""What every complaint about an argument is made of: its name, what came, and what was expected."""

import difflib
import math
import os
from collections.abc import Iterable, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

Kind = TypeVar("Kind")
MOST = 2**31 - 1  # of anything that is counted: more is a slip, and torch raises internal errors
LARGEST = 2**14  # pixels a side of any image: what is larger is a slip that would take all memory
Size = Integral | tuple[Integral, Integral]  # one number of pixels for both sides, or (height, width)


def bad_value(argument: str, came: object, expected: str) -> ValueError:
    """A ValueError that names the argument, what came and what was expected, in one line; the caller raises it."""
    lines = str(came).splitlines()  # of a network, say
    return ValueError(f"{argument}: got {lines[0] if lines else ''}{' ...' * (len(lines) > 1)}, expected {expected}")


def unknown_name(argument: str, came: object, names: Iterable[str]) -> ValueError:
    """A ValueError for a name outside a fixed list; the nearest valid names come last."""
    names = list(names)
    near = difflib.get_close_matches(str(came).lower(), names, n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
    return bad_value(argument, repr(came), f"one of {', '.join(names[:40])}{', ...' if len(names) > 40 else ''}{hint}")


def describe(value: object) -> str:
    """A value in a few words: of a tensor or an array its type and shape."""
    if isinstance(value, Tensor | np.ndarray):
        kind = "tensor" if isinstance(value, Tensor) else "ndarray"
        return f"a {str(value.dtype).removeprefix('torch.')} {kind} of shape {tuple(value.shape)}"
    return f"{type(value).__name__} {' '.join(repr(value).split()):.60}"


def instance_of(argument: str, value: object, kind: type[Kind], expected: str) -> Kind:
    """The value, which is of this kind.

    Raises:
        ValueError: it is not.
    """
    if not isinstance(value, kind):
        hint = "; it holds one as .model" if isinstance(getattr(value, "model", None), kind) else ""
        raise bad_value(argument, describe(value), expected + hint)
    return value


def as_map(argument: str, value: object) -> Tensor:
    """A map (H, W) in double precision on the CPU, without its gradient.

    Raises:
        ValueError: something else.
    """
    if not isinstance(value, Tensor) or value.ndim != 2 or value.is_complex() or not value.numel():
        hint = "; torch.from_numpy makes one" if isinstance(value, np.ndarray) else ""
        raise bad_value(argument, describe(value), f"a map, a tensor (H, W) of numbers{hint}")
    return value.detach().double().cpu()


def number_of_names(class_names: object) -> int:
    """How many names of classes these are.

    Raises:
        ValueError: no sequence of texts (a set has no order), or a name that is there twice.
    """
    if not isinstance(class_names, Sequence) or isinstance(class_names, str):
        raise bad_value("class_names", describe(class_names), "a list or tuple of names, in the order of the labels")
    if not all(isinstance(name, str) for name in class_names) or len(set(class_names)) < len(class_names):
        raise bad_value("class_names", f"{list(class_names)!r:.80}", "texts, each of them once")
    return len(class_names)


def check_name(argument: str, value: object, names: Iterable[str]) -> None:
    """Raise a ValueError unless this is one of these names."""
    if not isinstance(value, str) or value not in (names := list(names)):
        raise unknown_name(argument, value, names)


def check_switch(argument: str, value: object) -> None:
    """Raise a ValueError unless this is True or False: the text "no" counts as true in Python."""
    if not isinstance(value, bool | np.bool_):
        raise bad_value(argument, repr(value), "True or False")


def check_whole(argument: str, value: object, least: int) -> None:
    """Raise a ValueError unless this is an integer from `least` to MOST."""
    if not whole_number(value, least):
        raise bad_value(argument, repr(value), f"a whole number, at least {least} and at most {MOST}")


def check_seed(seed: object) -> int:
    """The seed as Python's own integer, which every generator takes.

    Raises:
        ValueError: no whole number, or one that NumPy's generators refuse.
    """
    if not isinstance(seed, Integral) or isinstance(seed, bool) or not 0 <= seed < 2**32:
        raise bad_value("seed", repr(seed), "a whole number from 0, below 2**32")
    return int(seed)


def positions(argument: str, value: object, count: int) -> Tensor:
    """A list, array or tensor of integers as positions (k,) among `count` things; negative ones count from the end.

    Raises:
        ValueError: something else, none, or one out of range.
    """
    try:
        found = torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        found = torch.empty(0)
    is_whole = not (found.dtype.is_floating_point or found.dtype.is_complex or found.dtype == torch.bool)
    if found.ndim != 1 or not len(found) or not is_whole:
        raise bad_value(argument, describe(value), "a non-empty one-dimensional list of integers")
    found = found.long()
    if found.min() < -count or found.max() >= count:
        raise bad_value(argument, f"{found.min()} to {found.max()}", f"positions from {-count} to {count - 1}")
    return found


def check_positive(argument: str, value: object) -> None:
    """Raise a ValueError unless this is a finite number above 0; True is none."""
    if not real_number(value) or not value > 0:
        raise bad_value(argument, repr(value), "a positive number")


def real_number(value: object) -> bool:
    """Whether this is a finite number, NumPy's included; True and False are none."""
    try:
        return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # a whole number that no float reaches
        return False


def is_share(value: object) -> bool:
    """Whether this is a number from 0 to 1, as `real_number` has it."""
    return real_number(value) and 0 <= value <= 1


def whole_number(value: object, least: int) -> bool:
    """Whether this is an integer, NumPy's included, from `least` to MOST; True and False are none."""
    return isinstance(value, Integral) and not isinstance(value, bool) and bool(least <= value <= MOST)


def height_and_width(argument: str, size: object) -> tuple[int, int]:
    """(height, width) from one number for both or a pair.

    Raises:
        ValueError: something else, or a side that is not a positive whole number.
    """
    sides = tuple(size) if isinstance(size, tuple | list) else (size, size)
    if len(sides) != 2 or not all(whole_number(side, 1) for side in sides):
        raise bad_value(argument, repr(size), "a positive whole number of pixels, or (height, width)")
    if max(sides) > LARGEST:
        raise bad_value(argument, repr(size), f"at most {LARGEST} pixels a side")
    return int(sides[0]), int(sides[1])


def check_path(argument: str, path: object) -> None:
    """Raise a ValueError unless this can be the path of a file or folder."""
    if not isinstance(path, str | os.PathLike):
        raise bad_value(argument, describe(path), "a path: a str or a pathlib.Path")
    if "\0" in os.fsdecode(path):
        raise bad_value(argument, repr(path), "a path without the character NUL, which no file has in its name")


def at_home(argument: str, path: str | os.PathLike) -> Path:
    """The path, where a leading ~ is the user's home folder.

    Raises:
        ValueError: no path, or the home of somebody whom the system does not know.
    """
    check_path(argument, path)
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise bad_value(argument, repr(path), "a path whose ~ names a home folder") from error


def text_of(argument: str, path: Path) -> str:
    """What a text file holds, without the mark (BOM) that some editors begin it with; line ends are "\\n".

    Raises:
        ValueError: bytes that are no UTF-8.
        OSError: no such file, or one that cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        came = f"{path}, where byte {error.start} ({error.object[error.start]:#04x}) is no UTF-8"
        raise bad_value(argument, came, "a text file in UTF-8; editors have it under Save as, Encoding") from error


def check_images(images: object) -> None:
    """Raise a ValueError unless these are images as an ImageSet holds them: (N, C, H, W) uint8, none of it empty."""
    if not isinstance(images, Tensor) or images.ndim != 4 or images.dtype != torch.uint8:
        raise bad_value("images", describe(images), "a uint8 tensor of shape (N, C, H, W) with values 0 to 255")
    if not images.numel():
        raise bad_value("images", f"shape {tuple(images.shape)}", "at least one image, channel, row and column")


def check_region(region: object, size: tuple[int, int]) -> None:
    """Raise a ValueError unless this is None, or a bool tensor of the images' height and width."""
    if region is not None and (
        not isinstance(region, Tensor) or region.dtype != torch.bool or tuple(region.shape) != size
    ):
        raise bad_value("region", describe(region), f"a bool tensor of shape {size}, as the images have")


def check_labels(labels: object, count: int, classes: int) -> None:
    """Raise a ValueError unless these are `count` numbers of classes: (N,) int64."""
    if not isinstance(labels, Tensor) or labels.dtype != torch.int64 or labels.shape != (count,):
        raise bad_value("labels", describe(labels), f"an int64 tensor of shape ({count},), one for each image")
    if labels.min() < 0 or labels.max() >= classes:
        raise bad_value(
            "labels", f"{labels.min()} to {labels.max()}", f"0 to {classes - 1}: class_names holds {classes}"
        )
