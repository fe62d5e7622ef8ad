"""Checks of lesson 07: trials that the test images did not choose, Holm's correction, and what a few folds can show."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from scipy.stats import norm
from scipy.stats import t as student_t
from torch import Tensor

from gsa_utils.lessons.answers import compare


def check_chosen_scores(
    attempt: Callable[[Float[Tensor, "trials folds"], Float[Tensor, "trials folds"]], Float[Tensor, " folds"]],
) -> None:
    """Exercise 7.1: the test AUROC of the trial that each fold's validation loss chooses."""
    loss = torch.tensor([[0.70, 0.32, 0.71, 0.50], [0.55, 0.40, 0.30, 0.46], [0.40, 0.42, 0.41, 0.47]])
    auroc = torch.tensor([[0.60, 0.72, 0.69, 0.90], [0.83, 0.85, 0.82, 0.80], [0.81, 0.84, 0.86, 0.88]])
    best = loss.argmin(dim=0)
    folds = torch.arange(loss.shape[1])
    mistakes = {
        "chosen by the test scores: what chose the trial can't judge it any more": lambda: auroc.max(dim=0).values,
        "the highest loss: the lowest is wanted": lambda: auroc[loss.argmax(dim=0), folds],
        "the loss came back: the test AUROC of its trial was asked for": lambda: loss.min(dim=0).values,
        "the numbers of the trials came back: their test AUROCs were asked for": lambda: best,
        "one trial for all folds: each fold chooses its own": lambda: auroc[loss.mean(dim=1).argmin()],
        "a fold for each trial: choose along the trials, dim=0": lambda: auroc[range(3), loss.argmin(dim=1)],
        "the mean over the folds: one score a fold was asked for": lambda: auroc[best, folds].mean(),
    }
    compare("7.1", lambda: attempt(loss.clone(), auroc.clone()), auroc[best, folds], mistakes)


def check_corrected_p(attempt: Callable[[Float[Tensor, " m"]], Float[Tensor, " m"]]) -> None:
    """Exercise 7.2: Holm's corrected p values, in the order given."""
    p = torch.tensor([0.030, 0.001, 0.600, 0.013, 0.700, 0.012], dtype=torch.float64)
    m, order = len(p), p.argsort()
    steps = p[order] * torch.arange(m, 0, -1)

    def back(values: Tensor) -> Tensor:
        return torch.empty_like(p).index_copy(0, order, values)

    right = back(steps.cummax(dim=0).values.clamp(max=1))
    mistakes = {
        "this is Bonferroni, each times m: Holm multiplies the next ones by less": lambda: (p * m).clamp(max=1),
        "sorted values came back: put each to its place": lambda: steps.cummax(dim=0).values.clamp(max=1),
        "one is smaller than the one before it: take the running maximum": lambda: back(steps.clamp(max=1)),
        "a p above 1: cut it there": lambda: back(steps.cummax(dim=0).values),
        "the factors the wrong way round: the smallest p is multiplied by m": lambda: back(
            (p[order] * torch.arange(1, m + 1)).cummax(dim=0).values.clamp(max=1)
        ),
        "the running maximum of p itself: of the products, and in their order": lambda: p.cummax(dim=0).values,
        "nothing was corrected": lambda: p,
    }
    compare("7.2", lambda: attempt(p.clone()), right, mistakes)


def check_smallest_shown(attempt: Callable[[float, int, float], float]) -> None:
    """Exercise 7.3: half the width of the corrected 95 % interval of a mean paired difference."""
    deviation, pairs, ratio = 2.0, 4, 0.3

    def half(factor: float, widened: float) -> Tensor:
        return torch.tensor(factor * widened**0.5 * deviation, dtype=torch.float64)

    t = float(student_t.ppf(0.975, pairs - 1))
    mistakes = {
        "one-sided: 2.5 % are cut off at each side, so 0.975": lambda: half(
            float(student_t.ppf(0.95, pairs - 1)), 1 / pairs + ratio
        ),
        "the ratio is not in it: this is the width of independent differences": lambda: half(t, 1 / pairs),
        "1/pairs is not in it: both parts widen the error": lambda: half(t, ratio),
        "this is the standard error: how many of them to a side?": lambda: half(1, 1 / pairs + ratio),
        "degrees of freedom: one less than there are pairs": lambda: half(
            float(student_t.ppf(0.975, pairs)), 1 / pairs + ratio
        ),
        "of a normal distribution: few pairs need Student's t": lambda: half(float(norm.ppf(0.975)), 1 / pairs + ratio),
        "the whole width: half of it was asked for": lambda: half(2 * t, 1 / pairs + ratio),
        "the root is missing: the variance is widened, the error is its root": lambda: half(t, 1) * (1 / pairs + ratio),
    }
    compare("7.3", lambda: attempt(deviation, pairs, ratio), half(t, 1 / pairs + ratio), mistakes)
