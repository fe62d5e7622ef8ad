"""Checks of lesson 05: averages under shared maps, and paired differences of folds that share their images."""

from collections.abc import Callable

import torch
from torch import Tensor

from gsa_utils.lessons.answers import compare, random


def check_shared_pooling(attempt: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Exercise 5.1: of each channel one average a map, weighted by it."""
    x = random(3, 4, 5, 6) - 0.3  # (B, C, h, w)
    maps = random(2, 5, 6, seed=1)
    maps = maps / maps.mean(dim=(1, 2), keepdim=True)  # (K, h, w), 1 on average
    weighted = x[:, None] * maps[:, None]  # (B, K, C, h, w)
    right = weighted.mean(dim=(3, 4)).flatten(1)
    scores = maps.flatten(1).softmax(dim=1).reshape(maps.shape)
    mistakes = {
        "the places are added up: divide by how many there are": lambda: weighted.sum(dim=(3, 4)).flatten(1),
        "the order: all channels under the first map, then all under the second": lambda: (
            weighted.mean(dim=(3, 4)).transpose(1, 2).flatten(1)
        ),
        "(B, K, C) came back: flatten it to (B, K * C)": lambda: weighted.mean(dim=(3, 4)),
        "the maps were averaged first: each gives averages of its own": lambda: (x * maps.mean(dim=0)).mean(dim=(2, 3)),
        "only the first map was used": lambda: weighted.mean(dim=(3, 4))[:, 0],
        "the channels were averaged too: each keeps averages of its own": lambda: weighted.mean(dim=(2, 3, 4)),
        "the maps were not used: this is the plain average, K times": lambda: x.mean(dim=(2, 3)).repeat(1, len(maps)),
        "a softmax was taken over the maps: they are weights already, 1 on average": lambda: (
            (x[:, None] * scores[:, None]).sum(dim=(3, 4)).flatten(1)
        ),
    }
    compare("5.1", lambda: attempt(x.clone(), maps.clone()), right, mistakes)


def check_corrected(attempt: Callable[[Tensor, Tensor, float], tuple[float, float]]) -> None:
    """Exercise 5.2: mean of the paired differences of folds, and its standard error, corrected for what they share."""
    ours = torch.tensor([0.84, 0.80, 0.88, 0.83, 0.90], dtype=torch.float64)
    theirs = torch.tensor([0.82, 0.79, 0.85, 0.83, 0.86], dtype=torch.float64)
    ratio = 0.3  # tested / trained on
    d, n = ours - theirs, len(ours)
    widened = 1 / n + ratio

    def pair(mean: Tensor, variance: Tensor) -> Tensor:
        return torch.stack([mean, variance.sqrt()])

    mistakes = {
        "the ratio is not in it: this is the error of independent differences": lambda: pair(d.mean(), d.var() / n),
        "1/n is not in it: both parts widen the error": lambda: pair(d.mean(), ratio * d.var()),
        "the ratio upside down: tested over trained on": lambda: pair(d.mean(), (1 / n + 1 / ratio) * d.var()),
        "this is the variance: the error is its root": lambda: torch.stack([d.mean(), widened * d.var()]),
        "the folds are not paired: take the difference fold by fold, then its variance": lambda: pair(
            d.mean(), widened * (ours.var() + theirs.var())
        ),
        "the variance divides by n: five differences have four degrees of freedom": lambda: pair(
            d.mean(), widened * d.var(correction=0)
        ),
        "the sign: ours minus theirs": lambda: pair(-d.mean(), widened * d.var()),
    }
    compare("5.2", lambda: attempt(ours, theirs, ratio), pair(d.mean(), widened * d.var()), mistakes)
