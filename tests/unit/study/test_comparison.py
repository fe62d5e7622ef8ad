"""Paired differences over seeds and over folds, and what their intervals allow to say."""

import math
from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_1samp

from gsa_utils.study.comparison import (
    as_panels,
    compare,
    compare_all,
    fold_difference,
    holm,
    paired_difference,
    with_verdicts,
)


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


# ---------------------------------------------------------------- over folds


def test_the_interval_over_folds_is_the_one_computed_by_hand():
    # Differences 1, 2, 3, 4: mean 5/2, variance 5/3; a quarter as many tested: (1/4 + 1/4) * 5/3 = 5/6, three degrees.
    d = fold_difference([2, 3, 4, 5], [1, 1, 1, 1], ratio=0.25)
    half = 3.182446 * math.sqrt(5 / 6)  # a table's 97.5 % point of Student's t with three degrees of freedom
    assert (d.mean, d.low, d.high) == pytest.approx((2.5, 2.5 - half, 2.5 + half), abs=1e-5)
    u = 2.5 / math.sqrt(5 / 6) / math.sqrt(3)  # whose distribution has a closed form
    assert d.p == pytest.approx(1 - 2 / math.pi * (u / (1 + u**2) + math.atan(u)))
    assert (d.wins, d.pairs) == (4, 4)


def test_ten_pairs_of_five_folds_twice_make_students_interval_1_87_times_as_wide():
    # Bouckaert and Frank (2004), r = 2 times k = 5: variance (1/10 + 1/4) where Student's has 1/10.
    scores = np.random.default_rng(0).normal(0.1, 1, 10)
    d, student = fold_difference(scores, np.zeros(10), 0.25), ttest_1samp(scores, 0)
    low, high = student.confidence_interval()
    assert (d.high - d.low) / (high - low) == pytest.approx(math.sqrt(3.5))
    assert d.p > student.pvalue


def test_swapping_the_arms_over_folds_turns_everything_round():
    ours, theirs = [0.5, 0.9, 0.7, 0.6], [0.6, 0.95, 0.65, 0.7]
    one, other = fold_difference(ours, theirs, 0.3), fold_difference(theirs, ours, 0.3)
    assert (other.mean, other.low, other.high, other.p) == pytest.approx((-one.mean, -one.high, -one.low, one.p))
    assert one.wins + other.wins == 4


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("shift", "p", "wins"), [(0.25, 0, 3), (0, 1, 0), (-0.25, 0, 0)])
def test_differences_that_are_all_the_same_have_an_interval_of_no_width(shift, p, wins):
    theirs = np.array([0.25, 0.5, 0.75])
    d = fold_difference(theirs + shift, theirs, 0.25)
    assert (d.mean, d.low, d.high, d.p, d.wins) == (shift, shift, shift, p, wins)


@pytest.mark.parametrize(
    ("ours", "theirs", "ratio", "complaint"),
    [
        ([0.5], [0.4], 0.25, "two pairs or more"),
        ([0.5, 0.6], [0.4], 0.25, "ours: got scores of shape"),
        ([0.5, math.nan], [0.4, 0.3], 0.25, "expected finite ones"),
        ([0.5, 0.6], [0.4, math.inf], 0.25, "expected finite ones"),
        ([0.5, 0.6], [0.4, 0.3], 0, "ratio: got 0, expected a positive number"),
        ([0.5, 0.6], [0.4, 0.3], -0.1, "ratio: got"),
        ([0.5, 0.6], [0.4, 0.3], math.nan, "ratio: got"),
        ([0.5, 0.6], [0.4, 0.3], math.inf, "ratio: got inf"),
    ],
)
def test_scores_of_folds_that_make_no_pairs_are_refused(ours, theirs, ratio, complaint):
    with pytest.raises(ValueError, match=complaint):
        fold_difference(ours, theirs, ratio)


# ---------------------------------------------------------------- out of a table


FOLDS = list(product(range(2), range(5)))  # (repeat, fold)


