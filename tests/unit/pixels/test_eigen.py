"""Features from sketches of the Gram matrix, against the best ones of their rank."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from drawn import Once, best_approximation, draw, generator, gram, loader, mapped, reference, relative, same

from gsa_utils.pixels import eigen as eigen_module
from gsa_utils.pixels import features as features_module
from gsa_utils.pixels.features import pixel_features


def flat(seed):
    """Noise: all eigenvalues but little apart, the worst case of a sketch."""
    return torch.randint(0, 256, (600, 1, 20, 20), generator=torch.Generator().manual_seed(seed)).to(torch.uint8)


def smooth(seed):
    noise = torch.rand(600, 1, 10, 10, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(noise, (20, 20), mode="bilinear")


def falling(seed):
    return draw((600, 1, 20, 20), seed)


@pytest.fixture
def no_room(monkeypatch):
    """As if no more than 200 x 200 numbers fitted, for images of 400 pixels."""
    monkeypatch.setattr(features_module, "LARGEST_GRAM", 200)


def excess(features, images, rank):
    """Error in nuclear norm, relative to that of the best matrix of this rank."""
    x = reference(images)
    errors = [x @ x.T - other for other in (gram(features), best_approximation(x, rank))]
    found, best = (torch.linalg.eigvalsh(error).abs().sum().item() for error in errors)
    return found / best


@pytest.mark.parametrize("make", [flat, smooth, falling])
@pytest.mark.parametrize("rank", [1, 8, 32])
def test_the_error_of_one_pass_is_within_tropps_bound_in_the_mean_over_images(make, rank, no_room):
    bound = 1 + rank / ((2 * rank + eigen_module.SPARE) - rank - 1)
    assert bound < 2
    errors = [excess(pixel_features(generator(make(seed)), rank), make(seed), rank) for seed in range(3)]
    assert all(error >= 1 - 1e-4 for error in errors)  # otherwise the yardstick is wrong
    assert np.mean(errors) < bound


@pytest.mark.parametrize("make", [flat, smooth, falling])
@pytest.mark.parametrize("rank", [1, 8, 32])
def test_a_second_pass_comes_within_five_percent_of_the_best(make, rank, no_room):
    images = make(0)
    assert excess(pixel_features(images, rank), images, rank) < 1.05


def test_a_sketch_has_the_interface_of_the_exact_features(no_room):
    images = falling(0)
    features = pixel_features(images, 6)
    assert features.shape == (1, 6, 20, 20)
    assert features.dtype == torch.float32
    assert features.is_contiguous()
    rows = features.flatten(2)[0].double()
    values = torch.linalg.svdvals(reference(images))[:6] ** 2
    assert same(rows @ rows.T, values.diag(), 1e-2 * values[0])
    largest = features.flatten(2)[0].gather(1, rows.abs().argmax(dim=1, keepdim=True))
    assert (largest > 0).all()


def test_a_sketch_repeats_bit_for_bit_and_leaves_the_global_random_state(no_room):
    images, state = smooth(0), torch.get_rng_state()
    assert torch.equal(pixel_features(images, 8), pixel_features(images, 8))
    assert torch.equal(pixel_features(generator(images), 8), pixel_features(generator(images), 8))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(("stream", "passes"), [(lambda s: s, 2), (iter, 1)], ids=["iterable", "generator"])
def test_what_can_be_read_again_is_read_twice_and_a_generator_once(stream, passes, no_room):
    images = Once(smooth(0))
    pixel_features(stream(images), 8)
    assert (images.passes, images.given) == (passes, 600 * passes)


def test_streams_in_memory_and_in_a_file_give_the_same_sketch(no_room, tmp_path):
    images = falling(0)
    expected = pixel_features(images, 8)
    for stream in (loader(images), mapped(images, tmp_path), list(images.split(9))):
        assert relative(gram(pixel_features(stream, 8)), gram(expected)) < 1e-4


def test_what_gives_other_images_when_read_again_is_refused(no_room):
    class Spent:
        def __init__(self, images):
            self.batches = generator(images)

        def __iter__(self):
            return self.batches

    with pytest.raises(ValueError, match="images: got 600 images, then 0, expected the same .* or a generator"):
        pixel_features(Spent(smooth(0)), 8)


def test_few_images_are_exact_also_where_the_gram_matrix_of_pixels_would_not_fit(no_room):
    images = falling(0)[:100]
    x = reference(images)
    assert same(gram(pixel_features(images, 100)), x @ x.T)


@pytest.mark.parametrize("again", [True, False], ids=["two passes", "one pass"])
def test_a_sketch_of_fewer_images_than_its_columns_is_exact(again, no_room):
    images = falling(0)[:20]
    x = reference(images)
    batches = list(images.split(9))
    assert same(gram(pixel_features(batches if again else iter(batches), 20)), x @ x.T, 1e-3)


def test_copies_of_one_image_make_a_sketch_of_one_feature_and_zeros(no_room):
    features = pixel_features(iter(falling(0)[:1].expand(100, -1, -1, -1).split(9)), 5)
    assert torch.isfinite(features).all()
    assert relative(gram(features[:, :1]), gram(features)) < 1e-4


def test_nothing_but_constant_images_makes_no_sketch(no_room):
    with pytest.raises(ValueError, match="images: got only constant images"):
        pixel_features(itertools.repeat(torch.ones(9, 1, 20, 20), 5), 5)


def test_a_rank_whose_sketch_would_not_fit_is_refused(no_room):
    with pytest.raises(ValueError, match="rank: got 43, expected a whole number from 1 to 42 for a map of 20 x 20"):
        pixel_features(generator(smooth(0)), 43)
    assert pixel_features(generator(smooth(0)), 42).shape == (1, 42, 20, 20)
    assert pixel_features(generator(smooth(0)), 43, size=14).shape == (1, 43, 14, 14)
