"""What explains a trained network without a global map."""

import pytest
import torch
from torch import nn

from gsa_utils import build_backbone, load_image_set
from gsa_utils.evaluation.saliency import grad_cam, mean_local_map
from gsa_utils.networks.local_attention import add_local_attention


@pytest.fixture(scope="module")
def train():
    return load_image_set("phantom-chest", size=16)


class ByHand(nn.Module):
    """Two channels, averaged over the image; class 0 is the first, class 1 the second: Grad-CAM is known."""

    def __init__(self):
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)

    def forward(self, x):
        two = torch.cat([x, x * torch.linspace(0, 2, x.shape[-1])], dim=1)
        return self.avgpool(two).flatten(1)


def test_grad_cam_of_a_network_that_can_be_done_by_hand(train):
    model, one = ByHand(), train.subset([0])
    weights = grad_cam(model, one, "avgpool")
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


def test_a_network_that_fails_is_left_without_hooks_and_in_its_mode(train):
    model = add_local_attention(build_backbone("small", 1, 2, 16), "small", "cbam").train()
    model[3][2] = nn.Linear(1, 2)  # of another width than what comes
    with pytest.raises(RuntimeError):
        mean_local_map(model, train)
    assert not any(module._forward_hooks for module in model.modules())
    assert all(module.training for module in model.modules())
