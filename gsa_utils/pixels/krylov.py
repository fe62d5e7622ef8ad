"""The largest eigenvalues of a symmetric matrix and their eigenvectors, without the others: a block Krylov space.

The space is spanned by A^i T for a thin random T (the same one in every call) and i = 0, 1, ... For images, whose
eigenvalues fall fast, six to eight products of A with a thin matrix hold the wanted eigenvectors to float32 rounding;
a full decomposition of 4,096 x 4,096 takes many times as long (results/eigenvectors.csv). T has a column for each
wanted eigenvector, for of a multiple eigenvalue no more copies can be found than T has columns.
Musco and Musco, https://arxiv.org/abs/1504.05477; Golub and Van Loan, Matrix Computations, 10.3.6.
"""

from jaxtyping import Float
from torch import Generator, Tensor, cat, randn
from torch.linalg import eigh, norm, qr

MOST_BLOCKS = 8
NARROWEST = 16  # columns of a block
FLAT = 10  # from a tenth of the possible effective rank on, as that of noise, the space would have to be large
CONVERGED = 1e-6  # residual |A v - w v| relative to the largest eigenvalue; float32 comes to about 4e-7

Eigenpairs = tuple[Float[Tensor, " rank"], Float[Tensor, "n rank"]]  # eigenvalues and eigenvectors


def largest_eigenpairs(a: Float[Tensor, "n n"], rank: int) -> Eigenpairs | None:
    """The eigenpairs of the largest eigenvalues of a positive semidefinite matrix, largest first.

    Returns:
        None where all eigenpairs at once are the faster way: for a small matrix, and for one whose eigenvalues lie
        close together (noise), which shows after a few products.
    """
    width = max(NARROWEST, rank)
    if len(a) < 3 * MOST_BLOCKS * width or FLAT * _effective_rank(a) > len(a):
        return None
    start = randn(len(a), width, generator=Generator().manual_seed(0))
    basis = qr(start.to(a.device)).Q  # V, with orthonormal columns
    product = a @ basis  # A V
    for blocks in range(2, MOST_BLOCKS + 1):
        newest = product[:, -width:]
        for _ in range(2):  # rounding leaves a part of the old directions in the new ones: once more takes it out
            newest = qr(newest - basis @ (basis.T @ newest)).Q
        basis, product = cat([basis, newest], dim=1), cat([product, a @ newest], dim=1)
        if blocks % 2 == 0:
            values, vectors, residual = _rayleigh_ritz(basis, product, rank)
            if residual <= CONVERGED:
                return values, vectors
            if residual > 10 ** (-0.75 * blocks):  # at this pace it would not be there with the last block
                return None
    return None


def _effective_rank(a: Float[Tensor, "n n"]) -> float:
    """How many equal eigenvalues have this sum and this sum of squares: 1 if there is one, n if all are equal."""
    return (a.trace() / norm(a)).square().item()


def _rayleigh_ritz(
    basis: Float[Tensor, "n width"], product: Float[Tensor, "n width"], rank: int
) -> tuple[Float[Tensor, " rank"], Float[Tensor, "n rank"], float]:
    """The best eigenpairs that lie in the space V, and how far the worst of them is from being one."""
    small = (basis.T @ product).double()
    values, weights = eigh((small + small.T) / 2)
    values, weights = values[-rank:].flip(0).float(), weights[:, -rank:].flip(1).float()
    vectors = basis @ weights
    residual = (product @ weights - vectors * values).norm(dim=0).max() / values[0]
    return values, vectors, residual.item()
