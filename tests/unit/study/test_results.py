"""A table on disk that survives its writers."""

import csv
from dataclasses import replace

import pytest
import torch

from gsa_utils.study import results
from gsa_utils.study.recipe import Recipe, Result
from gsa_utils.study.results import COLUMNS, FIRST_COLUMNS, append, finished, load_results, to_frame

MAP = torch.rand(4, 4, generator=torch.Generator().manual_seed(0))


def result(seed=0, **settings):
    return Result(Recipe("phantom-chest", seed=seed, **settings), {"accuracy": 0.1 + seed, "loss": 1 / 3}, MAP)


def test_results_come_back_from_disk_as_they_were(tmp_path):
    whole = result(attention="mlp", at="middle", size=32, train_images=None, shift=2, shuffled=True)
    blanked = Result(Recipe("phantom-face", ranking="anova", share=0.3, keep=True), {"auroc": 0.5})
    failed = Result(Recipe("phantom-face", seed=7), {}, error='ValueError: a, b and "c"')
    for one in (whole, blanked, failed):
        append(tmp_path, one)
    read = load_results(tmp_path)
    assert list(read) == [whole.recipe, blanked.recipe, failed.recipe]
    assert [one.scores for one in read.values()] == [whole.scores, blanked.scores, {}]
    assert torch.equal(read[whole.recipe].weight_map, MAP)
    assert read[blanked.recipe].weight_map is None
    assert [one.error for one in read.values()] == [None, None, failed.error]
    with (tmp_path / "runs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == ["done", "done", "failed"]
    assert all(row["commit"] and row["torch"] and row["date"] for row in rows)


def test_there_are_no_results_before_the_first_run(tmp_path):
    assert load_results(tmp_path / "nothing") == {}


def test_a_recipe_is_never_written_twice(tmp_path):
    append(tmp_path, result())
    append(tmp_path, Result(result().recipe, {"accuracy": 0.9}))
    assert load_results(tmp_path)[result().recipe].scores["accuracy"] == 0.1
    assert len((tmp_path / "runs.csv").read_text().splitlines()) == 2


@pytest.mark.parametrize("bytes_left", [1, 40, -1])
def test_a_row_that_its_writer_did_not_finish_counts_as_missing_and_is_replaced(tmp_path, bytes_left):
    table = tmp_path / "runs.csv"
    append(tmp_path, result(0))
    whole = table.read_bytes()
    append(tmp_path, result(1))
    torn = table.read_bytes()[len(whole) :]
    table.write_bytes(whole + torn[:bytes_left])
    assert finished(tmp_path) == {result(0).recipe}
    append(tmp_path, result(1))
    assert table.read_bytes().count(b"\n") == 3
    assert list(load_results(tmp_path)) == [result(0).recipe, result(1).recipe]


def test_a_torn_header_is_written_anew(tmp_path):
    (tmp_path / "runs.csv").write_text("dataset,atten")
    append(tmp_path, result())
    assert list(load_results(tmp_path)) == [result().recipe]


def test_a_table_of_the_first_version_is_read_its_half_precision_included_and_gets_todays_columns_with_a_row(tmp_path):
    append(tmp_path, replace(result(fast=True), precision="bfloat16"))
    append(tmp_path, replace(result(1), precision="float32"))
    table = tmp_path / "runs.csv"
    today = table.read_bytes()
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    with table.open("w", newline="") as file:
        first = csv.DictWriter(file, FIRST_COLUMNS, extrasaction="ignore", lineterminator="\n")
        first.writeheader()
        first.writerows(rows)
    before, read = table.read_bytes(), load_results(tmp_path)
    assert [(r.recipe.fast, r.precision) for r in read.values()] == [(True, "bfloat16"), (False, "float32")]
    append(tmp_path, result(1))
    assert table.read_bytes() == before, "nothing to add: left as it is"
    append(tmp_path, result(2))
    assert table.read_bytes().startswith(today)
    assert list(load_results(tmp_path)) == [*read, result(2).recipe]


def test_a_writer_that_dies_before_the_new_table_takes_its_place_leaves_the_old_one(tmp_path, monkeypatch):
    append(tmp_path, result(0))
    before = (tmp_path / "runs.csv").read_bytes()

    def die(*paths):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(results.os, "replace", die)
        with pytest.raises(KeyboardInterrupt):
            append(tmp_path, result(1))
    assert (tmp_path / "runs.csv").read_bytes() == before
    append(tmp_path, result(1))
    assert sorted(path.name for path in tmp_path.iterdir() if path.name[0] != ".") == ["maps", "runs.csv"]
    assert list(load_results(tmp_path)) == [result(0).recipe, result(1).recipe]


def test_results_as_a_frame_have_a_row_a_run_with_settings_scores_and_versions(tmp_path):
    failed = Result(Recipe("phantom-face", seed=7, size=32), {}, error="ValueError: a, b")
    append(tmp_path, result(3, attention="mlp"))
    append(tmp_path, failed)
    frame = to_frame(load_results(tmp_path))
    assert frame.dataset.tolist() == ["phantom-chest", "phantom-face"]
    assert frame.seed.tolist() == [3, 7]
    assert frame.status.tolist() == ["done", "failed"]
    assert frame.error[1] == failed.error
    assert (frame.accuracy[0], frame.loss[0]) == (3.1, 1 / 3)
    assert frame.isna()[["size", "accuracy", "error"]].values.tolist() == [[True, False, True], [False, True, False]]
    assert frame.torch.tolist() == [torch.__version__] * 2
    assert frame.groupby("attention").accuracy.mean()["mlp"] == 3.1
    assert list(to_frame({})) == list(frame)


def test_a_table_with_other_columns_is_refused_and_left_as_it_is(tmp_path):
    table = tmp_path / "runs.csv"
    table.write_text(",".join(COLUMNS[1:]) + "\n")
    with pytest.raises(ValueError, match=r"folder: got .*runs.csv with other columns \(\['dataset'\]\)"):
        append(tmp_path, result())
    assert table.read_text() == ",".join(COLUMNS[1:]) + "\n"
