"""The CNN families at the sizes of the course's images, each with a place in the middle for the map."""

import pytest
import torch

from gsa_utils.attended import attend
from gsa_utils.attention import FreeMap
from gsa_utils.networks.backbones import MIDDLE_LAYER, build_backbone

NAMES = ["small", "googlenet", "vgg", "resnet", "densenet"]


def images(channels, height, width):
    return torch.rand(2, channels, height, width, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("channels", "classes", "size"), [(1, 2, 28), (3, 9, 32), (1, 3, (96, 40))], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_every_family_gives_finite_logits_and_activations_with_rows_and_columns_in_the_middle(
    name, channels, classes, size
):
    height, width = (size, size) if isinstance(size, int) else size
    torch.manual_seed(0)
    model, seen = build_backbone(name, channels, classes, size).eval(), []
    middle = model.get_submodule(MIDDLE_LAYER[name])
    middle.register_forward_pre_hook(lambda module, args: seen.append(args[0].shape))
    with torch.inference_mode():
        logits = model(images(channels, height, width))
    assert logits.shape == (2, classes)
    assert torch.isfinite(logits).all()
    assert not torch.equal(logits[0], logits[1])
    (batch, _, rows, columns), *others = seen
    assert batch == 2
    assert not others  # once a pass: a second call would weight twice
    # Between the images' size and the last few cells: a map in the middle keeps some places to tell apart.
    assert height / 8 <= rows < height
    assert width / 8 <= columns < width


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_reaches_a_map_in_the_middle_of_every_family_at_the_smallest_size(name):
    torch.manual_seed(0)
    model = attend(build_backbone(name, 1, 2, 16), FreeMap(16), at=MIDDLE_LAYER[name])
    logits = model(images(1, 16, 16))
    assert logits.shape == (2, 2)  # GoogLeNet gives three outputs while it trains, unless told
    logits[:, 0].sum().backward()
    assert model.attention.logit.grad.abs().max() > 0
    assert all(weight.grad is not None for weight in model.parameters())


def test_there_is_a_middle_for_every_family_and_for_nothing_else():
    assert sorted(MIDDLE_LAYER) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_one_global_seed_gives_the_same_initial_weights(name):
    models = []
    for _ in range(2):
        torch.manual_seed(0)
        models.append(build_backbone(name, 1, 2, 28))
    pairs = zip(models[0].parameters(), models[1].parameters(), strict=True)
    assert all(torch.equal(one, two) for one, two in pairs)
    assert next(models[0].parameters()).std() > 0.01


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": "resnet18"}, ["name: got", "did you mean 'resnet'", "densenet"]),
        ({"name": "VGG"}, ["name: got", "did you mean 'vgg'"]),
        ({"name": None}, ["name: got", "googlenet"]),
        ({"image_size": 15}, ["image_size: got 15", "16"]),
        ({"image_size": (28, 8)}, ["image_size: got (28, 8)", "16"]),
        ({"in_channels": 0}, ["in_channels: got 0", "at least 1"]),
        ({"num_classes": 1}, ["num_classes: got 1", "at least 2"]),
    ],
)
def test_a_wrong_argument_is_refused_by_name(arguments, words):
    usual = {"name": "small", "in_channels": 1, "num_classes": 2, "image_size": 28}
    with pytest.raises(ValueError, match="expected") as caught:
        build_backbone(**usual | arguments)
    assert all(word in str(caught.value) for word in words), caught.value
