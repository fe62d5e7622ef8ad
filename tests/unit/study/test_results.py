"""A table on disk that survives its writers."""

import csv

import numpy as np
import pandas as pd
import pytest
import torch

from gsa_utils.study import results
from gsa_utils.study.recipe import Recipe, Result
from gsa_utils.study.results import COLUMNS, append, chosen_trials, finished, load_results, to_frame

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


@pytest.mark.parametrize("kept", [1, 20, 130, -60, -2])
def test_a_last_row_that_was_cut_and_then_ended_counts_as_missing_and_is_replaced(tmp_path, kept):
    """As an editor that adds the missing end of a line leaves it."""
    table = tmp_path / "runs.csv"
    append(tmp_path, result(0))
    whole = table.read_bytes()
    append(tmp_path, result(1))
    row = table.read_bytes()[len(whole) :].rstrip(b"\n")
    table.write_bytes(whole + (row[: row.rfind(b",")] if kept == -2 else row[:kept]) + b"\n")
    assert finished(tmp_path) == set(load_results(tmp_path)) == {result(0).recipe}
    append(tmp_path, result(1))
    assert list(load_results(tmp_path)) == [result(0).recipe, result(1).recipe]
    assert table.read_bytes().count(b"\n") == 3


def test_a_last_row_that_was_cut_within_quotes_or_filled_with_zeros_counts_as_missing(tmp_path):
    table = tmp_path / "runs.csv"
    append(tmp_path, result(0))
    whole = table.read_bytes()
    for rest in (b'phantom-chest,mlp,"at\n', b'phantom-chest,mlp,"at', b"\0" * 400 + b"\n", b"\0" * 400):
        table.write_bytes(whole + rest)
        assert list(load_results(tmp_path)) == [result(0).recipe]


def test_a_table_with_windows_line_ends_and_mark_is_read(tmp_path):
    append(tmp_path, result(0))
    table = tmp_path / "runs.csv"
    table.write_bytes(b"\xef\xbb\xbf" + table.read_bytes().replace(b"\n", b"\r\n") + b"\r\n")
    append(tmp_path, result(1))
    assert list(load_results(tmp_path)) == [result(0).recipe, result(1).recipe]


KEY = result(0).recipe.key.encode()


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        (
            b",False,",
            b",no,",
            r"folder: got runs.csv with a run \(dataset phantom-chest.* seed 0\).*got 'no' where True",
        ),
        (b"0.0005", b"fast", "folder: got runs.csv with a run .*could not convert .*'fast'"),
        (b"0.0005", b"inf", "folder: got runs.csv with a run .*lr: got inf"),
        (b",30,32,", b",30.5,32,", "folder: got runs.csv with a run .*'30.5'"),
        (b",0.1,", b",good,", "folder: got runs.csv with a run .*accuracy: got 'good', expected a number"),
        (b"done", b"don\xe9", r"folder: got .*runs\.csv, where byte \d+ \(0xe9\) is no UTF-8"),
        (b",keep,", b",share,", r"folder: got .*runs\.csv with a column that is there twice"),
        (b"phantom-chest,", b"phantom-chest,,", r"folder: got .*runs\.csv with \d+ cells in row 2"),
        (b"phantom-chest,none,", b"phantom-chest,", r"folder: got .*runs\.csv with \d+ cells in row 2"),
        (b"phantom-chest", b"x" * 200_000, r"folder: got .*runs\.csv, which cannot be read \(field larger"),
        (KEY, b"../" + KEY, r"map: got '\.\./.*\.npy' in .*runs\.csv, expected the \(H, W\) map of a run in "),
        (KEY, b"../../../../tmp/" + KEY, r"map: got '\.\./"),
        (KEY + b".npy", b"/etc/passwd", "map: got '/etc/passwd' in "),
        (KEY + b".npy", b"..", r"map: got '\.\.' in "),
        (KEY, b"..\\" + KEY, "map: got "),
        (KEY, b"another", r"map: got .*maps.another\.npy, which cannot be read .*delete the run's row"),
    ],
)
def test_a_table_that_nothing_of_ours_wrote_is_refused_and_left_as_it_is(tmp_path, old, new, complaint):
    append(tmp_path, result(0))
    append(tmp_path, result(1))
    np.save(tmp_path / f"{KEY.decode()}.npy", MAP.numpy())  # where a path that leads out would find one
    table = tmp_path / "runs.csv"
    before = table.read_bytes()
    assert old in before
    table.write_bytes(before.replace(old, new, 1))
    with pytest.raises(ValueError, match=complaint):
        load_results(tmp_path)
    assert table.read_bytes() == before.replace(old, new, 1)


