"""Coordinate channels: what they hold, and what a network can tell with them that it cannot without."""

import pytest
import torch

from gsa_utils import FreeMap, attend, fit, make_phantom
from gsa_utils.networks.backbones import LAYERS
from gsa_utils.networks.coordinates import AddCoordinates, build_with_coordinates


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_two_channels_say_row_and_column_and_the_images_stay_as_they_are(dtype):
    x = torch.rand(2, 3, 5, 7, dtype=dtype)
    found = AddCoordinates()(x)
    assert found.shape == (2, 5, 5, 7)
    assert found.dtype == dtype
    assert torch.equal(found[:, :3], x)
    expected = torch.linspace(-1, 1, 5, dtype=dtype)[:, None], torch.linspace(-1, 1, 7, dtype=dtype)
    for channel, places in zip((3, 4), expected, strict=True):
        assert torch.equal(found[:, channel], places.expand(2, 5, 7))


def test_they_are_made_on_the_images_device():
    assert AddCoordinates()(torch.rand(2, 1, 4, 4, device="meta")).device.type == "meta"


@pytest.mark.parametrize("x", [torch.zeros(1, 4, 4), torch.zeros(2, 1, 4, 4, dtype=torch.uint8)], ids=["3d", "bytes"])
def test_what_is_no_batch_of_float_images_is_refused(x):
    with pytest.raises(ValueError, match=r"^x: got a .* expected floating-point images \(B, C, H, W\)"):
        AddCoordinates()(x)


@pytest.mark.parametrize("name", list(LAYERS))
def test_every_family_takes_images_and_knows_its_layers_behind_the_coordinates(name):
    torch.manual_seed(0)
    model = attend(build_with_coordinates(name, 1, 3, 16), FreeMap(16), at=f"backbone.{LAYERS[name]['late']}").eval()
    with torch.inference_mode():
        assert model(torch.rand(2, 1, 16, 16)).shape == (2, 3)


def test_the_coordinates_reach_the_network_and_a_map_on_the_input_leaves_them_alone():
    """A map of one pixel hides the rest of the image; the coordinates are still seen."""
    seen, model = [], build_with_coordinates("small", 1, 2, 16).eval()
    model.backbone.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    one = FreeMap(16)
    one.logit.data.fill_(-30)
    one.logit.data[5, 11] = 30
    attend(model, one)(torch.rand(2, 1, 16, 16))
    assert (seen[0][:, 0] > 1e-6).nonzero()[:, 1:].unique(dim=0).tolist() == [[5, 11]]
    assert torch.equal(seen[0][:, 1:], AddCoordinates()(torch.rand(2, 1, 16, 16))[:, 1:])


def test_fit_trains_it_and_standardises_the_image_only():
    torch.manual_seed(0)
    images, seen = make_phantom("phantom-face", 16, 16), []
    model = build_with_coordinates("small", 1, 2, 16)
    model.backbone.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    before = model.backbone[0][0].weight.detach().clone()
    fit(model, images, images, epochs=1, batch_size=16, progress=False)
    assert (model.backbone[0][0].weight != before).any(dim=(0, 2, 3)).all()  # also the weights of the coordinates
    assert seen[0][:, 0].mean().abs() < 1e-3  # mean and deviation of the set are in front
    assert seen[0][:, 1:].amin(dim=(0, 2, 3)).tolist() == [-1, -1]


@pytest.mark.parametrize(
    ("arguments", "words"), [({"in_channels": 0}, "in_channels: got 0"), ({"name": "resnet18"}, "name: got 'resnet18'")]
)
def test_a_wrong_argument_is_refused_by_name(arguments, words):
    with pytest.raises(ValueError, match=words):
        build_with_coordinates(**{"name": "small", "in_channels": 1, "num_classes": 2, "image_size": 16} | arguments)
