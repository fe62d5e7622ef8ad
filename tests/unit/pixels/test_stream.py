"""Pixel features of a stream, against the same images in memory and against float64; sketches against the best ones."""

import itertools
import tracemalloc

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_features import FEW, MANY, best_approximation, draw, gram, reference, same
from torch.utils.data import DataLoader, TensorDataset

from gsa_utils.pixels import features as features_module
from gsa_utils.pixels import gram as gram_module
from gsa_utils.pixels import stream as stream_module
from gsa_utils.pixels.features import pixel_features


def generator(images, per_batch=7):
    yield from images.split(per_batch)


def loader(images, per_batch=7, labels=True, **settings):
    parts = (images, torch.arange(len(images))) if labels else (images,)
    return DataLoader(TensorDataset(*parts), batch_size=per_batch, **settings)


def mapped(images, folder):
    path = folder / "images.npy"
    np.save(path, images.numpy())
    return np.load(path, mmap_mode="r")


class Once:
    """Batches that count how often they are asked for; only one is alive at a time."""

    def __init__(self, images, per_batch=7):
        self.images, self.per_batch, self.passes, self.given = images, per_batch, 0, 0

    def __iter__(self):
        self.passes += 1
        for batch in self.images.split(self.per_batch):
            self.given += len(batch)
            yield batch.clone()


def relative(a, b):
    """The largest difference, as a share of the largest entry."""
    return ((a.double() - b.double()).abs().max() / b.abs().max()).item()


# ---------------------------------------------------------------- a stream is the set it holds


STREAMS = {
    "generator": generator,
    "list of batches": lambda images: list(images.split(7)),
    "arrays": lambda images: [batch.numpy() for batch in images.split(7)],
    "floats": lambda images: (batch.float() / 255 for batch in images.split(7)),
    "doubles": lambda images: (batch.double().numpy() / 255 for batch in images.split(7)),
    "DataLoader": loader,
    "DataLoader without labels": lambda images: loader(images, labels=False),
    "DataLoader in any order": lambda images: loader(
        images, shuffle=True, generator=torch.Generator().manual_seed(5), drop_last=False
    ),
    "pairs": lambda images: ((batch, torch.zeros(len(batch))) for batch in images.split(7)),
    "one image at a time": lambda images: generator(images, 1),
    "everything at once": lambda images: [images],
    "batches of several lengths, one of none": lambda images: images.split([1, 50, 0, 9, len(images) - 60]),
}


@pytest.mark.parametrize("kind", STREAMS)
@pytest.mark.parametrize("rank", [5, 42])
def test_a_stream_gives_the_features_of_the_images_it_holds(kind, rank):
    images = draw(MANY)
    streamed, expected = pixel_features(STREAMS[kind](images), rank), pixel_features(images, rank)
    assert streamed.shape == expected.shape
    assert streamed.dtype == torch.float32
    assert relative(gram(streamed), gram(expected)) < 1e-5
    assert relative(streamed[:, :5], expected[:, :5]) < 1e-5


@pytest.mark.parametrize("rank", [5, 20])
def test_a_stream_of_fewer_images_than_pixels_too(rank):
    images = draw(FEW)
    assert relative(gram(pixel_features(generator(images), rank)), gram(pixel_features(images, rank))) < 1e-5


@pytest.mark.parametrize("size", [4, (4, 3), (5, 3)], ids=str)
def test_a_stream_of_colour_images_on_a_coarser_grid(size):
    images = draw((50, 3, 9, 8))
    streamed, expected = pixel_features(generator(images), 6, size), pixel_features(images, 6, size)
    assert relative(gram(streamed), gram(expected)) < 1e-5


@pytest.mark.parametrize("shape", [FEW, MANY], ids=["image side", "pixel side"])
@pytest.mark.parametrize("rank", [5, None])
def test_an_array_counts_as_the_tensor_and_may_lie_in_a_file(shape, rank, tmp_path, recwarn):
    images = draw(shape)
    expected = pixel_features(images, rank)
    big_endian = images.numpy().astype(">f4")
    for array in (images.numpy(), mapped(images, tmp_path), images.numpy()[::-1][::-1], big_endian):
        assert torch.equal(pixel_features(array, rank), expected)
    assert not recwarn.list  # a file that is only read is nothing to warn of


@pytest.mark.parametrize("per_batch", [1, 3, 200])
@pytest.mark.parametrize("per_block", [1, 4, 64])
def test_neither_the_batches_nor_the_blocks_matter(per_batch, per_block, monkeypatch):
    images = draw(MANY)
    expected = pixel_features(images, 42)
    monkeypatch.setattr(stream_module, "BLOCK_FLOATS", per_block * 42)
    assert relative(gram(pixel_features(generator(images, per_batch), 42)), gram(expected)) < 1e-5


@pytest.mark.parametrize("strip", [1, 10, 21, 100])
def test_half_of_the_gram_matrix_is_multiplied_and_mirrored(strip, monkeypatch):
    monkeypatch.setattr(gram_module, "STRIP", strip)
    x = torch.randn(50, 42, generator=torch.Generator().manual_seed(0))
    total, columns, informative = gram_module.gram_times([(x[:30], 30), (x[30:], 20)], 42)
    torch.testing.assert_close(total, x.T @ x)
    assert (columns, informative) == (50, 50)


