"""Eigenpairs from a block Krylov space, against all eigenpairs in float64, for spectra that fall fast, slowly, not."""

import pytest
import torch

from gsa_utils import make_phantom
from gsa_utils.pixels.eigen import _top_eigenvectors
from gsa_utils.pixels.gram import DataMatrix
from gsa_utils.pixels.krylov import largest_eigenpairs

N, RANK = 600, 20


def with_eigenvalues(values, seed=0):
    """A symmetric matrix (n, n), float32, that has these eigenvalues and random eigenvectors."""
    random = torch.Generator().manual_seed(seed)
    vectors = torch.linalg.qr(torch.randn(len(values), len(values), generator=random, dtype=torch.float64)).Q
    return ((vectors * values.double()) @ vectors.T).float()


def error(matrix, values, vectors):
    """Of F F^T, relative to the largest entry of the best one of this rank, which float64 finds."""
    exact, basis = torch.linalg.eigh(matrix.double())
    best = (basis * exact)[:, -len(values) :] @ basis[:, -len(values) :].T
    found = (vectors.double() * values.double()) @ vectors.T.double()
    return ((found - best).abs().max() / best.abs().max()).item()


numbers = torch.arange(1, N + 1)
SPECTRA = {
    "fast": 0.7 ** numbers.double(),
    "1 / i^3": numbers**-3.0,
    "1 / i": numbers**-1.0,
    "slow": numbers**-0.5,
    "steps": torch.where(numbers <= RANK, 1.0, 0.5),
    "a long plateau, then nothing": torch.where(numbers <= RANK, 1.0, 0.0),
    "few": torch.where(numbers <= 3, 1.0, 0.0),
}


# Elsewhere more eigenvalues are equal than are wanted, and the best features of this rank are not determined.
DETERMINED = [(name, rank) for name in ("fast", "1 / i^3", "1 / i", "slow") for rank in (1, 7, RANK)]
DETERMINED += [("steps", RANK), ("a long plateau, then nothing", RANK), ("few", 7), ("few", RANK)]


@pytest.mark.parametrize(("spectrum", "rank"), DETERMINED)
def test_the_product_of_the_features_is_exact_to_1e_5_whatever_the_spectrum(spectrum, rank):
    matrix = with_eigenvalues(SPECTRA[spectrum])
    values, vectors = _top_eigenvectors(matrix, rank)
    assert (values.shape, vectors.shape) == ((rank,), (N, rank))
    assert error(matrix, values, vectors) < 1e-5


@pytest.mark.parametrize("seed", range(5))
def test_the_features_of_images_come_from_the_small_space_and_are_exact_to_1e_5(seed):
    matrix = DataMatrix(make_phantom("phantom-chest", 700, 24, seed=seed).images, rank=1).gram()
    found = largest_eigenpairs(matrix, 16)
    assert found is not None
    assert error(matrix, *found) < 1e-5


def test_a_flat_spectrum_is_left_to_the_full_decomposition():
    assert largest_eigenpairs(with_eigenvalues(torch.rand(N, generator=torch.Generator().manual_seed(0))), RANK) is None


def test_a_small_matrix_is_left_to_the_full_decomposition():
    assert largest_eigenpairs(with_eigenvalues(SPECTRA["fast"][:300]), RANK) is None


def test_as_many_copies_of_an_eigenvalue_are_found_as_are_wanted():
    values = torch.cat([torch.full((RANK,), 3.0), 0.01 * 0.7 ** torch.arange(N - RANK)])
    found, _ = largest_eigenpairs(with_eigenvalues(values), RANK)
    assert torch.allclose(found, torch.full((RANK,), 3.0), rtol=1e-5)


def test_vectors_are_orthonormal_to_rounding_and_values_fall():
    values, vectors = largest_eigenpairs(with_eigenvalues(SPECTRA["fast"]), RANK)
    assert (vectors.T @ vectors - torch.eye(RANK)).abs().max() < 1e-5
    assert (values.diff() <= 0).all()


def test_it_repeats_bit_for_bit_and_leaves_the_global_random_state():
    matrix, state = with_eigenvalues(SPECTRA["fast"]), torch.get_rng_state()
    first, second = largest_eigenpairs(matrix, RANK), largest_eigenpairs(matrix, RANK)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert torch.equal(torch.get_rng_state(), state)
