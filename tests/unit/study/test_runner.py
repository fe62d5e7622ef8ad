"""A study trains each recipe once, writes it down at once, and goes on where it stopped, however it was stopped."""

import random
import subprocess
import sys
import time
from dataclasses import replace
from itertools import islice

import joblib
import pytest

from gsa_utils.study import runner
from gsa_utils.study.recipe import Recipe, Result, run
from gsa_utils.study.runner import best_rates, load_grid, load_results, main, run_all

TINY = {"dataset": "phantom-chest", "size": 16, "train_images": 12, "valid_images": 12, "epochs": 1, "rank": 4}
GRID = """
[budget]
size = 16
train_images = 12
valid_images = 12
epochs = 1
rank = 4
[[grid]]
dataset = "phantom-chest"
attention = ["none", "mlp", "free"]
seed = [0, 1, 2, 3]
"""


def write_grid(folder, text=GRID):
    path = folder / "grid.toml"
    path.write_text(text)
    return path


def scores(folder) -> dict:
    """Recipe -> what must not depend on when or in which process it was run."""
    results = load_results(folder)
    assert not any(result.error for result in results.values())
    return {recipe: {**result.scores, "seconds": None} for recipe, result in results.items()}


def command(config, out, jobs: int) -> list[str]:
    return [sys.executable, "-m", "gsa_utils.study", str(config), "--out", str(out), "--jobs", str(jobs)]


def test_an_interrupted_study_runs_only_what_is_missing(tmp_path, monkeypatch):
    recipes = [Recipe(**TINY, seed=seed) for seed in range(3)]
    run_all(recipes[:2], tmp_path, progress=False)
    ran = []
    monkeypatch.setattr(runner, "run", lambda recipe: ran.append(recipe) or run(recipe))
    results = run_all(recipes, tmp_path, progress=False)
    assert ran == recipes[2:]
    assert [result.recipe for result in results] == recipes
    assert len(load_results(tmp_path)) == 3


def test_without_a_folder_results_come_in_order_and_errors_are_raised(monkeypatch):
    recipes = [Recipe(**TINY, seed=seed) for seed in (2, 0, 1)]
    assert [result.recipe for result in run_all(recipes, progress=False)] == recipes
    with pytest.raises(ValueError, match="at: got 'nowhere'"):
        run_all([Recipe(**TINY, attention="mlp", at="nowhere")], progress=False)


def test_a_run_that_fails_is_a_row_that_says_why_and_is_not_tried_again(tmp_path, monkeypatch):
    bad, good = Recipe(**TINY, at="nowhere", attention="mlp"), Recipe(**TINY)
    results = run_all([bad, good], tmp_path, progress=False)
    assert results[0].error.startswith("ValueError: at: got 'nowhere'")
    assert results[0].scores == {}
    assert results[1].error is None
    monkeypatch.setattr(runner, "run", lambda recipe: pytest.fail("run again"))
    assert run_all([bad, good], tmp_path, progress=False)[0].error == results[0].error


def test_a_set_that_cannot_be_had_stops_the_study_before_its_first_run(tmp_path, monkeypatch):
    def missing(name, *args, **kwargs):
        raise runner.DataUnavailable(f"no {name}")

    monkeypatch.setattr(runner, "load_image_set", missing)
    with pytest.raises(runner.DataUnavailable, match="no phantom-chest"):
        run_all([Recipe(**TINY)], tmp_path, progress=False)
    assert load_results(tmp_path) == {}


def test_what_is_done_is_read_without_the_images(tmp_path, monkeypatch):
    run_all([Recipe(**TINY)], tmp_path, progress=False)
    monkeypatch.setattr(runner, "load_image_set", lambda *args, **kwargs: pytest.fail("asked for images"))
    assert run_all([Recipe(**TINY)], tmp_path, progress=False)[0].error is None


