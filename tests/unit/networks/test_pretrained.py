"""Pretrained networks are the published ones behind what their weights expect. No weights are downloaded: a stub draws
some of the right shapes."""

import copy
import io
from types import SimpleNamespace
from urllib.error import URLError

import pytest
import torch
import torchvision.models as zoo
from torch import nn
from torchvision.models._api import WeightsEnum
from torchvision.transforms import functional as transforms

from gsa_utils import DataUnavailable, FreeMap, attend, build_backbone, fit, make_phantom, predict
from gsa_utils.networks.backbones import LAYERS, PRETRAINED_LAYERS
from gsa_utils.networks.pretrained import PUBLISHED, Preparation
from gsa_utils.training import Standardised

HEADS = {"googlenet": "fc", "vgg": "classifier.6", "resnet": "fc", "densenet": "classifier"}
FIRST = {"googlenet": "conv1.conv", "vgg": "features.0", "resnet": "conv1", "densenet": "features.conv0"}


def draw(name):
    """As a state dict of torchvision's network; one random number for all that enters a unit is fast."""
    model = PUBLISHED[name].model
    with torch.device("meta"):
        shapes = zoo.get_model(model, **{"aux_logits": True, "init_weights": False} if name == "googlenet" else {})
    random, drawn = torch.Generator().manual_seed(0), {}
    for key, value in shapes.state_dict().items():
        units = torch.rand([*value.shape[:1], *(1 for _ in value.shape[1:])], generator=random)
        units = units + 0.5 if "running_var" in key else (units - 0.5) / 10
        drawn[key] = units.expand(value.shape).to(value.dtype)
    return drawn


def build(name, patch, channels=1):
    weights = draw(name)
    patch.setattr(WeightsEnum, "get_state_dict", lambda self, **rest: dict(weights))
    torch.manual_seed(0)
    return build_backbone(name, channels, 3, 64, pretrained=True).eval(), weights


@pytest.fixture(scope="module", params=PUBLISHED)
def made(request):
    with pytest.MonkeyPatch.context() as patch:
        network, weights = build(request.param, patch)
    return SimpleNamespace(name=request.param, network=network, weights=weights)


@pytest.fixture
def resnet(monkeypatch):
    return build("resnet", monkeypatch)[0]


def images(channels=1, height=64, width=64, count=1):
    return torch.rand(count, channels, height, width, generator=torch.Generator().manual_seed(1))


def test_all_weights_but_those_of_the_last_layer_are_the_published_ones_under_their_names(made):
    came = made.network.state_dict()
    assert set(came) == {key for key in made.weights if not key.startswith("aux")}
    last = {f"{HEADS[made.name]}.{kind}" for kind in ("weight", "bias")}
    assert {key for key in came if not torch.equal(came[key], made.weights[key])} == last
    assert came[f"{HEADS[made.name]}.bias"].shape == (3,)
    assert came[f"{HEADS[made.name]}.weight"].std() > 0


@pytest.mark.parametrize("shape", [(1, 64, 64), (3, 224, 224), (3, 300, 200)], ids=str)
def test_the_first_layer_is_given_what_the_weights_expect(made, shape):
    x, seen = images(*shape), []
    first = made.network.get_submodule(FIRST[made.name])
    with first.register_forward_pre_hook(lambda module, args: seen.append(args[0])), torch.inference_mode():
        logits = made.network(x)
    whole = transforms.resize(x.expand(-1, 3, -1, -1), [224, 224], antialias=True)
    # GoogLeNet's weights, from the original paper, were trained on images in [-1, 1].
    mean, std = ([0.5] * 3, [0.5] * 3) if made.name == "googlenet" else ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    torch.testing.assert_close(seen, [transforms.normalize(whole, mean, std)], atol=1e-5, rtol=0)
    assert logits.shape == (1, 3)
    assert torch.isfinite(logits).all()


def test_a_map_finds_its_places_whose_grids_are_the_same_in_every_network(made):
    assert list(PRETRAINED_LAYERS[made.name]) == list(LAYERS[made.name])
    grids, models = [], []
    for at in PRETRAINED_LAYERS[made.name].values():
        models.append(attend(made.network, FreeMap(7), at=at))
        models[-1].attention.register_forward_hook(lambda module, args, output: grids.append(output.shape[-1]))
    logits = made.network(images())
    gradients = torch.autograd.grad(logits[0, 0], [model.attention.logit for model in models])
    for model in models:
        model.detach()
    assert grids == [56, 28, 14, 7]  # each once a pass
    assert all(gradient.abs().max() > 0 for gradient in gradients)


