"""Averages over places put where a network has its own: it starts as what it was, and the maps learn."""

import copy
from functools import cache

import pytest
import torch
from torch import nn

from gsa_utils.attention import FreeMap, GlobalPooling, GlobalSpatialAttention
from gsa_utils.networks.backbones import FAMILIES, build_backbone
from gsa_utils.networks.pooling import AttentivePooling, replace_pooling

every_family = pytest.mark.parametrize("name", FAMILIES)


def channels(name):
    """Of the activations that are averaged, in a network of two classes."""
    return linear_of(network(name), name).in_features


def network(name):
    return copy.deepcopy(_network(name))


@cache
def _network(name):
    """Untrained, but with BatchNorm's statistics of some images: else what tells them apart dies out on the way."""
    torch.manual_seed(0)
    model = build_backbone(name, 1, 2, 24)
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = 1.0
    with torch.no_grad():
        model(images(16))
    return model.eval()


def linear_of(model, name):
    return model.get_submodule(FAMILIES[name].head[1])


def images(count=3):
    return torch.rand(count, 1, 24, 24, generator=torch.Generator().manual_seed(0))


def a_map(maps=1):
    features = torch.randn(1, 4, 24, 24, generator=torch.Generator().manual_seed(1))
    return GlobalSpatialAttention(features, hidden=3, maps=maps)


@every_family
@pytest.mark.parametrize("kind", ["one map", "free map", "one query"])
def test_a_network_starts_as_the_one_with_the_plain_average(kind, name):
    plain = network(name)
    expected = plain(images())
    pooling = {
        "one map": lambda: GlobalPooling(a_map()),
        "free map": lambda: GlobalPooling(FreeMap(24)),
        "one query": lambda: AttentivePooling(channels(name)),
    }[kind]()
    model = replace_pooling(copy.deepcopy(plain), name, pooling, times=1).eval()
    assert not torch.allclose(model(images()), expected, atol=1e-2), "the last layer is made anew"
    linear_of(model, name).load_state_dict(linear_of(plain, name).state_dict())
    assert expected.std(dim=0).min() > 1e-2, "images differ"
    assert torch.allclose(model(images()), expected, atol=1e-5)


@every_family
@pytest.mark.parametrize("kind", ["maps", "queries"])
def test_four_averages_make_the_last_layer_four_times_as_wide_and_all_of_them_learn(kind, name):
    width = channels(name)
    pooling = GlobalPooling(a_map(4)) if kind == "maps" else AttentivePooling(width, 4)
    model = replace_pooling(network(name), name, pooling, times=4).train()
    logits = model(images())
    assert linear_of(model, name).in_features == 4 * width
    assert logits.shape == (3, 2)
    logits[:, 0].sum().backward()
    last = pooling.attention.classifier[-1].weight if kind == "maps" else pooling.query
    assert last.grad.flatten(1).any(dim=1).tolist() == [True] * 4
    reached = dict(model.named_parameters())
    unreached = {name for name, weight in reached.items() if weight.grad is None}
    assert not unreached


@every_family
def test_a_map_that_is_not_uniform_changes_what_the_network_says(name):
    attention = FreeMap(24)
    model = replace_pooling(network(name), name, GlobalPooling(attention), times=1).eval()
    with torch.inference_mode():
        before = model(images())
        attention.logit[:12] = 4.0
        assert not torch.allclose(model(images()), before, atol=1e-2)


def test_an_unknown_backbone_is_refused_by_name():
    with pytest.raises(ValueError, match="backbone: got 'resnets', expected .* did you mean 'resnet'"):
        replace_pooling(network("small"), "resnets", GlobalPooling(FreeMap(24)), times=1)


def test_the_maps_of_queries_are_the_weights_that_they_average_by_one_on_average_and_another_for_each_image():
    pooling, x = AttentivePooling(4, queries=2), torch.randn(3, 4, 5, 6, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(pooling.maps(x), torch.ones(3, 2, 5, 6)), "queries start as the plain average"
    torch.nn.init.normal_(pooling.query)
    maps = pooling.maps(x)
    assert torch.allclose(maps.mean(dim=(2, 3)), torch.ones(3, 2))
    assert torch.allclose((maps[:, :, None] * x[:, None]).mean(dim=(3, 4)).flatten(1), pooling(x), atol=1e-5)
    assert not torch.allclose(maps[0], maps[1], atol=1e-2)


@pytest.mark.parametrize("queries", [0, 1.5, True])
def test_a_number_of_queries_that_is_none_is_refused_by_name(queries):
    with pytest.raises(ValueError, match="queries: got"):
        AttentivePooling(4, queries)