def test_a_map_that_is_damaged_or_lies_elsewhere_is_named(tmp_path):
    append(tmp_path, result(0))
    path = tmp_path / "maps" / f"{KEY.decode()}.npy"
    whole, elsewhere = path.read_bytes(), tmp_path / "elsewhere.npy"
    elsewhere.write_bytes(whole)
    for damaged in (b"", b"junk", whole[:-5]):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=rf"map: got .*{path.name}, which cannot be read"):
            load_results(tmp_path)
    for other in (np.array(["text"]), np.zeros(3), np.zeros((2, 2), dtype=int), np.array([[object()]])):
        np.save(path, other, allow_pickle=True)
        with pytest.raises(ValueError, match=rf"map: got .*{path.name}, which "):
            load_results(tmp_path)
    path.unlink()
    path.symlink_to(elsewhere)
    with pytest.raises(ValueError, match=rf"map: got '{path.name}'.*in .*maps; delete the run's row"):
        load_results(tmp_path)


def test_what_is_no_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="folder: got the file .*file, expected a folder"):
        load_results(tmp_path / "file")
    with pytest.raises(ValueError, match="folder: got NoneType None, expected a path"):
        load_results(None)


@pytest.mark.parametrize("room", [0, 100, 700])
def test_a_full_disk_is_named_with_its_path_and_leaves_the_table_before_it(tmp_path, room, room_for):
    append(tmp_path, result(0))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with room_for(room), pytest.raises(OSError, match=r"(runs\.csv|\.npy) could not be written \(.*\); what was there"):
        append(tmp_path, result(1))
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert {path: after[path] for path in before} == before
    assert not list(tmp_path.rglob("*.part"))
    assert list(load_results(tmp_path)) == [result(0).recipe]
    append(tmp_path, result(1))
    assert list(load_results(tmp_path)) == [result(0).recipe, result(1).recipe]


def test_a_torn_header_is_written_anew(tmp_path):
    (tmp_path / "runs.csv").write_text("dataset,atten")
    append(tmp_path, result())
    assert list(load_results(tmp_path)) == [result().recipe]


def test_a_table_without_later_settings_is_read_with_their_defaults_and_gets_todays_columns_with_a_row(tmp_path):
    """Written, that is, before recipes had folds, several maps or planted patches."""
    append(tmp_path, result(1, attention="mlp"))
    append(tmp_path, result(2))
    table = tmp_path / "runs.csv"
    later = ["fold", "maps", "strength", "jitter", "decoys", "valid_auroc", "trained_on", "effective_area"]
    pd.read_csv(table, dtype=str, keep_default_na=False).drop(columns=later).to_csv(table, index=False)
    before, read = table.read_text(), load_results(tmp_path)
    assert list(read) == [result(1, attention="mlp").recipe, result(2).recipe]
    append(tmp_path, Result(result(2).recipe, {}))
    assert table.read_text() == before, "nothing to add: left as it is"
    append(tmp_path, result(3, fold=2, maps=4))
    assert list(load_results(tmp_path)) == [*read, result(3, fold=2, maps=4).recipe]
    assert [one.scores for one in load_results(tmp_path).values()][:2] == [one.scores for one in read.values()]
    assert table.read_text().splitlines()[0] == ",".join(COLUMNS)


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


def test_a_table_from_before_a_setting_was_added_is_read_with_its_default(tmp_path):
    append(tmp_path, result())
    table = pd.read_csv(tmp_path / "runs.csv", dtype=str, keep_default_na=False)
    table.drop(columns=["marker", "images", "map_energy"]).to_csv(tmp_path / "runs.csv", index=False)
    (recipe,) = load_results(tmp_path)
    assert recipe == result().recipe
    append(tmp_path, result(seed=7))
    assert pd.read_csv(tmp_path / "runs.csv")["marker"].tolist() == [0.0, 0.0]


def test_of_the_trials_of_an_arm_the_one_with_the_lowest_validation_loss_is_chosen_on_each_fold():
    losses = {(0, 0.01): 0.5, (0, 0.1): 0.3, (1, 0.01): 0.2, (1, 0.1): None}  # of fold and rate; None: it failed
    results = {}
    for (fold, rate), loss in losses.items():
        recipe = Recipe("phantom-chest", "mlp", fold=fold, seed=7, attention_lr=rate)
        results[recipe] = Result(recipe, {} if loss is None else {"valid_loss": loss, "auroc": rate}, error=None)
    other = Recipe("phantom-chest", fold=0, seed=7)
    results[other] = Result(other, {"valid_loss": 0.1, "auroc": 0.9})
    chosen = chosen_trials(results).set_index(["attention", "repeat", "fold"])
    assert chosen["attention_lr"].to_dict() == {("mlp", 7, 0): 0.1, ("mlp", 7, 1): 0.01, ("none", 7, 0): 0.01}
    assert chosen["trials"].to_dict() == {("mlp", 7, 0): 2, ("mlp", 7, 1): 2, ("none", 7, 0): 1}