def test_killed_three_times_a_study_ends_with_the_rows_of_an_undisturbed_one(tmp_path):
    """Slow (half a minute), as each start loads torch anew in three processes; nothing less is a real kill -9."""
    config, chance = write_grid(tmp_path), random.Random(0)
    run_all(load_grid(config), tmp_path / "straight", progress=False)
    for rows in (1, 4, 8):
        process = subprocess.Popen(command(config, tmp_path / "killed", jobs=2), stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while len(load_results(tmp_path / "killed")) < rows and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(chance.random() * 0.3)
        process.kill()  # SIGKILL: nothing is cleaned up, and its workers may live on for a while
        process.wait()
    last = subprocess.run(command(config, tmp_path / "killed", jobs=2), capture_output=True, text=True, check=True)
    assert "12 runs done, 0 failed" in last.stdout
    assert scores(tmp_path / "killed") == scores(tmp_path / "straight")
    assert len((tmp_path / "killed" / "runs.csv").read_text().splitlines()) == 1 + 12


def test_two_processes_share_a_folder_without_doing_or_writing_anything_twice(tmp_path):
    """Slow, as two processes load torch: locks between threads of one process would prove nothing."""
    config = write_grid(tmp_path)
    both = [subprocess.Popen(command(config, tmp_path, jobs=1), stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert all("12 runs done, 0 failed" in text for text in said)
    assert len((tmp_path / "runs.csv").read_text().splitlines()) == 1 + 12
    assert len(scores(tmp_path)) == 12


def test_the_same_call_runs_on_a_dask_cluster(tmp_path, monkeypatch):
    """Slow, as two real workers load torch."""
    distributed = pytest.importorskip("distributed", reason="dask's distributed is not installed")
    recipes = [Recipe(**TINY, seed=seed) for seed in range(4)]
    straight = [result.scores["loss"] for result in run_all(recipes, progress=False)]
    monkeypatch.setattr(runner, "run", lambda recipe: pytest.fail("run in the parent process"))
    local = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None, "local_directory": str(tmp_path)}
    with (
        distributed.LocalCluster(**local, host="127.0.0.1") as cluster,
        distributed.Client(cluster),
        joblib.parallel_config("dask"),
    ):
        results = run_all(recipes, tmp_path / "results", progress=False)
    assert [result.error for result in results] == [None] * 4
    assert [result.scores["loss"] for result in results] == pytest.approx(straight, rel=1e-5)


# The grid in a file


def test_a_grid_is_every_combination_seed_by_seed(tmp_path):
    recipes = load_grid(write_grid(tmp_path))
    assert len(recipes) == 12
    assert [recipe.seed for recipe in recipes] == [seed for seed in range(4) for _ in range(3)]
    assert {recipe.attention for recipe in islice(recipes, 3)} == {"none", "mlp", "free"}
    assert all(recipe.size == 16 and recipe.epochs == 1 for recipe in recipes)


def test_what_two_tables_have_in_common_is_run_once(tmp_path):
    more = '[[grid]]\ndataset = "phantom-chest"\nattention = ["mlp", "logistic"]\nseed = 0\n'
    assert len(load_grid(write_grid(tmp_path, GRID + more))) == 13


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (GRID.replace("attention =", "atention ="), "config: got 'atention', expected .* did you mean 'attention'"),
        (GRID.replace('"mlp"', '"mpl"'), "attention: got 'mpl'.* did you mean 'mlp'"),
        (GRID.replace("[budget]", "[budgets]"), "config: got 'budgets'.* did you mean 'budget'"),
        (GRID.replace("[0, 1, 2, 3]", "[]"), "seed: got an empty list"),
        (GRID.replace("epochs = 1", 'epochs = "one"'), "epochs: got 'one', expected a whole number"),
        (GRID.replace("rank = 4", "rank = 4.5"), "rank: got 4.5, expected a whole number"),
        (GRID + "valid_images = 0\n", "valid_images: got 0, expected a whole number"),
        (GRID.partition("[[grid]]")[0], "no \\[\\[grid\\]\\] table"),
        (GRID + "=", "expected a TOML file"),
        ('rates = "nowhere"\n' + GRID, "rates: got no run of small with none"),
    ],
)
def test_a_grid_with_a_mistake_is_refused_by_name(tmp_path, text, complaint):
    with pytest.raises(ValueError, match=complaint):
        load_grid(write_grid(tmp_path, text))


def test_the_rate_of_an_arm_is_the_one_of_the_least_mean_validation_loss(tmp_path):
    losses = {1e-3: [0.5, 0.1], 1e-2: [0.2, 0.2]}  # best once, but worse in the mean
    results = {
        recipe: Result(recipe, {"valid_loss": loss, "loss": -loss})
        for lr, values in losses.items()
        for seed, loss in enumerate(values)
        if (recipe := Recipe(**TINY, lr=lr, seed=seed))
    }
    assert best_rates(results) == {("small", "none"): 1e-2}
    failed = Recipe(**TINY, lr=1e-2, seed=5)
    assert best_rates({**results, failed: Result(failed, {}, error="diverged")}) == {("small", "none"): 1e-3}


def test_a_grid_takes_its_rates_from_the_runs_of_another(tmp_path):
    rates = [Recipe(**TINY, attention="mlp", lr=lr, seed=9) for lr in (1e-3, 1e-5)]
    run_all(rates, tmp_path / "rates", progress=False)
    best = best_rates(load_results(tmp_path / "rates"))["small", "mlp"]
    text = 'rates = "rates"\n' + GRID.replace('["none", "mlp", "free"]', '"mlp"')
    assert {recipe.lr for recipe in load_grid(write_grid(tmp_path, text))} == {best}


# The command


def test_the_command_lists_what_is_missing_and_runs_nothing(tmp_path, capsys):
    assert main([str(write_grid(tmp_path)), "--list"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("12 runs, 12 of them missing")
    assert said.count("Recipe(") == 12
    assert not (tmp_path / "runs.csv").exists()


def test_the_command_says_what_is_wrong_and_how_many_failed(tmp_path, capsys):
    assert main([str(tmp_path / "nothing.toml")]) == 2
    assert "nothing.toml" in capsys.readouterr().err
    config = write_grid(tmp_path, GRID.replace('"mlp"', '"region"').replace("[0, 1, 2, 3]", "0"))
    assert main([str(config), "--jobs", "1"]) == 0
    assert "3 runs done, 0 failed" in capsys.readouterr().out
    failing = write_grid(tmp_path, GRID.replace("rank = 4", "rank = 400").replace("[0, 1, 2, 3]", "0"))
    assert main([str(failing), "--jobs", "1"]) == 1
    captured = capsys.readouterr()
    assert "1 failed" in captured.out
    assert "rank" in captured.err


def test_an_interrupted_command_says_how_to_go_on(tmp_path, capsys, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "run_all", interrupted)
    assert main([str(write_grid(tmp_path))]) == 130
    assert "interrupted with 0 runs done; the same command goes on" in capsys.readouterr().err


def test_the_help_needs_no_notebook():
    said = subprocess.run(
        [sys.executable, "-m", "gsa_utils.study", "--help"], capture_output=True, text=True, check=True
    )
    assert "usage: python -m gsa_utils.study" in said.stdout
    assert "[[grid]]" in said.stdout


def test_recipes_that_differ_in_anything_have_files_of_their_own():
    recipe = Recipe(**TINY)
    others = [replace(recipe, seed=1), replace(recipe, shuffled=True), replace(recipe, shift=1)]
    assert len({recipe.key, *(other.key for other in others)}) == 4
