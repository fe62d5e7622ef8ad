"""Pixel features against direct float64 references, and what logistic regression does with them (lesson 03)."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from drawn import FEW, MANY, best_approximation, draw, gram, reference, same
from torch import nn

from gsa_utils.attended import attend
from gsa_utils.attention import GlobalSpatialAttention
from gsa_utils.images import ImageSet
from gsa_utils.networks.backbones import build_backbone
from gsa_utils.pixels import stream
from gsa_utils.pixels.features import pixel_features

# ---------------------------------------------------------------- the definition


@pytest.mark.parametrize("shape", [FEW, MANY], ids=["image side", "pixel side"])
def test_full_rank_features_have_the_gram_matrix_of_the_data_matrix(shape):
    images = draw(shape)
    x = reference(images)
    features = pixel_features(images, rank=min(x.shape))
    assert features.shape == (1, min(x.shape), *shape[-2:])
    assert features.dtype == torch.float32
    assert features.is_contiguous()
    assert same(gram(features), x @ x.T)


@pytest.mark.parametrize("rank", [1, 3, 6])
@pytest.mark.parametrize("shape", [FEW, MANY], ids=["image side", "pixel side"])
def test_a_rank_keeps_the_best_approximation_of_that_rank(shape, rank):
    images = draw(shape)
    features = pixel_features(images, rank=rank)
    assert features.shape[1] == rank
    assert same(gram(features), best_approximation(reference(images), rank))


@pytest.mark.parametrize("shape", [FEW, MANY], ids=["image side", "pixel side"])
def test_features_are_orthogonal_and_come_in_falling_order_of_their_eigenvalues(shape):
    images = draw(shape)
    rows = pixel_features(images, rank=6).flatten(2)[0].double()
    values = torch.linalg.svdvals(reference(images))[:6] ** 2
    assert same(rows @ rows.T, values.diag(), 1e-3)


def test_no_rank_keeps_every_intensity_standardised_image_by_image():
    images = draw(FEW)
    features = pixel_features(images, rank=None)
    assert features.shape == (1, 20, 8, 9)
    assert same(features.flatten(2)[0].T, reference(images), 1e-6)


@pytest.mark.parametrize("rank", [None, 20])
def test_the_mean_squared_norm_of_a_pixel_is_one_at_full_rank(rank):
    features = pixel_features(draw(FEW), rank)
    assert features.square().sum(dim=1).mean().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("rank", [None, 24])
def test_each_channel_of_a_colour_image_is_one_more_feature(rank):
    images = draw((8, 3, 7, 7))
    x = reference(images)
    features = pixel_features(images, rank)
    assert features.shape == (1, 24, 7, 7)
    assert same(gram(features), x @ x.T)
    as_grey = pixel_features(images.reshape(24, 1, 7, 7), rank)
    assert same(gram(as_grey), gram(features), 1e-6)


@pytest.mark.parametrize("size", [4, (4, 3), (8, 4), (5, 3), (8, 9)], ids=str)
@pytest.mark.parametrize("shape", [FEW, (200, 1, 8, 9)], ids=["image side", "pixel side"])
def test_a_coarser_grid_takes_the_mean_intensity_of_what_a_cell_covers(shape, size):
    images = draw(shape)
    height, width = (size, size) if isinstance(size, int) else size
    x = reference(images, (height, width))
    rank = min(x.shape[0] - 1, x.shape[1])
    features = pixel_features(images, rank, size)
    assert features.shape == (1, rank, height, width)
    assert same(gram(features), x @ x.T)
    assert pixel_features(images, None, size).shape == (1, len(images), height, width)


@pytest.mark.parametrize("rank", [None, 12])
def test_bytes_and_floats_give_the_same_features_whatever_their_unit(rank):
    images = draw(FEW)
    expected = gram(pixel_features(images, rank))
    for floats in (images.float() / 255, images.double() * 3 + 7, images.to(torch.bfloat16)):
        assert same(gram(pixel_features(floats, rank)), expected)


def test_an_image_set_counts_as_its_images_whatever_the_labels():
    images = draw(FEW)
    labelled = ImageSet(images, torch.arange(20) % 2, ("a", "b"))
    assert torch.equal(pixel_features(labelled, 5), pixel_features(images, 5))


# ---------------------------------------------------------------- stream and repeatability


@pytest.mark.parametrize("per_batch", [1, 3, 7])
@pytest.mark.parametrize(
    ("shape", "rank"), [(FEW, 20), (FEW, 5), (FEW, None), (MANY, 42), (MANY, 5), ((30, 3, 5, 6), 30)]
)
def test_reading_few_images_at_a_time_changes_nothing(shape, rank, per_batch, monkeypatch):
    images = draw(shape)
    at_once = pixel_features(images, rank)
    monkeypatch.setattr(stream, "BLOCK_FLOATS", per_batch * images[0].numel() + images[0, 0].numel() // 2)
    columns = [len(x) for x, _ in stream.blocks(stream.read_batches(images), shape[-2:])]
    assert max(columns) == per_batch * shape[1]
    assert sum(columns) == len(images) * shape[1]
    assert same(gram(pixel_features(images, rank)), gram(at_once), 1e-5)


def test_an_image_larger_than_a_batch_is_read_alone(monkeypatch):
    images = draw(FEW)
    monkeypatch.setattr(stream, "BLOCK_FLOATS", 5)
    assert same(gram(pixel_features(images, 20)), reference(images) @ reference(images).T)


@pytest.mark.parametrize("shape", [FEW, MANY], ids=["image side", "pixel side"])
def test_signs_do_not_depend_on_the_run_nor_on_the_order_of_the_images(shape):
    images = draw(shape)
    features = pixel_features(images, 5)
    assert torch.equal(features, pixel_features(images, 5))
    shuffled = images[torch.randperm(len(images), generator=torch.Generator().manual_seed(1))]
    assert same(pixel_features(shuffled, 5), features, 1e-3)


def test_the_images_are_not_changed_nor_the_global_random_state():
    images, state = draw(FEW).float(), torch.get_rng_state()
    before = images.clone()
    for rank in (None, 3):
        pixel_features(images, rank)
    assert torch.equal(images, before)
    assert torch.equal(torch.get_rng_state(), state)


# ---------------------------------------------------------------- constant images and pixels


@pytest.mark.parametrize("constant", [0, 77, 255, 0.1])
@pytest.mark.parametrize("shape", [(12, 1, 31, 33), MANY], ids=["image side", "pixel side"])
def test_a_constant_image_adds_nothing(shape, constant):
    images = draw(shape).float()
    more = torch.cat([images[:5], torch.full_like(images[:2], constant), images[5:]])
    assert same(gram(pixel_features(more, 6)), gram(pixel_features(images, 6)), 1e-5)
    all_of_them = pixel_features(more, None)
    assert torch.equal(all_of_them[:, 5:7], torch.zeros_like(all_of_them[:, 5:7]))
    assert same(gram(all_of_them), gram(pixel_features(images, None)), 1e-5)


@pytest.mark.parametrize("rank", [None, 6])
def test_a_constant_image_adds_nothing_on_a_coarser_grid_where_its_cells_differ_by_a_rounding_error(rank):
    images = draw((12, 1, 31, 33)).float() / 255
    more = torch.cat([images, torch.full_like(images[:2], 0.7)])
    assert same(gram(pixel_features(more, rank, (5, 7))), gram(pixel_features(images, rank, (5, 7))), 1e-5)


@pytest.mark.parametrize("rank", [None, 20])
def test_a_pixel_that_is_the_same_in_all_images_is_a_row_like_any_other(rank):
    images = draw(FEW)
    images[:, :, 3, 4] = 10
    features = pixel_features(images, rank)
    assert torch.isfinite(features).all()
    assert same(gram(features), reference(images) @ reference(images).T)


@pytest.mark.parametrize("shape", [FEW, (100, 1, 6, 7)], ids=["image side", "pixel side"])
def test_copies_of_one_image_give_finite_features_at_full_rank(shape):
    images = draw(shape)[:1].expand(shape)
    features = pixel_features(images, min(shape[0], shape[2] * shape[3]))
    assert torch.isfinite(features).all()
    assert same(gram(features), reference(images) @ reference(images).T)


@pytest.mark.parametrize("rank", [None, 2])
@pytest.mark.parametrize("shape", [(3, 1, 4, 4), (30, 1, 4, 4)])
def test_nothing_but_constant_images_is_refused(shape, rank):
    with pytest.raises(ValueError, match="images: got only constant images, expected "):
        pixel_features(torch.full(shape, 9, dtype=torch.uint8), rank)


# ---------------------------------------------------------------- what is refused


def with_a(value):
    images = draw(FEW).float()
    images[-1, 0, 2, 2] = value
    return images


@pytest.mark.parametrize(
    ("argument", "call", "words"),
    [
        ("images", lambda: pixel_features(7), ["int", "(N, C, H, W)", "iterable of batches"]),
        ("images", lambda: pixel_features(draw(FEW)[:, 0].numpy()), ["(20, 8, 9)", "(N, C, H, W)"]),
        ("images", lambda: pixel_features(draw(FEW).numpy().astype("int32")), ["int32", "uint8 or floating point"]),
        ("images", lambda: pixel_features(draw(FEW)[:, 0]), ["(20, 8, 9)", "(N, C, H, W)"]),
        ("images", lambda: pixel_features(draw(FEW)[:0]), ["(0, 1, 8, 9)", "non-empty"]),
        ("images", lambda: pixel_features(draw(FEW).long()), ["int64", "uint8 or floating point"]),
        ("images", lambda: pixel_features(draw(FEW) > 9), ["bool", "uint8 or floating point"]),
        ("images", lambda: pixel_features(with_a(float("nan")), 3), ["NaN", "finite"]),
        ("images", lambda: pixel_features(with_a(float("inf")), None), ["infinite", "finite"]),
        ("rank", lambda: pixel_features(draw(FEW)), ["got 64", "1 to 20", "72 pixels"]),
        ("rank", lambda: pixel_features(draw(MANY), 43), ["got 43", "1 to 42"]),
        ("rank", lambda: pixel_features(draw(FEW), 7, size=2), ["got 7", "1 to 4"]),
        ("rank", lambda: pixel_features(draw(FEW), 0), ["got 0", "1 to 20"]),
        ("rank", lambda: pixel_features(draw(FEW), -1), ["got -1"]),
        ("rank", lambda: pixel_features(draw(FEW), 2.0), ["got 2.0", "whole number"]),
        ("rank", lambda: pixel_features(draw(FEW), True), ["got True"]),
        ("rank", lambda: pixel_features(draw(FEW), "full"), ["got full"]),
        ("size", lambda: pixel_features(draw(FEW), 3, size=9), ["got 9", "8 x 9"]),
        ("size", lambda: pixel_features(draw(FEW), 3, size=(4, 10)), ["(4, 10)", "8 x 9"]),
        ("size", lambda: pixel_features(draw(FEW), 3, size=0), ["got 0", "positive"]),
    ],
)
def test_a_wrong_argument_is_refused_by_name(argument, call, words):
    with pytest.raises(ValueError, match=f"^{argument}: got .*expected ") as caught:
        call()
    assert all(word in str(caught.value) for word in words), caught.value


def test_a_rank_of_numpy_is_a_rank():
    assert torch.equal(pixel_features(draw(FEW), np.int64(3)), pixel_features(draw(FEW), 3))


# ---------------------------------------------------------------- what logistic regression does with them


def joint_model(features):
    torch.manual_seed(0)
    return attend(build_backbone("small", 1, 2, 16), GlobalSpatialAttention(features, hidden=0))


@pytest.mark.parametrize("rank", [None, 40])
def test_one_sgd_step_changes_the_logits_by_the_gradient_smoothed_by_the_gram_matrix(rank):
    images, lr = draw((40, 1, 16, 16)), 0.5
    model = joint_model(pixel_features(images, rank))
    gsa = model.attention
    with torch.no_grad():
        gsa.classifier[0].weight.normal_(std=0.3)  # anywhere, not only at the start

    before = gsa.logits()
    before.retain_grad()
    mapped = torch.sigmoid(before)[None, None] * images.float() / 255
    loss = F.cross_entropy(model.model(mapped), torch.arange(40) % 2)
    optimiser = torch.optim.SGD(gsa.parameters(), lr=lr)
    loss.backward()
    optimiser.step()

    change, g = (gsa.logits() - before).detach().flatten().double(), before.grad.flatten().double()
    x = reference(images)
    expected = -lr * (x @ x.T) @ g
    assert expected.abs().max() > 1e-3  # the step is large against the tolerance
    assert same(change, expected, 1e-5)
    assert not same(change, -lr * g, 1e-3)  # what a free map would have done


@pytest.mark.parametrize("count", [40, 300], ids=["image side", "pixel side"])
def test_full_rank_features_train_to_the_same_logits_as_all_intensities(count):
    images, labels = draw((count, 1, 16, 16)), torch.arange(count) % 2
    trained = []
    for rank in (None, min(count, 256)):
        torch.manual_seed(0)
        # A smooth CNN: at a kink of ReLU or max-pooling a rounding error of 1e-6 becomes a difference of 1e-2, on some
        # processors and not on others.
        parts = nn.Conv2d(1, 16, 3), nn.BatchNorm2d(16), nn.Tanh(), nn.Conv2d(16, 16, 3, stride=2), nn.Tanh()
        cnn = nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 2))
        model = attend(cnn, GlobalSpatialAttention(pixel_features(images, rank), hidden=0))
        optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
        steps = []
        for step in range(20):
            batch = torch.arange(step * 16, step * 16 + 16) % count
            output = model(images[batch].float() / 255)
            optimiser.zero_grad()
            F.cross_entropy(output, labels[batch]).backward()
            optimiser.step()
            steps.append((model.attention.logits().detach(), output.detach()))
        trained.append([torch.stack(part) for part in zip(*steps, strict=True)])
    (full_map, full_output), (compressed_map, compressed_output) = trained
    assert full_map[-1].std() > 1e-3  # the map did learn: a hundred times the tolerance
    assert same(full_map, compressed_map, 1e-5)
    assert same(full_output, compressed_output, 1e-5)
