"""A saved model predicts what it did, says what it is, and is refused where a bit is wrong."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save

from gsa_utils import (
    FreeMap,
    GlobalPooling,
    GlobalSpatialAttention,
    attend,
    build_backbone,
    make_phantom,
    pixel_features,
)
from gsa_utils.export.saved import load_model, read_card, read_image, save_model
from gsa_utils.networks.backbones import LAYERS
from gsa_utils.networks.local_attention import add_local_attention
from gsa_utils.networks.pooling import AttentivePooling, replace_pooling
from gsa_utils.networks.pretrained import build_pretrained
from gsa_utils.probing.heads import build_head
from gsa_utils.probing.network import cut_network
from gsa_utils.training.loop import fit
from gsa_utils.training.state import TrainingRun

PHANTOM = make_phantom("phantom-chest", 24, 16)


def trained(model):
    return fit(model, PHANTOM, PHANTOM, epochs=1, batch_size=8, progress=False)


def network(name, place, maps=1):
    torch.manual_seed(0)
    model = build_backbone(name, 1, 2, 16)
    if place == "none":
        return model
    if place == "queries":
        return replace_pooling(model, name, AttentivePooling(64, 2), 2)
    weight_map = GlobalSpatialAttention(pixel_features(PHANTOM, 8), maps=maps)
    if place == "pooling":
        return replace_pooling(model, name, GlobalPooling(weight_map), maps)
    return attend(model, weight_map, None if place == "input" else LAYERS[name][place])


CASES = [
    ("small", place, maps) for place, maps in (("none", 1), ("input", 1), ("late", 2), ("pooling", 4), ("queries", 1))
]
CASES += [(name, place, 1) for name in ("resnet", "vgg", "densenet", "googlenet") for place in ("late", "pooling")]


@pytest.mark.parametrize(("name", "place", "maps"), CASES)
def test_a_saved_model_predicts_the_same_bit_for_bit(name, place, maps, tmp_path):
    run = trained(network(name, place, maps))
    before = {key: value.clone() for key, value in run.model.state_dict().items()}
    save_model(run, tmp_path / "model.safetensors")
    assert all(torch.equal(value, before[key]) for key, value in run.model.state_dict().items()), (
        "saving changes nothing"
    )
    model = load_model(tmp_path / "model.safetensors")
    images = PHANTOM.to_float()
    with torch.inference_mode():
        assert torch.equal(model(images), run.model.eval()(images))
    assert not model.training


def test_the_card_says_what_the_model_is(tmp_path):
    run = trained(network("small", "late"))
    save_model(run, tmp_path / "m", metrics={"auroc": [0.9, 0.8, 1.0]}, licence="CC BY 4.0")
    card = read_card(tmp_path / "m")
    assert card == load_model(tmp_path / "m").card
    assert card["classes"] == list(PHANTOM.class_names)
    assert card["reader"] == {"size": [16, 16], "colour": False, "white": 255}
    assert card["trained_on"]["images"] == 24
    assert card["metrics"] == {"auroc": [0.9, 0.8, 1.0]}
    assert "not a medical device" in card["use"]


def test_a_file_is_as_large_as_the_plain_model_and_the_map(tmp_path):
    save_model(trained(network("resnet", "none")), tmp_path / "plain")
    save_model(trained(network("resnet", "late")), tmp_path / "attended")
    plain, attended = ((tmp_path / name).stat().st_size for name in ("plain", "attended"))
    assert attended - plain - 4 * 16 * 16 < 0.01 * plain


def test_a_new_image_file_is_read_as_the_card_says(tmp_path):
    from PIL import Image

    card = save_model(trained(network("small", "input")), tmp_path / "m")
    Image.fromarray(PHANTOM.images[3, 0].numpy()).save(tmp_path / "new.png")
    image = read_image(tmp_path / "new.png", card)
    assert torch.equal(image, PHANTOM.to_float()[3:4])
    assert load_model(tmp_path / "m")(image).shape == (1, 2)


def test_each_flipped_bit_is_noticed(tmp_path):
    save_model(trained(network("small", "late")), tmp_path / "m")
    whole = (tmp_path / "m").read_bytes()
    random = torch.Generator().manual_seed(0)
    for place in torch.randint(8 * len(whole), (80,), generator=random).tolist():
        flipped = bytearray(whole)
        flipped[place // 8] ^= 1 << place % 8
        (tmp_path / "flipped").write_bytes(flipped)
        with pytest.raises(ValueError, match="path: got"):
            load_model(tmp_path / "flipped")


def test_a_pretrained_network_is_built_without_a_download(tmp_path):
    torch.manual_seed(0)
    model = build_pretrained("resnet", 2, download=False)  # random weights stand in for those of ImageNet
    model.built_as = {"name": "resnet", "in_channels": 1, "num_classes": 2, "pretrained": True}
    run = TrainingRun.of(attend(model, FreeMap(16), "layer3"), PHANTOM)
    save_model(run, tmp_path / "m")
    images = PHANTOM.to_float()[:2]
    with torch.inference_mode():
        assert torch.equal(load_model(tmp_path / "m")(images), run.model.eval()(images))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 a zip", b"\xff" * 16, b"{}"])
def test_other_files_are_refused_by_name(tmp_path, content):
    (tmp_path / "m").write_bytes(content)
    with pytest.raises(ValueError, match=r"path: got .*m, expected a file that save_model wrote"):
        load_model(tmp_path / "m")


def test_half_a_file_and_a_later_format_are_refused(tmp_path):
    save_model(trained(network("small", "none")), tmp_path / "m")
    whole = (tmp_path / "m").read_bytes()
    (tmp_path / "half").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="path: got .*damaged"):
        load_model(tmp_path / "half")
    card = read_card(tmp_path / "m") | {"format": 2}
    (tmp_path / "later").write_bytes(save(load(whole), metadata={"card": json.dumps(card)}))
    with pytest.raises(ValueError, match="path: got .*format 2, expected format 1"):
        load_model(tmp_path / "later")
    with pytest.raises(ValueError, match="there is none"):
        load_model(tmp_path / "nowhere")


def test_models_that_a_card_cannot_describe_are_refused(tmp_path):
    torch.manual_seed(0)
    other = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(256, 2))
    with pytest.raises(ValueError, match="run: got a model with a Sequential"):
        save_model(trained(other), tmp_path / "m")
    with_cbam = add_local_attention(build_backbone("small", 1, 2, 16), "small", "cbam")
    with pytest.raises(ValueError, match="run: got a model with a"):
        save_model(trained(with_cbam), tmp_path / "m")
    with pytest.raises(ValueError, match="run: got"):
        save_model(with_cbam, tmp_path / "m")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("pooling", ["average", "places", 2, "map"])
def test_a_frozen_network_and_its_head_are_saved(pooling, tmp_path):
    pytest.importorskip("efficientnet_lite_pytorch")
    torch.manual_seed(0)
    body = cut_network(28, pretrained=False)
    head = build_head(torch.rand(4, 40, 28, 28), 2, FreeMap(28, 3) if pooling == "map" else pooling)
    run = TrainingRun.of(torch.nn.Sequential(body, head), PHANTOM)
    save_model(run, tmp_path / "m")
    images = PHANTOM.to_float()[:2]
    with torch.inference_mode():
        assert torch.equal(load_model(tmp_path / "m")(images), run.model.eval()(images))


def test_a_free_map_is_saved_as_any_other(tmp_path):
    run = trained(attend(build_backbone("small", 1, 2, 16), FreeMap(16)))
    save_model(run, tmp_path / "m")
    assert load_model(tmp_path / "m").model.attention.frozen


def test_a_file_that_an_earlier_commit_wrote_still_predicts_the_same():
    """earlier/ holds what `save_model` of the commit in the name made: the network of CASES with a map at the input."""
    (path,) = (Path(__file__).parent / "earlier").glob("*.safetensors")
    model = load_model(path)
    with torch.no_grad():
        logits = model(PHANTOM.to_float()[:2])
    torch.testing.assert_close(logits, torch.tensor([[0.0229, 0.0944], [0.0701, 0.1124]]), atol=1e-4, rtol=0)
    assert model.card["classes"] == list(PHANTOM.class_names)
