"""What the study of frozen networks found: the tables that results/PROTOCOL.md asks for, out of its runs.

Each function takes the table of runs that `gsa_utils.probing.study.read` gives, of an unfinished study too: what is
missing or failed is said beside the numbers.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict

import numpy as np
import pandas as pd

from gsa_utils.arguments import unknown_name
from gsa_utils.study.comparison import PAIRED_BY, compare, compare_all, with_verdicts

Arm = Mapping[str, object]

AVERAGE: Arm = {"arm": "average", "maps": 1}
MLP: Arm = {"arm": "mlp", "maps": 1}
SHARED: Arm = {"arm": "mlp", "maps": 4}  # the shared maps that the protocol's main question is about
VARIANTS = ["free", "mlp", "mlp-activations", "pixel-cnn"]  # of a shared map
SETTINGS = ["dataset", "grid", "arm", "maps", "images"]
FAMILY = 6  # primary hypotheses; the sixth is of a CNN from scratch
FLAT = 0.98  # a map whose effective area is larger did not train

PRIMARY: dict[int, tuple[str, Arm, Arm]] = {
    1: ("london-faces", SHARED, AVERAGE),
    2: ("nih-chest", SHARED, AVERAGE),
    3: ("kermany-chest", SHARED, AVERAGE),
    4: ("london-faces", MLP, {"arm": "free", "maps": 1}),
    5: ("london-faces", SHARED, {"arm": "attentive", "maps": 4}),
}
SIXTH: tuple[Arm, Arm] = ({"attention": "mlp", "at": "late", "maps": 1}, {"attention": "none"})
CENTRE: dict[str, tuple[Arm, Arm]] = {
    "four shared maps - average": (SHARED, AVERAGE),
    "MLP - free, one map": (MLP, {"arm": "free", "maps": 1}),
    "MLP - free, four maps": (SHARED, {"arm": "free", "maps": 4}),
}


def hypotheses(table: pd.DataFrame, scratch: pd.DataFrame | None = None) -> pd.DataFrame:
    """The primary hypotheses: one row each, by number, with interval, p, Holm's p over all six and a verdict in words.

    Args:
        table: the runs of the frozen network, for 1 to 5.
        scratch: the chosen trials of CNNs from scratch, for 6. Without them it counts as the worst it can be.
    """
    rows = {}
    for number, (dataset, ours, theirs) in PRIMARY.items():
        at = {"dataset": dataset, "grid": 28, "images": None}
        words = f"{ours['arm']} ({ours['maps']}) - {theirs['arm']} ({theirs['maps']})"
        rows[number] = {"dataset": dataset, "compared": words} | asdict(compare(table, at | ours, at | theirs))
    if scratch is not None:
        at, (ours, theirs) = {"dataset": "london-faces", "backbone": "small"}, SIXTH
        found = compare(scratch, at | ours, at | theirs)
        rows[6] = {"dataset": "london-faces", "compared": "from scratch, mlp (1) - none"} | asdict(found)
    return with_verdicts(pd.DataFrame.from_dict(rows, orient="index"), FAMILY)


def centre_curves(table: pd.DataFrame, over: str) -> pd.DataFrame:
    """The two centre curves: shared maps minus the average, and MLP minus free map, for each set and score.

    Args:
        over: "grid", with all training images, or "images", the number of them, at 28 x 28 places.

    Returns:
        one row a set, point of the curve, comparison (the keys of CENTRE) and score, in order. `point` names the point:
        the grid or the number, or "all", which are `trained_on`. Numbers that a set does not have are left out.
    """
    if over == "grid":
        at = table[table["images"].isna()]
    elif over == "images":
        at = table[_is_on_curve(table)]
    else:
        raise unknown_name("over", over, ("grid", "images"))
    rows = compare_all(table, _places(at, ["dataset", "grid", "images"]), CENTRE)
    return rows.assign(point=["all" if pd.isna(value) else f"{value:g}" for value in rows[over]])


def _is_on_curve(table: pd.DataFrame) -> pd.Series:
    """Which runs say something about the number of training images, in the sets where that was varied.

    Where a set has no more images than asked for, a run repeats the one with all.
    """
    everything = table[table["images"].isna()].groupby("dataset")["trained_on"].max()
    varied = table["dataset"].isin(table.loc[table["images"].notna(), "dataset"])
    fewer = table["images"] < table["dataset"].map(everything)
    return (table["grid"] == 28) & varied & (table["images"].isna() | fewer)


def _places(table: pd.DataFrame, columns: list[str]) -> list[dict[str, object]]:
    """What was run, once each, in order; the sets in the table's order, empty cells as None and last."""
    order = {name: number for number, name in enumerate(table["dataset"].unique())}
    places = table[columns].drop_duplicates()
    places = places.sort_values(columns, key=lambda cells: cells.map(order) if cells.name == "dataset" else cells)
    return places.astype(object).where(places.notna(), None).to_dict("records")


def with_best_shared(table: pd.DataFrame) -> pd.DataFrame:
    """The table with one more arm, "best shared": in each fold, the variant of a shared map that tuning would choose.

    That is the one of the lowest log-loss on the fold's own tuning images, among the variants with as many maps; the
    column `picked` names it. It is chosen anew in each fold, for the tuning images of one are tested in another.
    A fold counts when all its variants are done.
    """
    where = ["dataset", "grid", "maps", *PAIRED_BY]
    runs = table[table["images"].isna() & table["arm"].isin(VARIANTS)]
    runs = runs.assign(tuned=runs["valid_losses"].map(_lowest), picked=runs["arm"])
    whole = runs.groupby(where)["arm"].transform("nunique") == len(VARIANTS)
    best = runs[whole].sort_values("tuned", kind="stable").drop_duplicates(where).sort_index()
    return pd.concat([table, best.drop(columns="tuned").assign(arm="best shared")], ignore_index=True)


def _lowest(losses: object) -> float:
    """The log-loss of the trial that was chosen, out of "setting:loss setting:loss ..."; infinite for a failed run."""
    return min((float(trial.split(":")[1]) for trial in str(losses).split() if ":" in trial), default=np.inf)


def best_shared(table: pd.DataFrame) -> pd.DataFrame:
    """The best shared variant, chosen by tuning, minus attentive probing with as many queries: by set, grid and score.

    `picked` counts the folds that chose each variant.
    """
    extended = with_best_shared(table)
    chosen = extended[extended["arm"] == "best shared"]
    at = ["dataset", "grid", "maps"]
    question = {"best shared - attentive": ({"arm": "best shared"}, {"arm": "attentive"})}
    rows = compare_all(extended, _places(chosen, [*at, "images"]), question)
    picked = chosen.groupby(at)["picked"].agg(
        lambda arms: ", ".join(f"{n} {arm}" for arm, n in Counter(arms).most_common())
    )
    return rows.join(picked, on=at)


def untrained(table: pd.DataFrame) -> pd.DataFrame:
    """The runs whose maps did not train: an effective area above .98, in the mean of a run's maps."""
    return table.loc[table["effective_area"] > FLAT, [*SETTINGS, *PAIRED_BY, "setting", "effective_area"]]


def failures(table: pd.DataFrame) -> pd.DataFrame:
    """How many runs of an arm there are and how many failed, and why: one row for each arm that had a failure."""
    runs = table.assign(failed=table["error"] != "").groupby(SETTINGS, dropna=False, sort=False)
    counts = runs.agg(
        runs=("failed", "size"),
        failed=("failed", "sum"),
        why=("error", lambda texts: "; ".join(sorted(set(texts) - {""}))),
    )
    return counts[counts["failed"] > 0].reset_index()
