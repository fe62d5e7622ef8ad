"""The sum X X^T over images, or its product with a thin matrix in its place."""

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor

STRIP = 128  # rows of X X^T that are multiplied at a time


def gram_times(
    blocks: Iterable[tuple[Float[Tensor, "columns pixels"], int]],
    pixels: int,
    test: Float[Tensor, "pixels width"] | None = None,
) -> tuple[Float[Tensor, "pixels width"], int, int]:
    """X X^T, or X X^T test: one pass.

    Returns:
        The sum; how many columns X has; how many of them are not constant.
    """
    total, columns, informative = torch.zeros(pixels, pixels if test is None else test.shape[1]), 0, 0
    for x, count in blocks:
        if test is None:
            _add_upper_(total, x)
        else:
            total.addmm_(x.T, x @ test)
        columns, informative = columns + len(x), informative + count
    if test is None:
        _mirror_(total)
    return total, columns, informative


def _add_upper_(total: Float[Tensor, "pixels pixels"], x: Float[Tensor, "columns pixels"]) -> None:
    """Add x^T x, above the diagonal and a little below it: the matrix is symmetric, and half of the work is saved."""
    for i in range(0, len(total), STRIP):
        total[i : i + STRIP, i:].addmm_(x[:, i : i + STRIP].T, x[:, i:])


def _mirror_(total: Float[Tensor, "pixels pixels"]) -> None:
    for i in range(0, len(total), STRIP):
        total[i + STRIP :, i : i + STRIP] = total[i : i + STRIP, i + STRIP :].T
