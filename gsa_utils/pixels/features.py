"""The features of a pixel: its intensities in all training images, or the few numbers that carry the same Gram matrix.

The pixel classifier sees the data matrix X (P, M) only through inner products of its rows: for logistic regression one
SGD step changes the logits by -lr * X X^T g. So the eigenvectors of the P x P Gram matrix X X^T, each scaled by the
root of its eigenvalue, are features F with F F^T = X X^T: the same logits (exactly so at full rank under SGD) from
`rank` numbers a pixel instead of M.

The abstract of arXiv:2007.15897 says that "the intensities of all images at a pixel" are the features; the
standardisation, the compression and the fixed set of training images are this repository's choices.

How X is read, in one pass and in several processes: gram.py. How its eigenvectors are found: eigen.py.
"""

from collections.abc import Iterable
from numbers import Integral

import numpy as np
from jaxtyping import Float, Num
from torch import Tensor

from gsa_utils.arguments import Size, bad_value
from gsa_utils.images import ImageSet
from gsa_utils.pixels.eigen import from_gram, from_image_gram, from_sketch
from gsa_utils.pixels.gram import DataMatrix
from gsa_utils.pixels.shards import Shards

LARGEST_GRAM = 2**14  # rows of a 1 GiB float32 matrix; above it the Gram matrix is sketched


def pixel_features(
    images: ImageSet | Num[Tensor, "n c h w"] | Num[np.ndarray, "n c h w"] | Iterable,
    rank: Integral | None = 64,
    size: Size | None = None,
    *,
    sharded: bool = True,
) -> Float[Tensor, "1 features height width"]:
    """The features of every pixel, scaled so that at full rank the mean squared norm over pixels is 1.

    Args:
        images: training images, uint8 or float: an ImageSet, a tensor or array (N, C, H, W), memory-mapped or not, or
            an iterable of batches (B, C, H, W) or pairs (batch, labels). Of several processes each passes its own.
        rank: eigenvectors kept, at most min(P, M); None keeps all M = N * C intensities, of images in memory only.
        size: the grid of the map, (height, width) or one number for both, where it is coarser than the images.
        sharded: False if this process's images are all there are, though there are other processes.

    Returns:
        (1, rank, H, W), or (1, M, H, W) for `rank=None`; float32, where the images are (of an array, on the CPU).

    Raises:
        ValueError: images of a wrong shape, type or value; a rank or a grid that they can't have.
    """
    images = images.images if isinstance(images, ImageSet) else images
    with Shards(together=sharded) as shards:
        matrix = DataMatrix(images, size, shards, rank)
        few = matrix.columns is not None and matrix.columns < matrix.pixels  # of a stream nobody knows yet
        if rank is None:
            features = matrix.intensities()
        elif few and matrix.columns <= LARGEST_GRAM:
            features = from_image_gram(matrix, rank)
        elif matrix.pixels <= LARGEST_GRAM:
            features = from_gram(matrix, rank)
        else:
            features = from_sketch(matrix, rank, widest=LARGEST_GRAM**2 // matrix.pixels)
    if not matrix.informative:
        raise bad_value("images", "only constant images", "at least one image whose pixels differ")
    return (features / matrix.informative**0.5).T.reshape(1, -1, *matrix.grid).contiguous()
