"""What every complaint about an argument is made of: its name, what came, and what was expected."""

import difflib
from collections.abc import Iterable
from numbers import Integral, Real

import numpy as np
import torch
from torch import Tensor

Size = Integral | tuple[Integral, Integral]  # one number of pixels for both sides, or (height, width)


def bad_value(argument: str, came: object, expected: str) -> ValueError:
    """A ValueError that names the argument, what came and what was expected; the caller raises it."""
    return ValueError(f"{argument}: got {came}, expected {expected}")


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
    return f"{type(value).__name__} {value!r:.60}"


def check_whole(argument: str, value: object, least: int) -> None:
    """Raise a ValueError unless this is an integer of at least `least`."""
    if not whole_number(value, least):
        raise bad_value(argument, repr(value), f"a whole number, at least {least}")


def check_positive(argument: str, value: object) -> None:
    """Raise a ValueError unless this is a number above 0; True is none."""
    if not isinstance(value, Real) or isinstance(value, bool) or not value > 0:
        raise bad_value(argument, repr(value), "a positive number")


def whole_number(value: object, least: int) -> bool:
    """Whether this is an integer, NumPy's included, of at least `least`; True and False are none."""
    return isinstance(value, Integral) and not isinstance(value, bool) and bool(value >= least)


def height_and_width(argument: str, size: object) -> tuple[int, int]:
    """(height, width) from one number for both or a pair.

    Raises:
        ValueError: something else, or a side that is not a positive whole number.
    """
    sides = tuple(size) if isinstance(size, tuple | list) else (size, size)
    if len(sides) != 2 or not all(whole_number(side, 1) for side in sides):
        raise bad_value(argument, repr(size), "a positive whole number of pixels, or (height, width)")
    return int(sides[0]), int(sides[1])


def check_images(images: object) -> None:
    """Raise a ValueError unless these are images as an ImageSet holds them: (N, C, H, W) uint8, none of it empty."""
    if not isinstance(images, Tensor) or images.ndim != 4 or images.dtype != torch.uint8:
        raise bad_value("images", describe(images), "a uint8 tensor of shape (N, C, H, W) with values 0 to 255")
    if not images.numel():
        raise bad_value("images", f"shape {tuple(images.shape)}", "at least one image, channel, row and column")


def check_labels(labels: object, count: int, classes: int) -> None:
    """Raise a ValueError unless these are `count` numbers of classes: (N,) int64."""
    if not isinstance(labels, Tensor) or labels.dtype != torch.int64 or labels.shape != (count,):
        raise bad_value("labels", describe(labels), f"an int64 tensor of shape ({count},), one for each image")
    if labels.min() < 0 or labels.max() >= classes:
        raise bad_value(
            "labels", f"{labels.min()} to {labels.max()}", f"0 to {classes - 1}: class_names holds {classes}"
        )
