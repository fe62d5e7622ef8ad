"""Features F (P, rank) with F F^T near X X^T: eigenvectors of the Gram matrix, of its smaller side, or of a sketch.

*Fewer images than pixels*: for the eigenvectors U of the image side X^T X (M, M), X U is the same F.

*The Gram matrix fits into memory*: its eigenvectors, each scaled by the root of its eigenvalue, are the best F of this
rank (Eckart and Young). They are looked for in a small space first (krylov.py); what comes from there has F F^T within
1e-5 of its largest entry of that of the full decomposition in float64 (tests/unit/pixels/test_krylov.py).

*It does not* (above 128 x 128 pixels): a randomised sketch takes its place, the Nystrom approximation from the products
of X X^T with 2 * rank + 16 random directions (the same ones in every call). Its expected error in nuclear norm is at
most 1 + rank / (rank + 15) < 2 times that of the best approximation of this rank (Tropp, Yurtsever, Udell, Cevher,
https://arxiv.org/abs/1706.05736). What can be read again (an array, a DataLoader, a list of batches) is read twice, the
second time with the directions that the first one found, which in our tests comes within 5 % of the best one (Halko,
Martinsson, Tropp, https://arxiv.org/abs/0909.4061, 4.5).
"""

from numbers import Integral

import scipy.linalg
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from gsa_utils.arguments import bad_value, whole_number
from gsa_utils.pixels.gram import DataMatrix
from gsa_utils.pixels.krylov import Eigenpairs, largest_eigenpairs

SPARE = 16  # columns of a sketch beyond twice the rank


def from_image_gram(matrix: DataMatrix, rank: Integral) -> Float[Tensor, "pixels rank"]:
    """Features of images in memory that are fewer than pixels."""
    _, vectors = _top_eigenvectors(matrix.image_gram(), rank)
    return matrix.combine(vectors)


def from_gram(matrix: DataMatrix, rank: Integral) -> Float[Tensor, "pixels rank"]:
    """Features from one pass over the images of all processes.

    Raises:
        ValueError: a rank above P, or, as only the pass can tell, above M.
    """
    _check_rank(rank, matrix.pixels, matrix)
    gram = matrix.gram()
    matrix.check_rank(rank)
    return matrix.shards.from_first(
        lambda: _scaled(*_top_eigenvectors(gram, rank)), matrix.pixels, rank, device=matrix.device
    )


def from_sketch(matrix: DataMatrix, rank: Integral, widest: int) -> Float[Tensor, "pixels rank"]:
    """Features from a sketch of at most `widest` columns, in one pass, or in two where all images can be read again.

    Raises:
        ValueError: a rank whose sketch would be wider, or, as only the pass can tell, above M.
    """
    _check_rank(rank, (widest - SPARE) // 2, matrix)
    random = torch.randn(matrix.pixels, 2 * rank + SPARE, generator=torch.Generator().manual_seed(0))
    test = torch.linalg.qr(random).Q.to(matrix.device)
    product = matrix.times(test)
    if matrix.again:
        test = matrix.shards.from_first(
            lambda: torch.linalg.qr(_solvable(product)).Q, *product.shape, device=matrix.device
        )
        product = matrix.times(test)
    matrix.check_rank(rank)
    return matrix.shards.from_first(
        lambda: _scaled(*_nystrom(product, test, rank)), matrix.pixels, rank, device=matrix.device
    )


def _check_rank(rank: Integral, most: int, matrix: DataMatrix) -> None:
    if not whole_number(rank, 1) or rank > most:
        height, width = matrix.grid
        raise bad_value("rank", rank, f"a whole number from 1 to {most} for a map of {height} x {width}")


def _scaled(values: Float[Tensor, " rank"], vectors: Float[Tensor, "n rank"]) -> Float[Tensor, "n rank"]:
    return vectors * values.sqrt()


def _nystrom(product: Float[Tensor, "n width"], test: Float[Tensor, "n width"], rank: Integral) -> Eigenpairs:
    """Top eigenpairs of Y (T^T Y)^-1 Y^T for Y = A T: what the product with T tells of a positive semidefinite A."""
    product, test = _solvable(product).double(), _solvable(test).double()
    core = test.T @ product
    weights, directions = torch.linalg.eigh((core + core.T) / 2)
    kept = weights > 10 * torch.finfo(torch.float32).eps * weights[-1]  # the rest is rounding
    root = product @ (directions[:, kept] / weights[kept].sqrt())  # the approximation is root root^T
    vectors, values, _ = torch.linalg.svd(root, full_matrices=False)
    missing = max(0, rank - len(values))
    values, vectors = F.pad(values[:rank].square(), (0, missing)), F.pad(vectors[:, :rank], (0, missing))
    return values.float(), _signed(vectors).float()


def _top_eigenvectors(gram: Float[Tensor, "n n"], rank: Integral) -> Eigenpairs:
    """Largest first, where the matrix lies."""
    solvable = _solvable(gram)
    values, vectors = largest_eigenpairs(solvable, int(rank)) or _of_the_whole(solvable, int(rank))
    return values.clamp(min=0).to(gram.device), _signed(vectors).to(gram.device)


def _of_the_whole(gram: Float[Tensor, "n n"], rank: int) -> Eigenpairs:
    """By a full decomposition in float64; on a CPU SciPy leaves out at least the eigenvectors that aren't wanted."""
    n, gram64 = len(gram), gram.double()
    if gram64.is_cuda:
        values, vectors = (found[..., n - rank :] for found in torch.linalg.eigh(gram64))
    else:
        values, vectors = map(torch.from_numpy, scipy.linalg.eigh(gram64.numpy(), subset_by_index=[n - rank, n - 1]))
    return values.flip(0).float(), vectors.flip(1).float()


def _solvable(matrix: Float[Tensor, "n m"]) -> Float[Tensor, "n m"]:
    """The matrix where torch can take it apart in float64: on a Mac's GPU (MPS) it can't."""
    return matrix.cpu() if matrix.device.type == "mps" else matrix


def _signed(vectors: Float[Tensor, "n rank"]) -> Float[Tensor, "n rank"]:
    """The sign of an eigenvector is free: its largest entry is made positive, for repeatability."""
    return vectors * vectors.gather(0, vectors.abs().argmax(dim=0, keepdim=True)).sign()
