"""Ways to rank pixels, and ties."""

import pytest
import torch
from sklearn.feature_selection import f_classif

from gsa_utils import load_image_set
from gsa_utils.evaluation.rankings import anova, centre, constant, moved, random, top_pixels


@pytest.fixture(scope="module")
def train():
    return load_image_set("phantom-chest", size=16)


def test_the_constant_map_ranks_nothing_and_random_maps_repeat(train):
    assert constant(train).unique().numel() == 1
    assert torch.equal(random(train, 1), random(train, 1))
    assert not torch.equal(random(train, 1), random(train, 2))


def test_the_centre_is_highest_in_the_middle_and_symmetric(train):
    weights = centre(train)
    assert weights[7:9, 7:9].min() == weights.max()
    torch.testing.assert_close(weights, weights.flip(0))
    torch.testing.assert_close(weights, weights.T)


def test_anova_is_the_f_statistic_of_each_pixel_and_zero_where_nothing_varies(train):
    train.images[:, :, 0, 0] = 7
    weights = anova(train)
    expected, _ = f_classif(train.images[:, 0, 5:6, 8].double().numpy(), train.labels.numpy())
    assert weights[5, 8].item() == pytest.approx(expected[0], rel=1e-5)
    assert weights[0, 0] == 0


def test_a_moved_map_has_the_same_weights_at_least_a_quarter_away():
    weights = torch.arange(96.0).view(8, 12)
    for seed in range(20):
        elsewhere = moved(weights, "far", seed)
        assert torch.equal(elsewhere.flatten().sort().values, weights.flatten())
        row, column = divmod(int((elsewhere == 0).nonzero()[0] @ torch.tensor([12, 1])), 12)
        assert 2 <= row <= 6
        assert 3 <= column <= 9
    assert torch.equal(moved(weights, "far", 1), moved(weights, "far", 1))
    assert len({tuple(moved(weights, "far", seed).flatten().tolist()) for seed in range(20)}) > 5


def test_moved_anywhere_is_a_roll_that_changes_something_and_draws_on_from_its_generator():
    band, generator = torch.zeros(4, 6, dtype=torch.bool), torch.Generator().manual_seed(0)
    band[1] = True  # moved along itself it is the same
    for _ in range(20):
        elsewhere = moved(band, "anywhere", generator)
        assert elsewhere.sum() == 6
        assert not torch.equal(elsewhere, band)


@pytest.mark.parametrize("flat", [torch.zeros(3, 4), torch.ones(3, 4, dtype=torch.bool)], ids=["map", "mask"])
def test_a_constant_map_is_the_same_anywhere_and_is_refused(flat):
    with pytest.raises(ValueError, match="weights: got a constant map"):
        moved(flat, "anywhere")


def test_another_rule_of_moving_is_refused():
    with pytest.raises(ValueError, match="rule: got 'near', expected one of far, anywhere"):
        moved(torch.eye(4), "near")


def test_the_top_share_is_exact_and_the_highest():
    weights = torch.arange(100.0).view(10, 10)
    assert torch.equal(top_pixels(weights, 0.25), weights >= 75)


def test_ties_are_drawn_at_random_and_repeat():
    flat = torch.zeros(20, 20)
    mask = top_pixels(flat, 0.3)
    assert mask.sum() == 120
    assert torch.equal(mask, top_pixels(flat, 0.3))
    assert not torch.equal(mask, top_pixels(flat, 0.3, seed=1))
    # not the first rows, nor any other half of the image
    assert 40 < mask[:10].sum() < 80
    assert 40 < mask[:, :10].sum() < 80
    flat[3, 3] = 1
    assert top_pixels(flat, 1 / 400)[3, 3]


@pytest.mark.parametrize("share", [0, 1, -0.1, 0.001])
def test_a_share_of_no_pixel_or_of_all_is_refused(share):
    with pytest.raises(ValueError, match=f"share: got {share}"):
        top_pixels(torch.zeros(10, 10), share)