def test_there_is_one_for_every_cnn_of_the_paper():
    assert sorted(PRETRAINED_LAYERS) == sorted(set(LAYERS) - {"small"})


def pickled(network):
    buffer = io.BytesIO()
    torch.save(network, buffer)
    return torch.load(io.BytesIO(buffer.getvalue()), weights_only=False)


@pytest.mark.parametrize("way", [copy.deepcopy, pickled])
def test_a_copy_prepares_its_own_images_once(resnet, way):
    x = images(count=2)
    with torch.inference_mode():
        expected, other = resnet(x), way(resnet)
        assert torch.equal(other(x), expected)
        other.prepare.mean += 1
        assert torch.equal(resnet(x), expected)
        assert not torch.equal(other(x), expected)


def test_a_state_dict_brings_everything_to_another_network(resnet, monkeypatch):
    other = build("resnet", monkeypatch)[0]
    with torch.no_grad():
        resnet.fc.weight.add_(1)
    other.load_state_dict(resnet.state_dict())
    with torch.inference_mode():
        assert torch.equal(other(images()), resnet(images()))


@pytest.mark.parametrize("at", ["none", "input", "late"])
def test_fit_puts_nothing_in_front_of_what_prepares_its_images(at):
    train, valid = make_phantom("phantom-chest", 12, 16, seed=0), make_phantom("phantom-chest", 8, 16, seed=1)
    prepare, seen = Preparation(20, [0.4, 0.5, 0.6], [0.2, 0.3, 0.4]), []
    model = nn.Sequential(prepare, build_backbone("small", 3, 2, 20))
    model = model if at == "none" else attend(model, FreeMap(16), at={"input": None, "late": "1.2"}[at])
    prepare.register_forward_pre_hook(lambda module, args: seen.append(args[0].amax().item()))
    run = fit(model, train, valid, epochs=1, lr=1e-9, attention_lr=1e-9, progress=False)
    assert run.model is model
    assert not any(isinstance(part, Standardised) for part in run.model.modules())
    expected = model.attention(valid.to_float()) if at == "input" else valid.to_float()
    assert seen[-1] == pytest.approx(expected.max().item(), abs=1e-6)
    assert predict(run.model, valid).shape == (8, 2)


def test_images_of_another_kind_are_refused():
    prepare = Preparation(20, [0.5], [0.5])
    for x in (images(2), images().mul(255).byte(), images()[0]):
        with pytest.raises(ValueError, match=r"x: got a .*expected floating-point images \(B, 1 or 3, H, W\)"):
            prepare(x)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": "small"}, ["pretrained: got True for 'small'", "googlenet, vgg, resnet, densenet"]),
        ({"in_channels": 2}, ["in_channels: got 2", "1 or 3"]),
        ({"name": "resnet18"}, ["name: got", "did you mean 'resnet'"]),
        ({"num_classes": 1}, ["num_classes: got 1"]),
    ],
)
def test_a_wrong_argument_is_refused_by_name(arguments, words):
    usual = {"name": "resnet", "in_channels": 1, "num_classes": 2, "image_size": 28, "pretrained": True}
    with pytest.raises(ValueError, match="expected") as caught:
        build_backbone(**usual | arguments)
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize("there", ["nothing", "a damaged file", "another network's file"])
def test_weights_that_cannot_be_had_are_reported_with_what_to_do(there, tmp_path, monkeypatch):
    def no_network(url, *rest, **more):
        raise URLError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    path = tmp_path / "hub" / "checkpoints" / "resnet18-f37072fd.pth"
    path.parent.mkdir(parents=True)
    if there == "a damaged file":
        path.write_bytes(b"not weights at all")
    if there == "another network's file":
        torch.save({"weight": torch.zeros(2)}, path)
    with pytest.raises(DataUnavailable) as caught:
        build_backbone("resnet", 1, 2, 64, pretrained=True)
    words = ["ResNet18_Weights", path.name, str(path.parent), "TORCH_HOME", "pretrained=False", "https://"]
    assert [word for word in words if word not in str(caught.value)] == []
