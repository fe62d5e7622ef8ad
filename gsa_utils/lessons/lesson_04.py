"""Checks of lesson 04: test images by the training set's numbers, and paired differences."""

from collections.abc import Callable

import torch
from torch import Tensor

from gsa_utils.lessons.answers import compare, random


def check_standardise(attempt: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Exercise 4.1: test images by the one mean and the one deviation of the training images."""
    train, test = random(4, 1, 3, 3), random(3, 1, 3, 3, seed=1) * 0.5 + 0.4
    right = (test - train.mean()) / train.std()
    mistakes = {
        "the test images' own mean and deviation were used: a prediction would depend on what else is tested": lambda: (
            (test - test.mean()) / test.std()
        ),
        "each image was standardised by itself: use one mean and one deviation of the training set": lambda: (
            (test - test.mean((1, 2, 3), keepdim=True)) / test.std((1, 2, 3), keepdim=True)
        ),
        "each pixel got its own mean and deviation: one of each is enough": lambda: (
            (test - train.mean(dim=0)) / train.std(dim=0)
        ),
        "divided by the variance: divide by its root": lambda: (test - train.mean()) / train.var(),
        "the training images came back: return the test images": lambda: (train - train.mean()) / train.std(),
        "the mean is taken out, the deviation is not divided out": lambda: test - train.mean(),
    }
    compare("4.1", lambda: attempt(train.clone(), test.clone()), right, mistakes)


def check_paired(attempt: Callable[[Tensor, Tensor], tuple[float, float]]) -> None:
    """Exercise 4.2: mean of the paired differences over seeds, and its standard error."""
    ours = torch.tensor([0.84, 0.80, 0.88, 0.83, 0.90], dtype=torch.float64)
    none = torch.tensor([0.82, 0.79, 0.85, 0.83, 0.86], dtype=torch.float64)
    d, n = ours - none, len(ours)

    def pair(mean: Tensor, error: Tensor) -> Tensor:
        return torch.stack([mean, error])

    mistakes = {
        "this is the deviation of the differences: the error of their mean is smaller by the root of n": lambda: pair(
            d.mean(), d.std()
        ),
        "the seeds are not paired: take the difference seed by seed, then its deviation": lambda: pair(
            d.mean(), ((ours.var() + none.var()) / n).sqrt()
        ),
        "the deviation divides by n: five differences have four degrees of freedom": lambda: pair(
            d.mean(), d.std(correction=0) / n**0.5
        ),
        "the sign: with attention minus without": lambda: pair(-d.mean(), d.std() / n**0.5),
        "divided by n: divide by its root": lambda: pair(d.mean(), d.std() / n),
    }
    compare("4.2", lambda: attempt(ours, none), pair(d.mean(), d.std() / n**0.5), mistakes)