def runs(arm, gain, place="early", folds=FOLDS):
    """Runs of an arm whose scores are those of the fold plus the gain; odd folds gain .01 more."""
    fold_score = {pair: 0.5 + 0.03 * number for number, pair in enumerate(FOLDS)}
    rows = [
        {
            "arm": arm,
            "place": place,
            "repeat": repeat,
            "fold": fold,
            "auroc": fold_score[repeat, fold] + gain + fold % 2 / 100,
        }
        for repeat, fold in folds
    ]
    return pd.DataFrame(rows).assign(loss=lambda rows: 1 - rows["auroc"], trained_on=60, tested_on=20, error="")


def none(place="early"):
    """Runs of the rival, without what odd folds gain."""
    table = runs("none", 0, place)
    return table.assign(auroc=table["auroc"] - table["fold"] % 2 / 100, loss=1 - table["auroc"])


OURS, THEIRS = {"arm": "ours"}, {"arm": "none"}


def test_a_comparison_pairs_by_repeat_and_fold_in_whatever_order_the_rows_are():
    ours, theirs = runs("ours", 0.1), none()
    table = pd.concat([theirs, ours]).sample(frac=1, random_state=0)
    d = compare(table, OURS, THEIRS)
    by_hand = fold_difference(ours["auroc"].tolist(), theirs["auroc"].tolist(), 20 / 60)
    assert (d.mean, d.low, d.high, d.p) == pytest.approx((by_hand.mean, by_hand.low, by_hand.high, by_hand.p))
    assert (d.wins, d.pairs, d.missing, d.failed, d.trained_on) == (10, 10, 0, (), 60)


def test_folds_that_only_one_arm_has_make_no_pair_and_are_counted():
    table = pd.concat([runs("ours", 0.1, folds=[(0, 0), (0, 1), (1, 3)]), none()])
    d = compare(table, OURS, THEIRS)
    assert (d.pairs, d.missing) == (3, 7)
    assert d.mean == pytest.approx((0.1 + 0.11 + 0.11) / 3)


@pytest.mark.filterwarnings("error")
def test_under_two_pairs_there_is_no_number():
    for folds in ([(0, 0)], []):
        table = pd.concat([runs("ours" if folds else "another", 0.1, folds=[(0, 0)]), none()])
        d = compare(table, OURS, THEIRS)
        assert (d.pairs, d.missing) == (len(folds), 10 - len(folds))
        assert np.isnan([d.mean, d.low, d.high, d.p]).all()


def test_a_failed_run_makes_no_pair_and_is_named():
    ours, theirs = runs("ours", 0.1), none()
    ours.loc[2, ["auroc", "error"]] = [math.nan, "RuntimeError: no trial ended"]
    theirs.loc[[2, 8], "error"] = "ValueError: x"
    d = compare(pd.concat([ours, theirs]), OURS, THEIRS)
    assert (d.pairs, d.missing) == (8, 0)
    assert d.failed == (
        "ours, repeat 0, fold 2: RuntimeError: no trial ended",
        "theirs, repeat 0, fold 2: ValueError: x",
        "theirs, repeat 1, fold 3: ValueError: x",
    )


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("empty", [math.nan, None, ""])
def test_a_column_of_errors_may_be_empty_in_any_way(empty):
    assert compare(pd.concat([runs("ours", 0.1), none()]).assign(error=empty), OURS, THEIRS).pairs == 10


def test_a_lower_loss_wins():
    d = compare(pd.concat([runs("ours", 0.1), none()]), OURS, THEIRS, "loss")
    assert d.mean < 0
    assert d.wins == 10


def test_an_empty_cell_is_picked_by_none():
    table = pd.concat([runs("ours", 0.1), runs("ours", 0.3).assign(arm="ours", images=50), none()])
    assert compare(table, {**OURS, "images": None}, THEIRS).mean == pytest.approx(0.104)
    assert compare(table, {**OURS, "images": 50}, THEIRS).mean == pytest.approx(0.304)


@pytest.mark.parametrize(
    ("ours", "complaint"),
    [
        ({"arms": "ours"}, "ours: got 'arms', expected one of .*did you mean 'arm'"),
        ({"arm": "ours"}, "several runs of one fold"),
    ],
)
def test_a_selection_that_is_no_arm_is_refused(ours, complaint):
    table = pd.concat([runs("ours", 0.1), runs("ours", 0.1, "late"), none()])
    with pytest.raises(ValueError, match=complaint):
        compare(table, ours, THEIRS)


