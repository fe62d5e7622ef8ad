"""Paired differences over seeds and what their intervals allow to say."""

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from gsa_utils.study.comparison import paired_difference


def column(*values):
    return [[value] for value in values]


def test_the_difference_is_paired_and_its_interval_holds_the_mean():
    d = paired_difference(column(0.9, 0.7, 0.8), column(0.8, 0.6, 0.72))
    assert d.mean == pytest.approx((0.1 + 0.1 + 0.08) / 3)
    assert 0.08 <= d.low < d.mean < d.high <= 0.1 + 1e-12
    assert (d.wins, d.pairs) == (3, 3)
    assert d.verdict == "higher"


@pytest.mark.filterwarnings("ignore:Precision loss")  # all differences are one number
def test_what_all_pairs_share_widens_nothing():
    hard_seed = np.array([0.0, -0.3, 0.2, -0.1])
    d = paired_difference((hard_seed + 0.8)[:, None], (hard_seed + 0.75)[:, None])
    assert d.low == pytest.approx(0.05)
    assert d.high == pytest.approx(0.05)


def test_swapping_the_arms_turns_everything_round():
    ours, theirs = column(0.5, 0.9, 0.7, 0.6), column(0.6, 0.95, 0.65, 0.7)
    one, other = paired_difference(ours, theirs), paired_difference(theirs, ours)
    assert other.mean == pytest.approx(-one.mean)
    assert other.low == pytest.approx(-one.high, abs=2e-3)
    assert one.wins + other.wins == 4


@pytest.mark.parametrize(
    ("ours", "verdict"),
    [
        ((0.6, 0.61, 0.62), "higher"),
        ((0.3, 0.31, 0.32), "lower"),
        ((0.4, 0.5, 0.6), "no difference shown"),
        ((0.51, 0.53, 0.6), "no difference shown"),  # the bootstrap alone would say higher
        ((0.49, 0.47, 0.4), "no difference shown"),
    ],
)
def test_the_verdict_says_no_more_than_both_intervals(ours, verdict):
    assert paired_difference(column(*ours), column(0.5, 0.5, 0.5)).verdict == verdict


def test_students_interval_is_that_of_a_one_sample_t_test():
    d = paired_difference(column(0.51, 0.53, 0.6), column(0.5, 0.5, 0.5))
    expected = ttest_1samp([0.01, 0.03, 0.1], 0).confidence_interval(0.95)
    assert d.student == pytest.approx(tuple(expected))
    assert d.student[0] < 0 < d.low


def test_a_tie_is_no_win_and_no_difference():
    d = paired_difference(column(0.5, 0.5, 0.5), column(0.5, 0.5, 0.5))
    assert (d.mean, d.low, d.high, d.wins) == (0, 0, 0, 0)
    assert d.verdict == "no difference shown"


def test_scores_of_one_group_are_drawn_together():
    # Four CNNs that agree within a seed are one piece of evidence a seed, not four.
    rng = np.random.default_rng(0)
    seeds = rng.normal(0.02, 0.03, (5, 1))
    single = paired_difference(seeds, np.zeros((5, 1)))
    copies = paired_difference(seeds.repeat(4, axis=1), np.zeros((5, 4)))
    assert (copies.low, copies.high) == pytest.approx((single.low, single.high))
    assert copies.pairs == 20


def test_the_interval_repeats_and_covers_as_often_as_its_docstring_says():
    rng = np.random.default_rng(1)
    truths = rng.normal(0.1, 0.05, (300, 5, 1))
    intervals = [paired_difference(groups, np.zeros((5, 1))) for groups in truths[:300]]
    assert intervals[0] == paired_difference(truths[0], np.zeros((5, 1)))
    covered = np.mean([d.low <= 0.1 <= d.high for d in intervals])
    assert 0.76 < covered < 0.90, "300 draws: standard error 0.02"
    assert np.mean([d.student[0] <= 0.1 <= d.student[1] for d in intervals]) > 0.91


@pytest.mark.parametrize(
    ("ours", "theirs", "complaint"),
    [
        (column(0.5), column(0.4), "two groups or more"),
        (column(0.5, 0.6), column(0.4), "ours: got scores of shape"),
        ([0.5, 0.6], [0.4, 0.3], "ours: got scores of shape"),
        (column(0.5, float("nan")), column(0.4, 0.3), "expected finite scores"),
    ],
)
def test_scores_that_make_no_pairs_are_refused(ours, theirs, complaint):
    with pytest.raises(ValueError, match=complaint):
        paired_difference(ours, theirs)
