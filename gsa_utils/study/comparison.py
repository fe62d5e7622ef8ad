"""Is one arm better than another? Paired differences, over seeds or over folds.

Seeds: the runs of one seed share their training images and the order in which they come, in all arms: what is drawn
well or badly there drops out of the difference. With five seeds a 95 % bootstrap interval of their mean covers the
truth in about 83 of 100 cases only (lesson 07 measures it). Student's interval does not fall short where differences
are about normal; a verdict is given only where both agree.

Folds, each tested once in every repeat: the same images train again and again, so differences lie closer together than
those of new images would, and both of these intervals are too short. Nadeau and Bengio's is wider by what folds share.
results/PROTOCOL.md asks for it: `compare` reads it out of a table of runs, `compare_all` makes a table of many, and
`with_verdicts` corrects the few that were planned for their number.
"""

import warnings
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.stats import bootstrap, ttest_1samp
from scipy.stats import t as student_t

from gsa_utils.arguments import bad_value, check_positive, unknown_name

RESAMPLES = 9999
# Of results/PROTOCOL.md: what is paired, how many pairs a finished study has (five folds, twice), and its scores.
PAIRED_BY, PAIRS = ["repeat", "fold"], 10
SCORES = ("auroc", "accuracy", "loss")
LEVEL = 0.05
Scores = Float[np.ndarray, "groups pairs"] | Sequence[Sequence[float]]
Numbers = Float[np.ndarray, "n"] | Sequence[float]


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


@dataclass(frozen=True)
class FoldDifference:
    """The mean of paired differences over folds.

    Attributes:
        low, high: the ends of its 95 % interval, corrected for what folds share.
        p: of no difference, two-sided.
        wins: pairs above zero, out of `pairs`.
    """

    mean: float
    low: float
    high: float
    p: float
    wins: int
    pairs: int


@dataclass(frozen=True)
class Comparison(FoldDifference):
    """Two arms of a table. Under two pairs its numbers are NaN.

    Attributes:
        wins: pairs in which ours is better; of the loss, lower.
        missing: of the protocol's pairs, those that the table does not hold yet.
        failed: a line for each run that has no scores and so makes no pair: whose, which, and why.
        trained_on: training images, in the mean of ours.
    """

    missing: int
    failed: tuple[str, ...]
    trained_on: float


def fold_difference(ours: Numbers, theirs: Numbers, ratio: float) -> FoldDifference:
    """Ours minus theirs, with the corrected resampled t interval (Nadeau and Bengio 2003, doi:10.1023/A:1024068626366).

    The variance of the mean of n differences is taken as (1/n + ratio) times their sample variance, n - 1 degrees of
    freedom; without the ratio it is Student's interval.

    Args:
        ours, theirs: the scores of all folds and repeats, in the same order.
        ratio: images tested / images trained on, of one fold.

    Raises:
        ValueError: lengths that differ, fewer than two pairs, a score that is not a number, or a ratio that is not
            positive and finite.
    """
    first, second = np.asarray(ours, dtype=float), np.asarray(theirs, dtype=float)
    if first.shape != second.shape or first.ndim != 1 or len(first) < 2:
        raise bad_value("ours", f"scores of shape {first.shape} against {second.shape}", "two pairs or more")
    check_positive("ratio", ratio)
    differences, n = first - second, len(first)
    if not np.isfinite([*differences, ratio]).all():
        raise bad_value("ours", "NaN or infinite scores or ratio", "finite ones")
    mean = float(differences.mean())
    error = float(np.sqrt((1 / n + ratio) * differences.var(ddof=1)))
    half = float(student_t.ppf(1 - LEVEL / 2, n - 1)) * error
    # Differences that are all the same leave no error to measure by: p is 0, or 1 where there is no difference.
    p = float(2 * student_t.sf(abs(mean) / error, n - 1)) if error else float(mean == 0)
    return FoldDifference(mean, mean - half, mean + half, p, int((differences > 0).sum()), n)


def compare(
    table: pd.DataFrame, ours: Mapping[str, object], theirs: Mapping[str, object], score: str = "auroc"
) -> Comparison:
    """Ours minus theirs over all folds that both ran, whatever the order of the table's rows.

    Args:
        table: one row a run, with the columns repeat, fold, trained_on, tested_on, error (empty where there is none),
            the scores, and those that the selections name.
        ours, theirs: column -> value, what picks an arm's runs: one a repeat and fold, or none as yet. The value None
            picks empty cells.

    Raises:
        ValueError: a column that the table does not have, a selection that picks several runs of one fold, or a run
            without an error whose score is not a number.
    """
    if score not in table:
        raise unknown_name("score", score, map(str, table))
    arms = {"ours": _picked(table, "ours", ours, score), "theirs": _picked(table, "theirs", theirs, score)}
    errors = [(name, pair, run["error"]) for name, runs in arms.items() for pair, run in runs.items() if run["error"]]
    failed = tuple(f"{name}, repeat {repeat}, fold {fold}: {error}" for name, (repeat, fold), error in errors)
    broken = {pair for _, pair, _ in errors}
    pairs = [pair for pair in arms["ours"] if pair in arms["theirs"] and pair not in broken]
    first, second = ([runs[pair] for pair in pairs] for runs in arms.values())
    sign = -1 if score == "loss" else 1
    of_table = {
        "wins": sum(sign * (one[score] - other[score]) > 0 for one, other in zip(first, second, strict=True)),
        "missing": PAIRS - len(broken.union(pairs)),
        "failed": failed,
        "trained_on": float(np.mean([run["trained_on"] for run in first])) if pairs else np.nan,
    }
    if len(pairs) < 2:
        return Comparison(np.nan, np.nan, np.nan, np.nan, pairs=len(pairs), **of_table)
    ratio = sum(run["tested_on"] for run in first + second) / sum(run["trained_on"] for run in first + second)
    found = fold_difference([run[score] for run in first], [run[score] for run in second], ratio)
    return Comparison(**asdict(found) | of_table)