def test_a_score_that_no_run_has_is_refused_and_a_run_without_one_is_no_tie():
    table = pd.concat([runs("ours", 0.1), none()], ignore_index=True)
    with pytest.raises(ValueError, match="score: got 'auprc', expected one of"):
        compare(table, OURS, THEIRS, "auprc")
    table.loc[3, "auroc"] = math.nan
    with pytest.raises(ValueError, match="NaN or infinite"):
        compare(table, OURS, THEIRS)


def test_every_question_is_asked_at_every_place_and_plotted_as_it_was_answered():
    table = pd.concat([runs("ours", 0.1), none(), runs("ours", 0.2, "late"), none("late")])
    rows = compare_all(
        table, [{"place": "early"}, {"place": "late"}], {"ours - none": (OURS, THEIRS)}, ["auroc", "loss"]
    )
    assert rows[["place", "score"]].to_numpy().tolist() == [
        [p, s] for p in ("early", "late") for s in ("auroc", "loss")
    ]
    assert "p" not in rows, "exploratory"
    late = compare(table, {"place": "late", **OURS}, {"place": "late", **THEIRS})
    with pytest.raises(ValueError, match="places: got nothing to compare"):
        compare_all(table, [], {"ours - none": (OURS, THEIRS)})
    panels = as_panels(rows[rows["score"] == "auroc"], "compared", "score", "place")
    assert list(panels["ours - none"]["auroc"]) == ["early", "late"]
    assert panels["ours - none"]["auroc"]["late"] == (late.mean, late.low, late.high)


# ---------------------------------------------------------------- several hypotheses


@pytest.mark.parametrize(
    ("p", "adjusted"),
    [
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),  # .04 alone would be .04: never below the one before it
        ([0.02, 0.02, 0.5], [0.06, 0.06, 0.5]),
        ([0.6, 0.7], [1, 1]),
        ([0.03], [0.03]),
    ],
)
def test_holm_multiplies_from_the_smallest_on(p, adjusted):
    assert holm(p) == pytest.approx(adjusted)


@pytest.mark.parametrize("p", [[], [0.5, math.nan], [1.2]])
def test_what_is_no_p_value_is_refused(p):
    with pytest.raises(ValueError, match="^p: got"):
        holm(p)


def planned(p, mean=0.1, missing=0, pairs=10):
    return {"mean": mean, "p": p, "missing": missing, "pairs": pairs}


def test_a_verdict_is_told_at_the_level_of_all_that_was_planned():
    rows = pd.DataFrame([planned(0.008), planned(0.009, mean=-0.1), planned(0.02, pairs=9)])
    of_three, of_six = with_verdicts(rows, 3), with_verdicts(rows, 6)
    assert of_three["verdict"].tolist() == ["higher", "lower", "higher: 9 of 10 pairs"]
    assert of_six["holm"].tolist() == pytest.approx([0.048, 0.048, 0.08])
    assert of_six["verdict"].tolist() == ["higher", "lower", "no difference shown: 9 of 10 pairs"]


def test_what_is_not_finished_has_no_verdict_and_makes_no_other_bolder():
    rows = pd.DataFrame([planned(0.03), planned(0.001, missing=7, pairs=3), planned(math.nan, mean=math.nan, pairs=0)])
    found = with_verdicts(rows, 3)
    assert found["verdict"].tolist() == [
        "no difference shown",
        "not finished: 3 of 10 pairs",
        "no verdict: 0 of 10 pairs",
    ]
    assert found["holm"].tolist() == pytest.approx([0.09, math.nan, math.nan], nan_ok=True)
    finished = with_verdicts(pd.concat([found[:1], pd.DataFrame([planned(0.001), planned(0.001)])]), 3)
    assert finished["verdict"].tolist() == ["higher"] * 3


def test_more_comparisons_than_were_planned_are_refused():
    with pytest.raises(ValueError, match="rows: got 2 comparisons, expected at most 1"):
        with_verdicts(pd.DataFrame([planned(0.1), planned(0.1)]), 1)
