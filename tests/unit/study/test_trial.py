"""One run of a comparison, and what a recipe does to its images."""

import os
import subprocess
import sys
from dataclasses import replace
from itertools import chain

import pytest
import torch

from gsa_utils import load_image_set
from gsa_utils.evaluation.rankings import moved
from gsa_utils.images import ImageSet
from gsa_utils.study import trial
from gsa_utils.study.recipe import FOLDS, RANKINGS, Recipe
from gsa_utils.study.trial import build, images, ranking, run, shifted

TINY = {"dataset": "phantom-chest", "size": 16, "train_images": 12, "valid_images": 12, "epochs": 1, "rank": 4}


def test_a_run_gives_scores_and_a_map_and_repeats_itself():
    first, again = run(Recipe(**TINY, attention="mlp")), run(Recipe(**TINY, attention="mlp"))
    assert {"accuracy", "auroc", "loss", "map_auroc", "map_auprc", "map_energy", "seconds"} <= set(first.scores)
    assert {"valid_auroc", "valid_loss", "effective_area", "trained_on", "tested_on"} <= set(first.scores)
    assert 0 < first.scores["effective_area"] <= 1
    assert torch.equal(first.weight_map, again.weight_map)
    assert first.scores["loss"] == again.scores["loss"]


@pytest.mark.parametrize("attention", ["none", "cbam"])
def test_a_run_without_a_global_map_leaves_the_map_that_explains_it(attention):
    result = run(Recipe(**TINY, attention=attention))
    assert result.weight_map.shape == (16, 16)
    assert "map_auroc" in result.scores


def test_squeeze_and_excitation_has_no_map():
    assert run(Recipe(**TINY, attention="se")).weight_map is None


def test_a_map_of_a_set_with_fewer_images_than_the_rank_sees_them_all():
    recipe = replace(Recipe(**TINY, attention="mlp"), rank=64)
    _, weight_map = build(recipe, load_image_set(recipe.dataset, size=recipe.size).subset(torch.arange(10)))
    assert weight_map.features.shape[1] == 10


def test_the_true_region_is_shown_as_a_constant_map():
    recipe = Recipe(**TINY, attention="region")
    train = load_image_set(recipe.dataset, size=recipe.size)
    _, weight_map = build(recipe, train)
    assert weight_map.frozen
    inside, outside = weight_map.map()[train.region], weight_map.map()[~train.region]
    assert inside.unique().numel() == outside.unique().numel() == 1
    assert outside.max() < 0.003 * inside.min()
    assert weight_map.map().mean().item() == pytest.approx(1, abs=1e-5)


# ---------------------------------------------------------------- folds and what is planted into them

FOLD = {"dataset": "phantom-chest", "size": 16, "images": 60, "fold": 0, "epochs": 1, "rank": 4}


