"""The committed tables are whole, and the lessons' numbers follow from them: recomputed here without the package."""

import csv
import re
from itertools import combinations
from pathlib import Path
from statistics import mean

import nbformat
import numpy as np
import pytest
from scipy.stats import rankdata

from gsa_utils.study import load_grid, load_results

ROOT = Path(__file__).parents[2]
FOLDERS = sorted(path.parent for path in (ROOT / "results").glob("*/runs.csv"))
WHOLE = ["06_four_cnns", "06_learning_curves", "06_rates", "07_right_map"]  # grids of which every run is there
PHANTOMS = ["phantom-chest", "phantom-retina", "phantom-face"]


def rows(folder: str, **wanted: object) -> list[dict[str, str]]:
    with (ROOT / "results" / folder / "runs.csv").open(newline="") as file:
        return [row for row in csv.DictReader(file) if all(row[key] == str(value) for key, value in wanted.items())]


def printed(lesson: str) -> str:
    """All that the committed lesson prints."""
    (path,) = (ROOT / "notebooks").glob(f"{lesson}_*.ipynb")
    cells = nbformat.read(path, as_version=4).cells
    return "".join(output.get("text", "") for cell in cells for output in cell.get("outputs", []))


def numbers(text: str, *line: str) -> list[float]:
    """The numbers behind the last word of the first line that holds all these words."""
    (found,) = [one for one in text.splitlines() if all(word in one for word in line)][:1]
    return [float(number) for number in re.findall(r"[-+]?\d+\.\d+", found.rpartition(line[-1])[2])]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_row_can_be_read_once_and_every_map_belongs_to_one(folder):
    results = load_results(folder)
    with (folder / "runs.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert len(results) == len(table)
    maps = [row["map"] for row in table if row["map"]]
    assert sorted(maps) == sorted(path.name for path in (folder / "maps").glob("*.npy"))
    assert all(row["status"] == ("failed" if row["error"] else "done") for row in table)
    assert all(0 <= float(row["auroc"]) <= 1 for row in table if row["status"] == "done")


@pytest.mark.parametrize("name", WHOLE)
def test_every_run_of_a_grid_is_there_and_none_failed(name):
    results, grid = load_results(ROOT / "results" / name), load_grid(ROOT / "results" / name / "grid.toml")
    assert set(results) == set(grid)
    assert {recipe.seed for recipe in grid} == ({100} if name == "06_rates" else set(range(5)))
    assert not [recipe for recipe, result in results.items() if result.error]


@pytest.mark.parametrize("name", PHANTOMS)
@pytest.mark.parametrize(("arm", "called"), [("mlp", "MLP"), ("free", "free map")])
def test_lesson_07_shuffled_labels(name, arm, called):
    table = rows("07_right_map", dataset=name, attention=arm, shuffled=True, shift=0)
    assert len(table) == 5
    maps = [np.load(ROOT / "results" / "07_right_map" / "maps" / row["map"]) for row in table]
    ranks = [rankdata(one).ravel() for one in maps]
    pairs = [np.corrcoef(a, b)[0, 1] for a, b in combinations(ranks, 2)]
    accuracy, _, found, _, agreement, size, contrast = numbers(printed("07"), f"{name}, {called}, shuffled")
    assert accuracy == pytest.approx(mean(float(row["accuracy"]) for row in table), abs=6e-4)
    assert found == pytest.approx(mean(float(row["map_auroc"]) for row in table), abs=6e-4)
    assert (agreement, size) == pytest.approx((mean(pairs), mean(map(abs, pairs))), abs=6e-3)
    assert contrast == pytest.approx(mean(float(one.max() - one.min()) for one in maps), abs=6e-3)


@pytest.mark.parametrize("name", PHANTOMS)
@pytest.mark.parametrize("shift", [1, 8])
def test_lesson_07_shifts(name, shift):
    mlp, none = (
        {row["seed"]: float(row["accuracy"]) for row in rows("07_right_map", dataset=name, attention=arm, shift=shift)}
        for arm in ("mlp", "none")
    )
    points = 100 * mean(mlp[seed] - none[seed] for seed in mlp)
    assert len(mlp) == len(none) == 5
    assert numbers(printed("07"), name, f"shift {shift}:")[0] == pytest.approx(points, abs=0.006)


@pytest.mark.parametrize("name", ["pneumoniamnist", "breastmnist", "london-faces"])
@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize(("ranking", "called"), [("mlp", "MLP"), ("moved", "MLP, moved"), ("centre", "centre")])
def test_lesson_07_remove_and_retrain(name, keep, ranking, called):
    ours, chance = (
        [float(row["auroc"]) for row in rows("07_right_map", dataset=name, ranking=by, keep=keep)]
        for by in (ranking, "random")
    )
    assert len(ours) == len(chance) == 5 * (3 if keep else 5)
    table = printed("07").partition("kept, against random" if keep else "removed, against random")[2]
    assert numbers(table, name, called)[0] == pytest.approx(100 * (mean(ours) - mean(chance)), abs=0.006)


def costs(name: str) -> list[dict[str, str]]:
    with (ROOT / "results" / name).open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("side", ["28", "64", "224"])
def test_lesson_08_step_costs(side):
    table = [row for row in costs("step_cost.csv") if row["image_side"] == side]
    text = printed("08").partition(f"{side} x {side} pixels; a second network")[2]
    for what in ("ours, input", "ours, middle", "naive, input"):
        expected = [float(row["ratio"]) for row in table if row["what"] == what]
        assert numbers(text, f"    {what} ") == expected
    for what, called in {"cbam": "CBAM", "se": "SE", "eca": "ECA", "global-context": "global context"}.items():
        assert numbers(text, f"    {called} ") == [float(row["ratio"]) for row in table if row["what"] == what]


def test_the_cost_of_a_step_with_our_map_does_not_grow_with_the_images():
    for side in ("28", "64", "224"):
        for place in ("input", "middle"):
            found = {
                row["images"]: float(row["ratio"])
                for row in costs("step_cost.csv")
                if (row["image_side"], row["what"]) == (side, f"ours, {place}")
            }
            assert abs(found["1000000"] / found["100"] - 1) < 0.03


@pytest.mark.parametrize("column", ["peak_mib", "more_than_before_mib"])
def test_pixel_features_of_a_million_images_take_the_memory_of_ten_thousand(column):
    memory = {
        row["images"]: float(row[column])
        for row in costs("pixel_features.csv")
        if (row["image_side"], row["what"]) == ("28", "pixel_features")
    }
    assert memory["1000000"] == pytest.approx(memory["10000"], rel=0.1)


def test_the_inspector_follows_a_slider_within_75_ms_of_which_the_kernel_takes_5():
    table = costs("inspector_latency.csv")
    limits = {"kernel": 5, "JupyterLab in Chromium": 75}
    assert {row["where"] for row in table} == set(limits)
    assert {row["image_side"] for row in table} == {"28", "64", "224"}
    assert [row for row in table if float(row["median_ms"]) > limits[row["where"]]] == []
