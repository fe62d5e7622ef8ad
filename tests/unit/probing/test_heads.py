"""Heads on frozen activations: what each reads, and that all start from the same place."""

import pytest
import torch

from gsa_utils.attention import FreeMap, GlobalSpatialAttention
from gsa_utils.networks.pooling import AttentivePooling
from gsa_utils.probing.heads import as_linear, build_head
from gsa_utils.probing.train import fit_head


def activations(count=20, channels=3, side=4, seed=0):
    return 5 + 2 * torch.randn(count, channels, side, side, generator=torch.Generator().manual_seed(seed))


def test_queries_start_as_the_plain_average():
    x = activations()
    assert torch.allclose(AttentivePooling(3, 2)(x), x.mean(dim=(2, 3)).repeat(1, 2), atol=1e-5)


def test_a_query_averages_the_places_of_each_image_by_how_well_they_answer_it():
    x, pooling = activations(count=2), AttentivePooling(3, 1)
    with torch.no_grad():
        pooling.query += torch.tensor([3.0, 0.0, 0.0])
    for image, pooled in zip(x, pooling(x), strict=True):
        weight = torch.softmax(3 * image[0].flatten() / 3**0.5, dim=0)
        assert torch.allclose(pooled, image.flatten(1) @ weight, atol=1e-5)


@pytest.mark.parametrize(
    ("pooling", "features"),
    [
        ("average", 3),
        ("places", 48),
        (1, 3),
        (4, 12),
        (FreeMap(4), 3),
        (FreeMap(4, maps=2), 6),
        (FreeMap(8, maps=2), 6),
    ],
)
def test_a_head_reads_as_many_numbers_as_its_pooling_leaves(pooling, features):
    head = build_head(activations(), 2, pooling)
    assert head.linear.in_features == features
    assert head(activations()).shape == (20, 2)


def test_heads_of_queries_and_maps_start_as_that_of_the_average():
    x, logits = activations(), []
    maps = GlobalSpatialAttention(torch.randn(1, 5, 4, 4, generator=torch.Generator().manual_seed(1)))
    for pooling in ("average", 1, FreeMap(4), maps):
        head = build_head(x, 2, pooling)
        with torch.no_grad():
            head.linear.weight.copy_(torch.arange(6).reshape(2, 3))
        logits.append(head(x))
    for other in logits[1:]:
        assert torch.allclose(other, logits[0], atol=1e-4)


def test_what_the_linear_layer_reads_has_variance_one_whatever_the_pooling():
    x = activations(count=200)
    for pooling in ("average", "places", 2, FreeMap(4)):
        head = build_head(x, 2, pooling)
        read = head.norm(head.pooling(head.standardise(x)))
        assert torch.allclose(read.std(dim=0), torch.ones(read.shape[1]), atol=0.02)


def test_activations_kept_in_half_precision_are_read_in_full():
    x = activations()
    head = build_head(x.half(), 2).eval()
    assert head(x.half()).dtype == torch.float32
    assert torch.allclose(head(x.half()), head(x), atol=1e-2)


@pytest.mark.parametrize("pooling", ["max", True, 0, None])
def test_an_unknown_pooling_is_refused_by_name(pooling):
    with pytest.raises(ValueError, match="pooling|queries"):
        build_head(activations(), 2, pooling)


@pytest.mark.parametrize("wrong", [torch.ones(3, 4, 4), torch.ones(3, 1, 4, 4, dtype=torch.uint8)], ids=str)
def test_what_are_no_activations_is_refused_by_name(wrong):
    with pytest.raises(ValueError, match="activations: got"):
        build_head(wrong, 2)


@pytest.mark.parametrize(
    "make", [lambda: "average", lambda: "places", lambda: FreeMap(4, 3), lambda: FreeMap((8, 10)).freeze()]
)
def test_a_folded_head_is_one_linear_layer_with_the_same_logits(make):
    x = torch.randn(12, 5, 4, 5, generator=torch.Generator().manual_seed(0)) * 3 + 2
    torch.manual_seed(0)
    head = build_head(x, 3, make())
    with torch.no_grad():
        for weight in head.pooling.parameters():
            weight.normal_()
    fit_head(head, x, torch.arange(12) % 3, steps=5)
    folded = as_linear(head, (4, 5))
    assert [type(part) for part in folded] == [torch.nn.Flatten, torch.nn.Linear]
    torch.testing.assert_close(folded(x), head(x), atol=1e-5, rtol=1e-5)


def test_queries_ask_each_image_anew_and_cannot_be_folded():
    with pytest.raises(ValueError, match="head: got one that pools by queries"):
        as_linear(build_head(torch.randn(4, 3, 2, 2), 2, 2), 2)
