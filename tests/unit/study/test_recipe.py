"""What a recipe refuses, and that it has a name of its own."""

from dataclasses import replace

import pytest

from gsa_utils.study.recipe import Recipe

TINY = {"dataset": "phantom-chest", "size": 16, "train_images": 12, "valid_images": 12, "epochs": 1, "rank": 4}


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"attention": "mpl"}, "attention: got 'mpl', expected one of .* did you mean 'mlp'"),
        ({"backbone": "resnets"}, "backbone: got 'resnets'.* did you mean 'resnet'"),
        ({"fast": "yes"}, "fast: got 'yes', expected True or False"),
        ({"shuffled": "no"}, "shuffled: got 'no', expected True or False"),
        ({"ranking": "anovas", "share": 0.1}, "ranking: got 'anovas'.* did you mean 'anova'"),
        ({"ranking": "anova"}, "share: got 0.0"),
        ({"share": 0.5}, "share: got 0.5"),
        ({"ranking": "anova", "share": 1.0}, "share: got 1.0"),
        ({"shift": -1}, "shift: got -1"),
        ({"epochs": 0}, "epochs: got 0"),
        ({"batch_size": 1}, "batch_size: got 1, expected a whole number, at least 2"),
        ({"attention_lr": -1}, "attention_lr: got -1, expected a positive number"),
        ({"train_images": 0}, "train_images: got 0"),
        ({"rank": None}, "rank: got None"),
        ({"maps": 0}, "maps: got 0"),
        ({"jitter": -1}, "jitter: got -1"),
        ({"images": 0}, "images: got 0"),
        ({"weight_decay": -1.0}, "weight_decay: got -1.0"),
        ({"decoys": 1}, "decoys: got 1, expected True or False"),
        ({"fold": 5}, "fold: got 5, expected a whole number below 5"),
        ({"fold": -1}, "fold: got -1"),
        ({"fold": 1.5}, "fold: got 1.5"),
        ({"area": 0.1, "strength": 0.2}, "area: got 0.1, expected 0 without a fold"),
        ({"marker": 0.9}, "marker: got 0.9, expected 0 without a fold"),
        ({"marker": 0.9, "fold": 0, "area": 0.1, "strength": 0.2}, "marker: got 0.9, expected 0 without a fold, and 0"),
        ({"marker": 1.5, "fold": 0}, "marker: got 1.5, expected a number from 0 to 1"),
        ({"seed": True}, "seed: got True"),
        ({"lr": "fast"}, "lr: got 'fast'"),
        ({"lr": float("inf")}, "lr: got inf"),
        ({"lr": 10**400}, "lr: got 1000"),
        ({"weight_decay": float("inf")}, "weight_decay: got inf"),
        ({"strength": True}, "strength: got True, expected a number from 0 to 1"),
        ({"at": 3}, "at: got 3, expected a place by name"),
        ({"size": 16.0}, "size: got 16.0"),
        ({"ranking": 3}, "ranking: got 3, expected one of"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_before_anything_runs(settings, complaint):
    with pytest.raises(ValueError, match=complaint):
        Recipe(**{**TINY, **settings})


def test_recipes_that_differ_in_anything_have_files_of_their_own():
    recipe = Recipe(**TINY)
    others = [replace(recipe, seed=1), replace(recipe, shuffled=True), replace(recipe, shift=1)]
    others += [replace(recipe, fold=0), replace(recipe, fold=1), replace(recipe, maps=2), replace(recipe, images=9)]
    others += [replace(recipe, fold=0, area=0.1), replace(recipe, weight_decay=0.1)]
    assert len({recipe.key, *(other.key for other in others)}) == 10
