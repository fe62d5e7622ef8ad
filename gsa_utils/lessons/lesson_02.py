"""Checks of lesson 02: the data matrix, and features that keep its inner products."""

from collections.abc import Callable

import torch
from jaxtyping import UInt8
from torch import Tensor

from gsa_utils.lessons.answers import WrongAnswer, compare, random


def check_data_matrix(attempt: Callable[[UInt8[Tensor, "n 1 height width"]], Tensor]) -> None:
    """Exercise 2.1: the data matrix X (P, N), every image standardised over its pixels."""
    images = (random(5, 1, 3, 4) * 255).to(torch.uint8)
    x = images.flatten(1).double()

    def standardised(values: Tensor, dim: int) -> Tensor:
        return (values - values.mean(dim, keepdim=True)) / values.std(dim, correction=0, keepdim=True)

    right = standardised(x, 1).T
    mistakes = {
        "the matrix lies on its other side: rows are pixels, columns are images": lambda: standardised(x, 1),
        "reshape tears the images apart: flatten each, then transpose": lambda: standardised(x, 1).reshape(12, 5),
        "the images are not standardised": lambda: x.T,
        "each pixel was standardised across images: standardise each image over its pixels": lambda: (
            standardised(x, 0).T
        ),
        "all images were standardised together: each has its own mean and deviation": lambda: (
            ((x - x.mean()) / x.std(correction=0)).T
        ),
        "the mean is taken out, the deviation is not divided out": lambda: (x - x.mean(1, keepdim=True)).T,
    }
    compare("2.1", lambda: attempt(images.clone()), right, mistakes)


def check_compress(attempt: Callable[[Tensor, int], Tensor]) -> None:
    """Exercise 2.2: rank features a pixel whose inner products are those of the rows of X, as nearly as can be."""
    x, rank = random(8, 30).double() - 0.3, 3
    u, s, _ = torch.linalg.svd(x, full_matrices=False)

    def gram(features: Tensor) -> Tensor:
        return features @ features.T

    def answer() -> Tensor:
        came = attempt(x.clone(), rank)
        if isinstance(came, Tensor) and came.shape != (8, rank):
            raise WrongAnswer(
                f"Exercise 2.2: shape {tuple(came.shape)} came back, (8, {rank}) was expected: one row a pixel"
            )
        return gram(came.double()) if isinstance(came, Tensor) else came

    mistakes = {
        "the eigenvectors are not scaled: each needs the root of its eigenvalue": lambda: gram(u[:, :rank]),
        "scaled by the eigenvalue itself: its root is enough, for F F^T takes it twice": lambda: gram(
            u[:, :rank] * s[:rank] ** 2
        ),
        "these are the eigenvectors of the smallest eigenvalues: eigh returns them in ascending order": lambda: gram(
            u[:, -rank:] * s[-rank:]
        ),
        "the first columns of X are just some images: every image should have its say": lambda: gram(x[:, :rank]),
        "the eigenvalues belong to other eigenvectors: reverse both or neither": lambda: gram(
            u[:, :rank] * s[-rank:].flip(0)
        ),
    }
    compare("2.2", answer, gram(u[:, :rank] * s[:rank]), mistakes)
