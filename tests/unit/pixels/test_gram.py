"""The data matrix and its products, against float64."""

import pytest
import torch
from drawn import FEW, MANY, draw, generator, reference, relative

from gsa_utils.pixels import gram as gram_module
from gsa_utils.pixels import stream as stream_module
from gsa_utils.pixels.gram import DataMatrix


@pytest.mark.parametrize("shape", [FEW, MANY, (30, 3, 5, 6)], ids=["image side", "pixel side", "colour"])
def test_the_products_are_those_of_the_standardised_images(shape, monkeypatch):
    images = draw(shape)
    monkeypatch.setattr(stream_module, "BLOCK_FLOATS", 7 * images[0, 0].numel())  # several blocks
    matrix, x = DataMatrix(images), reference(images) * (shape[0] * shape[1]) ** 0.5
    assert (matrix.grid, matrix.pixels, matrix.columns) == (shape[2:], *x.shape)
    test, vectors = torch.randn(len(x), 3, dtype=torch.float64), torch.randn(x.shape[1], 2, dtype=torch.float64)
    assert relative(matrix.intensities(), x) < 1e-5
    assert relative(matrix.gram(), x @ x.T) < 1e-5
    assert relative(matrix.times(test.float()), x @ x.T @ test) < 1e-5
    assert relative(matrix.image_gram(), x.T @ x) < 1e-5
    assert relative(matrix.combine(vectors.float()), x @ vectors) < 1e-5
    assert matrix.informative == matrix.columns


@pytest.mark.parametrize(("make", "again"), [(list, True), (iter, False)], ids=["iterable", "generator"])
def test_the_columns_of_a_stream_are_known_once_it_was_read(make, again):
    images = torch.cat([draw(MANY), torch.full((5, *MANY[1:]), 9, dtype=torch.uint8)])
    matrix = DataMatrix(make(generator(images)), rank=5)
    assert (matrix.grid, matrix.again) == (MANY[2:], again)
    assert (matrix.columns, matrix.informative) == (None, None)
    total = matrix.gram()
    assert (matrix.columns, matrix.informative) == (205, 200)
    assert torch.equal(total, DataMatrix(images).gram())


@pytest.mark.parametrize("strip", [1, 10, 21, 100])
def test_half_of_the_gram_matrix_is_multiplied_and_mirrored(strip, monkeypatch):
    monkeypatch.setattr(gram_module, "STRIP", strip)
    monkeypatch.setattr(stream_module, "BLOCK_FLOATS", 30 * 42)  # two blocks
    matrix = DataMatrix(torch.randn(50, 1, 6, 7, generator=torch.Generator().manual_seed(0)))
    total, x = matrix.gram(), matrix.intensities()
    torch.testing.assert_close(total, x @ x.T)
    assert (matrix.columns, matrix.informative) == (50, 50)


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

    matrix = DataMatrix(stream(), rank=64)
    total = matrix.gram()
    assert total.dtype == torch.float32
    assert matrix.columns == matrix.informative == 32_000
    assert relative(total, exact) < 1e-5
