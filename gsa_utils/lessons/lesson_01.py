"""Checks of lesson 01: an alignment score, and one map for all images."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from gsa_utils.lessons.answers import WrongAnswer, compare, random


def check_alignment(attempt: Callable[[Float[Tensor, "n channels height width"]], float]) -> None:
    """Exercise 1.1: mean correlation of an image with the mean of all the others."""
    images = random(6, 1, 5, 5) + random(1, 1, 5, 5, seed=1)
    images[0] = images[0] * 7 + 3  # an overexposed one, so that it matters that exposure is taken out
    x = images.flatten(1).double()
    z = x - x.mean(dim=1, keepdim=True)
    z = z / z.norm(dim=1, keepdim=True)
    others = z.sum(dim=0) - z

    def mean_correlation(a: Tensor, b: Tensor) -> Tensor:
        a, b = a - a.mean(dim=1, keepdim=True), b - b.mean(dim=1, keepdim=True)
        return torch.cosine_similarity(a, b).mean()

    mistakes = {
        "each image is compared with a mean that it is part of itself: leave it out": lambda: mean_correlation(
            z, z.sum(dim=0).expand_as(z)
        ),
        "raw images are averaged, so that one overexposed image decides the mean: standardise each first": lambda: (
            mean_correlation(x, x.sum(dim=0) - x)
        ),
        "the correlations are summed over the images: take their mean": lambda: 6 * mean_correlation(z, others),
        "one value an image came back: take the mean over the images": lambda: torch.cosine_similarity(z, others),
        "no mean is taken out, and raw images are alike by brightness alone: subtract each image's mean": lambda: (
            torch.cosine_similarity(x, x.sum(dim=0) - x).mean()
        ),
        "this is the mean over pairs of images: compare each with the sum of all the others": lambda: torch.corrcoef(
            z
        ).mean(),
        "a product that is not divided by the length of the mean: a correlation divides by both lengths": lambda: (
            (z * others / 5).sum(dim=1).mean()
        ),
    }
    compare("1.1", lambda: attempt(images.clone()), mean_correlation(z, others), mistakes)


def check_one_map(attempt: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Exercise 1.2: the same weight map for every image and channel of a batch."""
    x, m = random(3, 2, 4, 4), random(4, 4, seed=1)
    before = x.clone()

    def answer() -> Tensor:
        came = attempt(x, m)
        if not torch.equal(x, before):
            raise WrongAnswer("Exercise 1.2: the images themselves were changed: return a new tensor")
        return came

    mistakes = {
        "the map was added: a weight multiplies": lambda: x + m,
        "rows and columns of the map are swapped": lambda: x * m.T,
        "each image got a map of its own size: the weights must not depend on the image": lambda: (
            x * m / x.mean(dim=(1, 2, 3), keepdim=True)
        ),
        "the map was made to sum to 1: weights are used as they are": lambda: x * m / m.sum(),
        "the channels were averaged: weight each of them": lambda: (x * m).mean(dim=1, keepdim=True),
    }
    compare("1.2", answer, x * m, mistakes)