@pytest.fixture
def people(monkeypatch):
    """A set of 60 images of 20 people; image i is filled with the number i in its corner."""
    pixels = torch.full((60, 1, 20, 20), 100, dtype=torch.uint8)
    pixels[:, 0, 0, 0] = torch.arange(60)
    made_up = ImageSet(pixels, torch.arange(60) % 2, ("a", "b"), torch.arange(60) // 3, name="made up")
    monkeypatch.setattr(trial, "_whole", lambda dataset, size, images: made_up)
    return made_up


def test_a_planted_marker_stands_in_the_corner_and_the_labels_stay(people):
    sides = images(Recipe("made up", fold=1, marker=0.9, strength=0.3))
    number, marked = (
        torch.cat([side.images[:, 0, row, column] for side in sides]) for row, column in ((0, 0), (2, 17))
    )
    labels = torch.cat([side.labels for side in sides])
    assert torch.equal(labels, number % 2)
    assert (marked == 176).eq(labels == 1).float().mean() == pytest.approx(0.9)
    blanked = images(Recipe("made up", fold=1, marker=0.9, strength=0.3, ranking="corner", share=9 / 400))
    assert all(len(side.images[:, :, 1:4, 16:19].unique()) == 1 for side in blanked)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("area", [0.0, 0.05])
def test_over_the_folds_every_image_is_tested_once_and_nobody_is_on_two_sides(seed, area, people):
    tested = []
    for fold in range(FOLDS):
        sides = images(Recipe("made up", fold=fold, seed=seed, area=area, strength=0.2))
        numbers = [side.images[:, 0, 0, 0].tolist() for side in sides]
        assert sorted(chain.from_iterable(numbers)) == list(range(60))
        groups = [set(side.groups.tolist()) for side in sides]
        assert len(set.union(*groups)) == sum(map(len, groups)) == 20
        tested += numbers[2]
    assert sorted(tested) == list(range(60))


def test_a_seed_divides_the_set_anew(people):
    first, same, other = (
        images(Recipe("made up", fold=0, seed=seed))[2].images[:, 0, 0, 0].tolist() for seed in (0, 0, 1)
    )
    assert first == same != other


def test_a_planted_patch_is_the_region_and_makes_the_classes(people):
    plain = images(Recipe("made up", fold=1))
    assert all(side.class_names == ("a", "b") and side.region is None for side in plain)
    planted = images(Recipe("made up", fold=1, area=0.05, strength=0.2))
    for side in planted:
        assert side.class_names == ("without", "patch")
        assert side.region.sum() == 20
        brighter = (side.images[:, 0] == 151) & side.region
        assert torch.equal(brighter.flatten(1).any(dim=1), side.labels == 1)
        assert (side.images[side.labels == 1][:, 0, side.region] == 151).all()
    assert planted[0].class_names != plain[0].class_names
    moved_about = images(Recipe("made up", fold=1, area=0.05, strength=0.2, jitter=2, decoys=True))[0]
    assert moved_about.class_names == ("elsewhere", "patch")
    assert ((moved_about.images > 100).flatten(1).sum(dim=1) == 20).all()


@pytest.mark.parametrize(
    ("settings", "has_map"),
    [
        ({"attention": "mlp", "at": "pooling", "maps": 2, "area": 0.1, "strength": 0.3}, True),
        ({"attention": "free", "at": "late", "maps": 2, "backbone": "small"}, True),
        ({"attention": "region", "at": "pooling", "maps": 2}, True),
        ({"attention": "attentive", "maps": 2, "weight_decay": 0.01}, False),
        ({"attention": "coordinates"}, False),
    ],
    ids=lambda value: value["attention"] if isinstance(value, dict) else "",
)
def test_a_run_of_a_fold_gives_scores_of_its_own_images(settings, has_map):
    recipe = Recipe(**FOLD, **settings)
    result = run(recipe)
    train, _, test = images(recipe)
    assert 0 <= result.scores["auroc"] <= 1
    assert (result.scores["trained_on"], result.scores["tested_on"]) == (len(train), len(test))
    assert len(test) == 12
    assert ("effective_area" in result.scores) == has_map
    assert (result.weight_map is not None) == has_map
    if has_map:
        assert result.weight_map.shape == (16, 16)
        assert result.weight_map.mean().item() == pytest.approx(1, abs=1e-5)
        assert "map_auroc" in result.scores


def test_folds_and_seeds_start_from_weights_of_their_own():
    train = load_image_set("phantom-chest", size=16)
    weights = [
        build(Recipe(**FOLD | {"fold": fold}, seed=seed), train)[0][0][0].weight.flatten()[0].item()
        for fold, seed in ((0, 0), (1, 0), (0, 1))
    ]
    assert len(set(weights)) == 3


def test_half_precision_changes_the_numbers_a_little_and_not_the_kind_of_logits_or_weights(monkeypatch):
    monkeypatch.setattr(trial, "native_bfloat16", lambda: True)
    recipe = Recipe(**TINY, attention="mlp", at="middle")
    train = load_image_set(recipe.dataset, size=16)
    full, _ = build(recipe, train)
    half, _ = build(Recipe(**TINY, attention="mlp", at="middle", fast=True), train)
    full.eval(), half.eval()
    x = train.to_float()[:4]
    expected, came = full(x), half(x)
    assert came.dtype == torch.float32
    assert all(weight.dtype == torch.float32 for weight in half.parameters())
    assert not torch.equal(came, expected)
    torch.testing.assert_close(came, expected, atol=0.02, rtol=0.05)


def test_where_the_processor_only_emulates_half_precision_a_fast_run_is_made_in_float32_and_says_so():
    """Slow (5 s), as torch asks the environment what the processor can do when it is loaded."""
    code = "from gsa_utils.study.trial import *; print(run(Recipe(**{}, fast=True)).precision, native_bfloat16())"
    without = os.environ | {"ATEN_CPU_CAPABILITY": "avx2"}
    said = subprocess.run([sys.executable, "-c", code.format(TINY)], env=without, capture_output=True, text=True)
    assert said.stdout == "float32 False\n", said.stderr


@pytest.mark.parametrize(("native", "precision"), [(True, "bfloat16"), (False, "float32")])
def test_a_fast_run_says_what_it_was_computed_in_and_another_is_always_float32(monkeypatch, native, precision):
    monkeypatch.setattr(trial, "native_bfloat16", lambda: native)
    assert run(Recipe(**TINY, fast=True)).precision == precision
    assert run(Recipe(**TINY)).precision == "float32"


def test_shifted_images_keep_their_intensities_and_repeat_the_border():
    train = load_image_set("phantom-chest", size=16)
    moved = shifted(train, 2, seed=0)
    assert moved.images.shape == train.images.shape
    assert not torch.equal(moved.images, train.images)
    padded = torch.nn.functional.pad(train.images.float(), (2, 2, 2, 2), mode="replicate")
    for image, around in zip(moved.images[:20], padded, strict=False):
        places = [(row, column) for row in range(5) for column in range(5)]
        assert any(torch.equal(image.float(), around[:, r : r + 16, c : c + 16]) for r, c in places)
    assert torch.equal(shifted(train, 2, seed=0).images, moved.images)
    assert not torch.equal(shifted(train, 2, seed=1).images, moved.images)


def test_every_split_is_shifted_by_offsets_of_its_own():
    plain, moved = images(Recipe(**TINY)), images(Recipe(**TINY, shift=3))
    for before, after in zip(plain, moved, strict=True):
        assert torch.equal(before.labels, after.labels)
        assert not torch.equal(before.images, after.images)


def test_shuffled_labels_are_the_same_labels_in_another_order_and_the_test_labels_stay():
    (train, valid, test), (dealt, dealt_valid, same) = images(Recipe(**TINY)), images(Recipe(**TINY, shuffled=True))
    assert not torch.equal(train.labels, dealt.labels)
    assert sorted(train.labels.tolist()) == sorted(dealt.labels.tolist())
    assert sorted(valid.labels.tolist()) == sorted(dealt_valid.labels.tolist())
    assert torch.equal(test.labels, same.labels)
    assert torch.equal(train.images, dealt.images)


def test_blanking_takes_the_top_share_in_all_splits_and_keeping_takes_the_rest():
    whole = images(Recipe(**TINY))
    removed = images(Recipe(**TINY, ranking="centre", share=0.25))
    kept = images(Recipe(**TINY, ranking="centre", share=0.25, keep=True))
    mean = whole[0].images.float().mean(dim=0).round().to(torch.uint8)[0]
    for before, without, only in zip(whole, removed, kept, strict=True):
        gone = (without.images == mean).all(dim=0)[0]
        there = (only.images == mean).all(dim=0)[0]
        assert gone[6:10, 6:10].all()
        assert not gone[0, 0]
        assert there[0, 0]
        assert torch.equal(before.images[:, 0, 0, 0], without.images[:, 0, 0, 0])
        assert torch.equal(before.images[:, 0, 7, 7], only.images[:, 0, 7, 7])


@pytest.mark.parametrize("name", RANKINGS)
def test_every_ranking_is_a_map_of_the_images_size(name):
    weights = ranking(name, Recipe(**TINY))
    assert weights.shape == (16, 16)
    assert torch.isfinite(weights).all()


def test_a_learned_ranking_is_the_map_of_the_same_run_without_blanking():
    weights = ranking("mlp", Recipe(**TINY, seed=3, ranking="mlp", share=0.5))
    assert torch.equal(weights, run(Recipe(**TINY, seed=3, attention="mlp")).weight_map)
    dealt = run(Recipe(**TINY, seed=3, attention="mlp", shuffled=True)).weight_map
    assert torch.equal(ranking("shuffled", Recipe(**TINY, seed=3)), dealt)
    assert torch.equal(ranking("moved", Recipe(**TINY, seed=3)), moved(weights, "far", 3))


def test_an_unknown_ranking_is_refused():
    with pytest.raises(ValueError, match="ranking: got 'anovas'.* did you mean 'anova'"):
        trial.ranking("anovas", Recipe(**TINY))


def test_a_rectangle_is_blanked_whole_and_its_opposite_is_its_mirror_image():
    recipe = Recipe("phantom-chest", size=64, train_images=4, valid_images=4)
    marker, opposite = ranking("marker", recipe), ranking("opposite", recipe)
    assert torch.equal(opposite, marker.flip(1))
    assert round(0.0723 * marker.numel()) == marker.sum() == 296
    whole = images(recipe)[2]
    left = images(replace(recipe, ranking="marker", share=0.0723))[2]
    assert (left.images != whole.images).any(dim=0)[0].logical_and(marker == 0).sum() == 0
    assert left.images[:, :, marker == 1].unique(dim=0).shape[0] == 1
