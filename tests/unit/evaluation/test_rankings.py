"""Ways to rank pixels, and ties."""

import pytest
import torch
from sklearn.feature_selection import f_classif
from torch import nn

from gsa_utils import build_backbone, load_image_set
from gsa_utils.evaluation import rankings
from gsa_utils.evaluation.rankings import anova, centre, constant, grad_cam, mean_local_map, moved, random, top_pixels
from gsa_utils.networks.local_attention import add_local_attention


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


class ByHand(nn.Module):
    """Two channels, averaged over the image; class 0 is the first, class 1 the second: Grad-CAM is known."""

    def __init__(self):
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)

    def forward(self, x):
        two = torch.cat([x, x * torch.linspace(0, 2, x.shape[-1])], dim=1)
        return self.avgpool(two).flatten(1)


def test_grad_cam_of_a_network_that_can_be_done_by_hand(train, monkeypatch):
    monkeypatch.setitem(rankings.PLACES, "by hand", {"pool": "avgpool"})
    model, one = ByHand(), train.subset([0])
    weights = grad_cam(model, one, "by hand")
    x = one.to_float()
    predicted = model(x).argmax().item()
    expected = torch.cat([x, x * torch.linspace(0, 2, 16)], dim=1)[0, predicted]
    torch.testing.assert_close(weights, expected / expected.max())


def test_the_mean_local_map_is_the_mean_of_what_the_gates_return(train):
    torch.manual_seed(0)
    model = add_local_attention(build_backbone("small", 1, 2, 16), "small", "cbam").eval()
    with pytest.raises(ValueError, match="model: got Sequential, expected a model with CBAM"):
        mean_local_map(build_backbone("small", 1, 2, 16), train)
    weights = mean_local_map(model, train)
    assert 0 < weights.min() < weights.max() < 1
    for module in model.modules():  # one gate alone: its maps, by hand
        if type(module).__name__ == "SpatialAttn":
            nn.init.zeros_(module.conv.conv.weight)
    torch.testing.assert_close(mean_local_map(model, train), torch.full((16, 16), 0.5))


def test_a_moved_map_has_the_same_weights_at_least_a_quarter_away():
    weights = torch.arange(96.0).view(8, 12)
    for seed in range(20):
        elsewhere = moved(weights, seed)
        assert torch.equal(elsewhere.flatten().sort().values, weights.flatten())
        row, column = divmod(int((elsewhere == 0).nonzero()[0] @ torch.tensor([12, 1])), 12)
        assert 2 <= row <= 6
        assert 3 <= column <= 9
    assert torch.equal(moved(weights, 1), moved(weights, 1))
    assert len({tuple(moved(weights, seed).flatten().tolist()) for seed in range(20)}) > 5


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