def test_the_same_blocks_give_the_same_bits_whatever_the_batches():
    images = draw(MANY)
    assert torch.equal(pixel_features(generator(images, 3), 5), pixel_features(generator(images, 64), 5))


def test_a_stream_is_read_exactly_once():
    stream = Once(draw(MANY))
    pixel_features(stream, 5)
    assert (stream.passes, stream.given) == (1, 200)


def test_neither_the_batches_nor_the_global_random_state_are_changed():
    batches = list(draw(MANY).float().split(50))
    before, state = [batch.clone() for batch in batches], torch.get_rng_state()
    pixel_features(batches, 5)
    assert all(torch.equal(one, two) for one, two in zip(batches, before, strict=True))
    assert torch.equal(torch.get_rng_state(), state)


def test_ten_times_the_images_take_no_more_memory(monkeypatch):
    monkeypatch.setattr(stream_module, "BLOCK_FLOATS", 2**16)
    held, made = [], torch.empty

    def counting(*shape, **settings):
        tensor = made(*shape, **settings)
        held.append(tensor.numel())
        return tensor

    monkeypatch.setattr(torch, "empty", counting)
    peaks = []
    for count in (2_000, 20_000):
        stream = (np.random.default_rng(i).integers(0, 256, (100, 1, 8, 8), np.uint8) for i in range(count // 100))
        tracemalloc.start()  # sees NumPy's memory; torch's is what the blocks hold
        pixel_features(stream, 5)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]
    assert set(held) == {2**16}


# ---------------------------------------------------------------- float32 against float64


def test_the_float32_sum_of_two_thousand_blocks_is_within_1e_5_of_float64(monkeypatch):
    monkeypatch.setattr(stream_module, "BLOCK_FLOATS", 16 * 64)
    exact = torch.zeros(64, 64, dtype=torch.float64)

    def stream():
        for seed in range(8):
            images = draw((4000, 1, 8, 8), seed)
            x = images.double().flatten(1)
            x = (x - x.mean(1, keepdim=True)) / x.std(1, correction=0, keepdim=True)
            exact.addmm_(x.T, x)
            yield images

    total, columns, informative = gram_module.gram_times(stream_module.blocks(stream(), (8, 8)), 64)
    assert total.dtype == torch.float32
    assert columns == informative == 32_000
    assert relative(total, exact) < 1e-5


# ---------------------------------------------------------------- what a stream can't be


def mixed():
    yield draw(FEW)
    yield draw((20, 1, 9, 8))


@pytest.mark.parametrize(
    ("argument", "call", "words"),
    [
        ("rank", lambda: pixel_features(generator(draw(MANY)), None), ["None for a stream", "a number"]),
        ("rank", lambda: pixel_features(generator(draw(FEW)), 21), ["got 21", "1 to 20", "20 images", "72 pixels"]),
        ("rank", lambda: pixel_features(generator(draw(MANY)), 43), ["got 43", "1 to 42"]),
        ("rank", lambda: pixel_features(generator(draw(MANY)), 0), ["got 0", "1 to 42"]),
        ("rank", lambda: pixel_features(generator(draw(MANY)), 2.0), ["got 2.0"]),
        ("rank", lambda: pixel_features(generator(draw(MANY)), 5, size=2), ["got 5", "1 to 4"]),
        ("size", lambda: pixel_features(generator(draw(FEW)), 5, size=9), ["got 9", "8 x 9"]),
        ("images", lambda: pixel_features(iter(()), 5), ["no images", "at least one batch"]),
        ("images", lambda: pixel_features([draw(FEW)[:0]], 5), ["no images"]),
        ("images", lambda: pixel_features(mixed(), 5), ["(20, 1, 9, 8) (number 1)", "8 x 9"]),
        ("images", lambda: pixel_features(iter(draw(FEW)), 5), ["(1, 8, 9) (number 0)", "(B, C, H, W)"]),
        ("images", lambda: pixel_features([draw(FEW), "more"], 5), ["a batch that is a str (number 1)"]),
        ("images", lambda: pixel_features("images.npy", 5), ["a batch that is a str (number 0)"]),
        ("images", lambda: pixel_features([draw(FEW).long()], 5), ["int64", "uint8 or floating point"]),
        ("images", lambda: pixel_features([draw(FEW) / 0.0], 5), ["NaN, infinite", "finite"]),
        ("images", lambda: pixel_features([torch.ones(30, 1, 4, 4)], 5), ["only constant images"]),
    ],
)
def test_a_wrong_stream_is_refused_by_name(argument, call, words):
    with pytest.raises(ValueError, match=f"^{argument}: got .*expected ") as caught:
        call()
    assert all(word in str(caught.value) for word in words), caught.value


# ---------------------------------------------------------------- sketches


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
    bound = 1 + rank / ((2 * rank + features_module._SPARE) - rank - 1)
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
