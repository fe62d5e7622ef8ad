"""Eigenvectors of X X^T, and of a sketch of it."""

import scipy.linalg
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def random(pixels: int, width: int) -> Float[Tensor, "pixels width"]:
    return torch.randn(pixels, width, generator=torch.Generator().manual_seed(0))


def orthonormal(columns: Float[Tensor, "pixels width"]) -> Float[Tensor, "pixels width"]:
    return torch.linalg.qr(columns).Q


def nystrom(
    product: Float[Tensor, "pixels width"], test: Float[Tensor, "pixels width"], rank: int
) -> tuple[Float[Tensor, " rank"], Float[Tensor, "pixels rank"]]:
    """Top eigenpairs of Y (T^T Y)^-1 Y^T for Y = A T: what the product with T tells of a positive semidefinite A."""
    product, test = product.double(), test.double()
    core = test.T @ product
    weights, directions = torch.linalg.eigh((core + core.T) / 2)
    kept = weights > 10 * torch.finfo(torch.float32).eps * weights[-1]  # the rest is rounding
    root = product @ (directions[:, kept] / weights[kept].sqrt())  # the approximation is root root^T
    vectors, values, _ = torch.linalg.svd(root, full_matrices=False)
    missing = max(0, rank - len(values))
    values, vectors = F.pad(values[:rank].square(), (0, missing)), F.pad(vectors[:, :rank], (0, missing))
    return values.float(), _signed(vectors).float()


def top_eigenvectors(gram: Float[Tensor, "n n"], rank: int) -> tuple[Float[Tensor, " rank"], Float[Tensor, "n rank"]]:
    """Largest first."""
    n = len(gram)
    values, vectors = scipy.linalg.eigh(gram.double().numpy(), subset_by_index=[n - rank, n - 1])
    values, vectors = torch.from_numpy(values).flip(0), torch.from_numpy(vectors).flip(1)
    return values.clamp(min=0).float(), _signed(vectors).float()


def _signed(vectors: Float[Tensor, "n rank"]) -> Float[Tensor, "n rank"]:
    """The sign of an eigenvector is free: its largest entry is made positive, for repeatability."""
    return vectors * vectors.gather(0, vectors.abs().argmax(dim=0, keepdim=True)).sign()
