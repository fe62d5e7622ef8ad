"""The tables of the study of frozen networks, out of made-up runs whose differences are known."""

from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest

from gsa_utils.probing import analysis, study
from gsa_utils.study.comparison import PAIRS

IMAGES = {"london-faces": 130, "nih-chest": 640, "kermany-chest": 768, "breastmnist": 500}
# What an arm scores above the average pooling, (one map, four maps), on London faces; elsewhere all score the same.
GAINS = {"attentive": (0.05, 0.1), "free": (0.1, 0.15), "mlp": (0.12, 0.2), "pixel-cnn": (0.05, 0.05)}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished study, as `read` gives it."""
    noise, rows = np.random.default_rng(0), []
    for cell in study.all_cells():
        gain = GAINS.get(cell.arm, (0, 0))[cell.maps > 1] if cell.dataset == "london-faces" else 0
        auroc = 0.6 + gain + 0.02 * cell.fold + noise.normal(0, 0.002)
        trained_on, tested_on = min(IMAGES[cell.dataset], cell.images or 1000), IMAGES[cell.dataset] * 5 // 16
        loss = 1 - auroc
        row = asdict(cell) | {"auroc": auroc, "accuracy": auroc, "loss": loss, "error": "", "setting": 0.1}
        row |= {"trained_on": trained_on, "tested_on": tested_on, "valid_losses": f"0.003:inf 0.1:{loss:.4f} 1:2.0000"}
        row |= {"effective_area": 0.5 if cell.arm in analysis.VARIANTS else None}
        rows.append(row)
    folder = tmp_path_factory.mktemp("study")
    table = pd.DataFrame(rows).reindex(columns=study.COLUMNS).astype({"images": "Int64"})
    table.to_csv(folder / "runs.csv", index=False)
    return study.read(folder)


@pytest.fixture
def table(whole):
    return whole.copy()


def runs(table, **chosen):
    """Which rows are those with all images of these settings."""
    return table["images"].isna() & np.logical_and.reduce([table[name] == value for name, value in chosen.items()])


def test_a_finished_study_has_as_many_pairs_as_the_protocol_says():
    assert study.FOLDS * study.REPEATS == PAIRS


def test_the_hypotheses_are_told_with_their_differences_and_verdicts(table):
    found = analysis.hypotheses(table)
    assert found["dataset"].tolist() == ["london-faces", "nih-chest", "kermany-chest", "london-faces", "london-faces"]
    assert found["mean"].tolist() == pytest.approx([0.2, 0, 0, 0.02, 0.1], abs=0.004)
    none = "no difference shown"
    assert found["verdict"].tolist() == ["higher", none, none, "higher", "higher"]
    assert found.index.tolist() == [1, 2, 3, 4, 5]
    assert found["holm"].min() == pytest.approx(6 * found["p"].min()), "over six: the last counts as 1"


def test_the_sixth_hypothesis_comes_from_the_networks_from_scratch_and_the_family_stays_six(table):
    pairs = [(repeat, fold) for repeat in range(2) for fold in range(5)]
    arms = [("mlp", "late", 0.83), ("mlp", "input", 0.99), ("none", "input", 0.8)]
    scratch = pd.DataFrame(
        [
            {"dataset": "london-faces", "backbone": "small", "attention": attention, "at": at, "maps": 1}
            | {"repeat": repeat, "fold": fold, "trained_on": 130, "tested_on": 41, "error": None}
            | {"auroc": auroc + 0.01 * fold + 0.002 * (repeat if attention == "mlp" else 0)}
            for attention, at, auroc in arms
            for repeat, fold in pairs
        ]
    )
    found, without = analysis.hypotheses(table, scratch), analysis.hypotheses(table)
    assert found.index.tolist() == [1, 2, 3, 4, 5, 6]
    assert found.loc[6, "mean"] == pytest.approx(0.031)
    assert found.loc[6, "verdict"] == "higher"
    assert (found["holm"][:5] <= without["holm"] + 1e-12).all(), "a known p is no worse than one that counts as 1"


def test_an_unfinished_or_failed_run_is_told_with_the_hypothesis(table):
    at_28 = {"grid": 28, "fold": 0, "repeat": 0}
    table.loc[runs(table, dataset="nih-chest", arm="mlp", maps=4, **at_28), ["auroc", "error"]] = [np.nan, "E: x"]
    table = table[~runs(table, dataset="london-faces", arm="attentive", maps=4, **at_28)]
    table = table[table["dataset"] != "kermany-chest"]
    found = analysis.hypotheses(table)
    assert found["verdict"][3] == "not finished: 0 of 10 pairs"
    assert found["verdict"][2] == "no difference shown: 9 of 10 pairs"
    assert found["failed"][2] == ("ours, repeat 0, fold 0: E: x",)
    assert found["verdict"][5] == "not finished: 9 of 10 pairs"


def test_the_curve_over_the_grid_has_every_set_grid_question_and_score(table):
    rows = analysis.centre_curves(table, "grid")
    grids = {name: rows.loc[rows["dataset"] == name, "point"].unique().tolist() for name in IMAGES}
    assert grids == {name: ["14", "28"] if name == "breastmnist" else ["7", "14", "28", "56"] for name in IMAGES}
    assert len(rows) == (3 * 4 + 2) * 3 * 3
    means = rows[rows["dataset"] == "london-faces"].groupby(["compared", "score"])["mean"].mean()
    for words, gain in zip(analysis.CENTRE, (0.2, 0.02, 0.05), strict=True):
        assert means[words].to_dict() == pytest.approx({"accuracy": gain, "auroc": gain, "loss": -gain}, abs=0.003)


def test_the_curve_over_images_has_only_numbers_that_a_set_has_and_sets_of_which_it_was_varied(table):
    rows = analysis.centre_curves(table, "images")
    points = {name: part["point"].unique().tolist() for name, part in rows.groupby("dataset", sort=False)}
    more = ["50", "100", "200", "400", "all"]
    assert points == {"london-faces": ["50", "100", "all"], "nih-chest": more, "kermany-chest": more}
    assert set(rows["grid"]) == {28}
    assert rows.groupby(["dataset", "point"])["trained_on"].first()["nih-chest"]["all"] == 640


def test_a_curve_over_something_else_is_refused(table):
    with pytest.raises(ValueError, match="over: got 'maps', expected one of grid, images"):
        analysis.centre_curves(table, "maps")


def test_an_unfinished_study_has_the_curves_of_what_is_there(table):
    part = table[(table["repeat"] == 0) & (table["fold"] < 2) & (table["dataset"] != "kermany-chest")]
    part = part[~((part["fold"] == 1) & (part["dataset"] == "breastmnist"))]
    rows = analysis.centre_curves(part, "grid").groupby("dataset")
    assert rows["pairs"].max().to_dict() == {"london-faces": 2, "nih-chest": 2, "breastmnist": 1}
    assert rows["mean"].count()["breastmnist"] == 0


def test_the_best_shared_variant_is_chosen_by_the_tuning_images_of_its_fold_whatever_it_scores(table):
    here = {"dataset": "london-faces", "grid": 28, "maps": 4}
    tuned_well = runs(table, **here, arm="pixel-cnn") & (table["fold"] < 4)
    table.loc[tuned_well, "valid_losses"] = "0.003:0.9000 0.1:0.0100"
    rows = (
        analysis.best_shared(table).query("dataset == 'london-faces' and score == 'auroc'").set_index(["grid", "maps"])
    )
    assert rows["picked"][28, 4] == "8 pixel-cnn, 2 mlp"
    assert rows["mean"][28, 4] == pytest.approx(0.8 * (0.05 - 0.1) + 0.2 * (0.2 - 0.1), abs=0.004)
    assert rows["mean"][14, 4] == pytest.approx(0.2 - 0.1, abs=0.004)
    assert len(rows) == 4 * 2


def test_no_variant_is_chosen_before_all_are_done_and_a_failed_one_never(table):
    here = {"dataset": "nih-chest", "grid": 14, "maps": 1}
    table.loc[runs(table, **here, arm="mlp"), ["auroc", "valid_losses", "error"]] = [np.nan, "", "E: x"]
    table = table[~(runs(table, **here, arm="free") & (table["repeat"] == 1))]
    best = analysis.with_best_shared(table)
    best = best[runs(best, **here, arm="best shared")]
    assert best["repeat"].tolist() == [0] * 5
    assert "mlp" not in set(best["picked"])


def test_maps_that_did_not_train_are_listed(table):
    flat = runs(table, dataset="nih-chest", grid=7, arm="free", maps=4, fold=3)
    table.loc[flat, "effective_area"] = 0.981
    table.loc[runs(table, dataset="nih-chest", grid=7, arm="free", maps=1), "effective_area"] = 0.98
    found = analysis.untrained(table)
    assert found[["dataset", "grid", "arm", "maps", "fold"]].to_numpy().tolist() == [["nih-chest", 7, "free", 4, 3]] * 2


def test_failures_are_counted_by_arm_with_their_reasons(table):
    assert analysis.failures(table).empty
    here = runs(table, dataset="nih-chest", grid=7, arm="free", maps=4)
    table.loc[here & (table["fold"] < 2), "error"] = "E: x"
    table.loc[here & (table["fold"] == 4), "error"] = "E: y"
    (row,) = analysis.failures(table).to_dict("records")
    assert (row["arm"], row["maps"], row["runs"], row["failed"], row["why"]) == ("free", 4, 10, 6, "E: x; E: y")