def _picked(
    table: pd.DataFrame, name: str, chosen: Mapping[str, object], score: str
) -> dict[tuple[int, int], dict[Hashable, Any]]:
    """The runs of one arm, (repeat, fold) -> what a comparison reads of it, in that order."""
    mask = np.ones(len(table), dtype=bool)
    for column, value in chosen.items():
        if column not in table:
            raise unknown_name(name, column, map(str, table))
        mask &= (table[column].isna() if value is None else table[column] == value).to_numpy(dtype=bool)
    columns = [*PAIRED_BY, "trained_on", "tested_on", "error", score]
    rows = (
        table.loc[mask, columns]
        .astype({"error": object})
        .fillna({"error": ""})
        .sort_values(PAIRED_BY)
        .to_dict("records")
    )
    runs = {(row["repeat"], row["fold"]): row for row in rows}
    if len(runs) < len(rows):
        raise bad_value(name, f"{dict(chosen)}, several runs of one fold", "settings that pick one run a fold")
    return runs


def compare_all(
    table: pd.DataFrame,
    places: Iterable[Mapping[str, object]],
    questions: Mapping[str, tuple[Mapping[str, object], Mapping[str, object]]],
    scores: Iterable[str] = SCORES,
) -> pd.DataFrame:
    """Every question at every place: exploratory, so with intervals and without p.

    Args:
        places: what both arms have in common, a set and a grid, say: column -> value.
        questions: what is compared, in words -> (ours, theirs), as `compare` takes them.

    Returns:
        one row a place, question and score: the place's columns, "compared", "score", and a Comparison's numbers.

    Raises:
        ValueError: no place, no question, no score, or what `compare` refuses.
    """
    rows = [
        {**place, "compared": words, "score": score}
        | asdict(compare(table, {**place, **ours}, {**place, **theirs}, score))
        for place, (words, (ours, theirs)), score in product(places, questions.items(), scores)
    ]
    if not rows:
        raise bad_value("places", "nothing to compare", "one place, question and score or more")
    return pd.DataFrame(rows).drop(columns="p")


def holm(p: Numbers) -> Float[np.ndarray, "n"]:
    """Holm's adjusted p values (1979), in the order given: reject where one is at most the level of all together.

    The smallest of m is multiplied by m, the next by m - 1 and so on, and none is smaller than the one before it.

    Raises:
        ValueError: no p value, or one that is not between 0 and 1.
    """
    given = np.asarray(p, dtype=float)
    if given.ndim != 1 or not given.size or not ((given >= 0) & (given <= 1)).all():
        raise bad_value("p", f"{p!r:.60}", "one number or more, from 0 to 1")
    order = np.argsort(given)
    steps = np.maximum.accumulate(given[order] * np.arange(len(given), 0, -1))
    adjusted = np.empty_like(given)
    adjusted[order] = np.minimum(steps, 1)
    return adjusted


def with_verdicts(rows: pd.DataFrame, family: int) -> pd.DataFrame:
    """The rows with Holm's p in `holm`, and a `verdict`: "higher", "lower", "no difference shown", or "not finished".

    What is not known yet (rows of other studies, pairs that are missing) counts as a p of 1, which makes no other
    verdict bolder: an interim verdict holds at the end, too. When more rows are known, call this again with all.

    Args:
        rows: the planned comparisons: one row each, with the numbers of a Comparison.
        family: how many were planned.

    Raises:
        ValueError: more rows than were planned.
    """
    if len(rows) > family:
        raise bad_value("rows", f"{len(rows)} comparisons", f"at most {family}, as many as were planned")
    known = (rows["missing"] == 0) & rows["p"].notna()
    others = [1.0] * (family - len(rows))
    adjusted = holm([*rows["p"].where(known, 1.0), *others])[: len(rows)]
    verdicts = []
    for row, p, is_known in zip(rows.itertuples(), adjusted, known, strict=True):
        words = ("higher" if row.mean > 0 else "lower") if p <= LEVEL else "no difference shown"
        words = words if is_known else "not finished" if row.missing else "no verdict"
        verdicts.append(words if row.pairs == PAIRS else f"{words}: {row.pairs} of {PAIRS} pairs")
    return rows.assign(holm=np.where(known, adjusted, np.nan), verdict=verdicts)


def as_panels(rows: pd.DataFrame, panel: str, line: str, x: str) -> dict[str, dict[str, dict]]:
    """The rows of one score as `plots.differences` draws them: panel -> line -> x -> (mean, low, high)."""
    panels: dict[str, dict[str, dict]] = {}
    for row in rows.dropna(subset=["mean"]).to_dict("records"):
        points = panels.setdefault(row[panel], {}).setdefault(row[line], {})
        points[row[x]] = (row["mean"], row["low"], row["high"])
    return panels
