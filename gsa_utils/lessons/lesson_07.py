"""Checks of lesson 07: a learning rate that the test images did not choose, and an honest interval."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gsa_utils.lessons.answers import compare


def check_choose_rate(attempt: Callable[[Float[Tensor, "rates sets"], Float[Tensor, "rates sets"]], int]) -> None:
    """Exercise 7.1: the row of the rate to use, from validation losses and test AUROCs of each data set."""
    valid_loss = torch.tensor([[0.70, 0.72, 0.71], [0.55, 0.20, 0.60], [0.40, 0.42, 0.41], [0.45, 0.40, 0.44]])
    test_auroc = torch.tensor([[0.60, 0.62, 0.61], [0.80, 0.85, 0.82], [0.85, 0.84, 0.86], [0.90, 0.91, 0.92]])
    mistakes = {
        "chosen by the test scores: what chose the rate can't judge it any more": lambda: test_auroc.mean(1).argmax(),
        "the highest loss: the lowest is wanted": lambda: valid_loss.mean(1).argmax(),
        "best on one set only: take the mean over the sets": lambda: valid_loss.min(1).values.argmin(),
        "a number of the whole table, not of its rows: take the mean over the sets first": lambda: valid_loss.argmin(),
        "the number of a set: the mean of each rate is over the sets, dim=1": lambda: valid_loss.mean(0).argmin(),
        "the loss came back: its row was asked for": lambda: valid_loss.mean(1).min(),
    }
    compare("7.1", lambda: attempt(valid_loss.clone(), test_auroc.clone()), valid_loss.mean(1).argmin(), mistakes)


def check_interval(
    attempt: Callable[[Float[Tensor, " n"], Float[Tensor, " n"], Int[Tensor, "resamples n"]], tuple[float, float]],
) -> None:
    """Exercise 7.2: the 95 % percentile bootstrap interval of a mean paired difference, from given resamples."""
    ours = torch.tensor([0.94, 0.90, 0.97, 0.93, 0.89, 0.95], dtype=torch.float64)
    none = torch.tensor([0.92, 0.91, 0.93, 0.92, 0.84, 0.94], dtype=torch.float64)
    drawn = torch.randint(6, (2000, 6), generator=torch.Generator().manual_seed(0))
    d = ours - none
    means = d[drawn].mean(dim=1)

    def ends(values: Tensor, tail: float = 0.025) -> Tensor:
        return values.flatten().quantile(torch.tensor([tail, 1 - tail], dtype=torch.float64))

    half = 1.96 * d.std() / len(d) ** 0.5
    mistakes = {
        "these ends hold 90 % of the means: cut 2.5 % off at each side": lambda: ends(means, 0.05),
        "these are percentiles of single differences: take the mean of each resample first": lambda: ends(d[drawn]),
        "the sign: ours minus none": lambda: -ends(means).flip(0),
        "the ends are the wrong way round: low, then high": lambda: ends(means).flip(0),
        "mean and standard error of a normal distribution: the resamples were not used": lambda: torch.stack(
            [d.mean() - half, d.mean() + half]
        ),
        "the differences themselves: nothing was resampled": lambda: ends(d),
        "this is the interval of ours alone: of the differences to none": lambda: ends(ours[drawn].mean(dim=1)),
    }
    compare("7.2", lambda: attempt(ours.clone(), none.clone(), drawn.clone()), ends(means), mistakes)
