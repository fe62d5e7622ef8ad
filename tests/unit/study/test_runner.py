"""A study trains each recipe once, writes it down at once, and goes on where it stopped, however it was stopped."""

import random
import subprocess
import sys
import time

import joblib
import pytest

from gsa_utils.study import runner
from gsa_utils.study.grid import load_grid
from gsa_utils.study.recipe import Recipe
from gsa_utils.study.results import load_results
from gsa_utils.study.runner import run_all
from gsa_utils.study.trial import run

TINY = {"dataset": "phantom-chest", "size": 16, "train_images": 12, "valid_images": 12, "epochs": 1, "rank": 4}


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


def test_killed_three_times_a_study_ends_with_the_rows_of_an_undisturbed_one(tmp_path, write_grid):
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


def test_two_processes_share_a_folder_without_doing_or_writing_anything_twice(tmp_path, write_grid):
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
