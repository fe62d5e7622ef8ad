"""Is one arm better than another? Paired differences over seeds, with a bootstrap interval.

The runs of one seed share their training images and the order in which they come, in all arms: what is drawn well or
badly there drops out of the difference. With five seeds a 95 % bootstrap interval of their mean covers the truth in
about 83 of 100 cases only (lesson 06 measures it). Student's interval does not fall short where differences are about
normal; a verdict is given only where both agree.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.stats import bootstrap, ttest_1samp

from gsa_utils.arguments import bad_value

RESAMPLES = 9999
Scores = Float[np.ndarray, "groups pairs"] | Sequence[Sequence[float]]


@dataclass(frozen=True)
class Difference:
    """The mean of paired differences.

    Attributes:
        low, high: the ends of its 95 % bootstrap interval.
        student: the ends of Student's, wider where there are few groups.
        wins: pairs above zero, out of `pairs`.
    """

    mean: float
    low: float
    high: float
    student: tuple[float, float]
    wins: int
    pairs: int

    @property
    def verdict(self) -> str:
        """No more than both intervals allow: "higher", "lower", or "no difference shown"."""
        if min(self.low, self.student[0]) > 0:
            return "higher"
        return "lower" if max(self.high, self.student[1]) < 0 else "no difference shown"


def paired_difference(ours: Scores, theirs: Scores) -> Difference:
    """Ours minus theirs, pair by pair, with a percentile bootstrap interval (Efron 1979) and Student's over the groups.

    Args:
        ours, theirs: one row of scores a group, in the same order. What belongs together is one group and is drawn as
            one: a row holds one seed's scores, of one CNN or of several that were trained on the same images.

    Raises:
        ValueError: sizes that differ, fewer than two groups, or a score that is not a number.
    """
    first, second = np.asarray(ours, dtype=float), np.asarray(theirs, dtype=float)
    if first.shape != second.shape or first.ndim != 2 or len(first) < 2 or not first.size:
        raise bad_value(
            "ours", f"scores of shape {first.shape} against {second.shape}", "(groups, pairs), two groups or more"
        )
    differences = first - second
    if not np.isfinite(differences).all():
        raise bad_value("ours", "NaN or infinite scores", "finite scores")
    groups = differences.mean(axis=1)
    drawn = bootstrap((groups,), np.mean, method="percentile", n_resamples=RESAMPLES, rng=np.random.default_rng(0))
    low, high = map(float, drawn.confidence_interval)
    with warnings.catch_warnings():  # SciPy's, where all groups differ by the same amount
        warnings.simplefilter("ignore", RuntimeWarning)
        student = tuple(map(float, ttest_1samp(groups, 0).confidence_interval()))
    return Difference(float(groups.mean()), low, high, student, int((differences > 0).sum()), differences.size)
