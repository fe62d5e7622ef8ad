"""Pixel features of a stream, against the same images in memory."""

import tracemalloc

import numpy as np
import pytest
import torch
from drawn import FEW, MANY, Once, draw, generator, gram, loader, mapped, relative

from gsa_utils.pixels import stream as stream_module
from gsa_utils.pixels.features import pixel_features

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
        ("images", lambda: pixel_features([draw(FEW), "more"], 5), ["a batch that is str 'more' (number 1)"]),
        ("images", lambda: pixel_features("images.npy", 5), ["a batch that is str 'i' (number 0)"]),
        ("images", lambda: pixel_features([draw(FEW).long()], 5), ["int64", "uint8 or floating point"]),
        ("images", lambda: pixel_features([draw(FEW) / 0.0], 5), ["NaN, infinite", "finite"]),
        ("images", lambda: pixel_features([torch.ones(30, 1, 4, 4)], 5), ["only constant images"]),
    ],
)
def test_a_wrong_stream_is_refused_by_name(argument, call, words):
    with pytest.raises(ValueError, match=f"^{argument}: got .*expected ") as caught:
        call()
    assert all(word in str(caught.value) for word in words), caught.value
