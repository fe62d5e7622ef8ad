"""A study trains each recipe once, writes it down at once, and goes on where it stopped."""

import pytest
import torch

from gsa_utils import load_image_set, study
from gsa_utils.recipes import Recipe, build, run
from gsa_utils.study import load_results, run_all

TINY = {"dataset": "phantom-chest", "size": 16, "train_images": 12, "valid_images": 12, "epochs": 1, "rank": 4}


def test_a_run_gives_scores_and_a_map_and_repeats_itself():
    first, again = run(Recipe(**TINY, attention="mlp")), run(Recipe(**TINY, attention="mlp"))
    assert {"accuracy", "auroc", "loss", "map_auroc", "map_auprc", "map_energy", "seconds"} <= set(first.scores)
    assert torch.equal(first.weight_map, again.weight_map)
    assert first.scores["loss"] == again.scores["loss"]


def test_results_come_back_from_disk_as_they_were(tmp_path):
    recipes = [Recipe(**TINY, attention=arm, at=at) for arm, at in (("none", "input"), ("free", "middle"))]
    written = run_all(recipes, tmp_path, progress=False)
    read = load_results(tmp_path)
    assert list(read) == recipes
    assert [result.scores for result in read.values()] == [result.scores for result in written]
    assert [result.error for result in written] == [None, None]
    for recipe, result in zip(recipes, written, strict=True):
        assert torch.equal(read[recipe].weight_map, result.weight_map)


def test_an_interrupted_study_runs_only_what_is_missing(tmp_path, monkeypatch):
    recipes = [Recipe(**TINY, seed=seed) for seed in range(3)]
    run_all(recipes[:2], tmp_path, progress=False)
    ran = []
    monkeypatch.setattr(study, "run", lambda recipe: ran.append(recipe) or run(recipe))
    results = run_all(recipes, tmp_path, progress=False)
    assert ran == recipes[2:]
    assert [result.recipe for result in results] == recipes
    assert len(load_results(tmp_path)) == 3


def test_there_are_no_results_before_the_first_run(tmp_path):
    assert load_results(tmp_path / "nothing") == {}


def test_the_true_region_is_shown_as_a_constant_map():
    recipe = Recipe(**TINY, attention="region")
    train = load_image_set(recipe.dataset, size=recipe.size)
    _, weight_map = build(recipe, train)
    assert weight_map.frozen
    assert weight_map.map()[train.region].min() > 0.99
    assert weight_map.map()[~train.region].max() < 0.01


def test_an_unknown_attention_names_the_nearest():
    with pytest.raises(ValueError, match="attention: got 'mpl', expected one of .* did you mean 'mlp'"):
        Recipe("phantom-chest", attention="mpl")
