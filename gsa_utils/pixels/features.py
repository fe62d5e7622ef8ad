"""The features of a pixel: its intensities in all training images, or the few numbers that carry the same Gram matrix.

Write X (P, M) for the data matrix: one row a pixel, one column for each channel of each image, every column
standardised to mean 0 and variance 1 over its pixels. The pixel classifier sees X only through inner products of rows:
for logistic regression one SGD step changes the logits by -lr * X X^T g. So the eigenvectors of the P x P Gram matrix
X X^T, each scaled by the root of its eigenvalue, are features F with F F^T = X X^T: the same logits (exactly so at
full rank under SGD) from `rank` numbers a pixel instead of M.

The Gram matrix is a sum over images. So it is made in one pass, and the sums of several processes add up.

The abstract of arXiv:2007.15897 says that "the intensities of all images at a pixel" are the features; the
standardisation, the compression and the fixed set of training images are this repository's choices.
"""

import itertools
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from jaxtyping import Float, Num
from torch import Tensor

from gsa_utils.arguments import bad_value, height_and_width, whole_number
from gsa_utils.images import ImageSet
from gsa_utils.pixels.eigen import nystrom, orthonormal, random, top_eigenvectors
from gsa_utils.pixels.gram import gram_times
from gsa_utils.pixels.shards import Shards
from gsa_utils.pixels.stream import blocks, check_dtype, in_memory, read_batches

LARGEST_GRAM = 2**14  # rows of a 1 GiB float32 matrix; above it the Gram matrix is sketched
_SPARE = 16  # columns of a sketch beyond twice the rank


def pixel_features(
    images: ImageSet | Num[Tensor, "n channels height width"] | Num[np.ndarray, "n channels height width"] | Iterable,
    rank: int | None = 64,
    size: int | tuple[int, int] | None = None,
    *,
    sharded: bool = True,
) -> Float[Tensor, "1 features height width"]:
    """The features of every pixel, scaled so that at full rank the mean squared norm over pixels is 1.

    Images are read block by block, never all of them as floats at once (but for `rank=None`, whose result is just
    that). A constant image counts for nothing; a pixel that is the same in all images is a row like any other.

    *A stream* (a DataLoader, a generator) is read once, in memory that does not grow with the number of images, by way
    of the P x P Gram matrix. It gives what the same images in memory give: the Gram matrices F F^T agree to 1e-5 of
    their largest entry, whatever the batches.

    *Above 2**14 pixels* (128 x 128), where P x P does not fit, a randomised sketch takes its place: the Nystrom
    approximation from the products of X X^T with 2 * rank + 16 random directions (the same ones in every call). Its
    expected error in nuclear norm is at most 1 + rank / (rank + 15) < 2 times that of the best approximation of this
    rank (Tropp, Yurtsever, Udell, Cevher, https://arxiv.org/abs/1706.05736). What can be read again (an array, a
    DataLoader, a list of batches) is read twice, the second time with the directions that the first one found, which
    in our tests comes within 5 % of the best one (Halko, Martinsson, Tropp, https://arxiv.org/abs/0909.4061, 4.5).

    *Several processes*: where torch.distributed is initialised, each passes its own images (of the same size; their
    number may differ and be 0), sums are all-reduced, and all return the features of all images. All processes have to
    call it. Where each holds the whole set, `sharded=False` spares the exchange; without it the copies count together,
    and as features are scaled by the number of images, they are the same.

    Args:
        images: training images, uint8 or float: an ImageSet, whose labels are not looked at; a tensor or array, also a
            memory-mapped one (N, C, H, W); or an iterable of batches (B, C, H, W) or pairs (batch, labels).
        rank: eigenvectors kept, at most min(P, M); None keeps all M = N * channels intensities, uncompressed.
        size: the grid of the map, (height, width) or one number for both, where it is coarser than the images.
        sharded: False if this process's images are all there are, though there are other processes.

    Returns:
        (1, rank, H, W), or (1, M, H, W) for `rank=None`; float32 on the CPU.

    Raises:
        ValueError: wrong shape or dtype, NaN or infinity, no or only constant images, a rank outside 1..min(P, M) or
            too high for a sketch, `rank=None` for a stream or for shards, a grid that is finer than the images, or
            images of several sizes.
    """
    images = images.images if isinstance(images, ImageSet) else images
    if not isinstance(images, Iterable):
        raise bad_value("images", type(images).__name__, _IMAGES)
    shards = Shards(together=sharded)
    whole, few = in_memory(images) and shards.count == 1, False
    if whole:
        grid = _grid(images, size)
        columns, pixels = images.shape[0] * images.shape[1], grid[0] * grid[1]
        _check_rank(rank, pixels, columns)
        few = columns < pixels and columns <= LARGEST_GRAM
    elif rank is None:
        came = "None for " + ("a stream" if shards.count == 1 else f"the shards of {shards.count} processes")
        raise bad_value("rank", came, "a number, or all images in one tensor or array and sharded=False")

    if rank is None:
        features, informative = _all_intensities(images, grid)
    elif few:
        features, informative = _from_image_gram(images, grid, rank)
    else:
        features, informative, grid = _from_stream(images, size, rank, shards)
    if not informative:
        raise bad_value("images", "only constant images", "at least one image whose pixels differ")
    return (features / informative**0.5).T.reshape(1, -1, *grid).contiguous()


_IMAGES = "an ImageSet, a non-empty tensor or array of shape (N, C, H, W), or an iterable of batches"


def _grid(images: Tensor | np.ndarray, size: int | tuple[int, int] | None) -> tuple[int, int]:
    if images.ndim != 4 or not all(images.shape):
        raise bad_value("images", f"shape {tuple(images.shape)}", _IMAGES)
    check_dtype(images)
    full = tuple(images.shape[-2:])
    height, width = full if size is None else height_and_width("size", size)
    if height > full[0] or width > full[1]:
        raise bad_value("size", size, f"a grid no finer than the images' {full[0]} x {full[1]}")
    return height, width


def _check_rank(rank: int | None, pixels: int, columns: int) -> None:
    if rank is not None and (not whole_number(rank, 1) or rank > min(pixels, columns)):
        limit = f"{columns} images (times channels) at {pixels} pixels have at most {min(pixels, columns)}"
        raise bad_value("rank", rank, f"None or a whole number from 1 to {min(pixels, columns)}: {limit}")


def _all_intensities(images: Tensor | np.ndarray, grid: tuple[int, int]) -> tuple[Tensor, int]:
    found = [(x.clone(), count) for x, count in blocks(read_batches(images), grid)]
    return torch.cat([x for x, _ in found]).T, sum(count for _, count in found)


def _from_image_gram(images: Tensor | np.ndarray, grid: tuple[int, int], rank: int) -> tuple[Tensor, int]:
    """The features from X^T X (M, M), the smaller side where images are fewer than pixels: X U for its U."""
    columns = [
        torch.cat([a @ b.T for b, _ in blocks(read_batches(images), grid)], dim=1)
        for a, _ in blocks(read_batches(images), grid)
    ]
    _, vectors = top_eigenvectors(torch.cat(columns), rank)
    features, informative, start = torch.zeros(grid[0] * grid[1], rank), 0, 0
    for x, count in blocks(read_batches(images), grid):
        features.addmm_(x.T, vectors[start : start + len(x)])
        informative, start = informative + count, start + len(x)
    return features, informative


def _from_stream(
    images: Iterable, size: int | tuple[int, int] | None, rank: int, shards: Shards
) -> tuple[Tensor, int, tuple[int, int]]:
    """The features from one pass, or from two for a sketch, over the images of all processes."""
    batches = read_batches(images)
    first = list(itertools.islice(batches, 1))  # tells the size of the images
    grid, again = _agree(_grid(first[0], size) if first else None, rank, not isinstance(images, Iterator), shards)
    batches, pixels = itertools.chain(first, batches), grid[0] * grid[1]
    most = pixels if pixels <= LARGEST_GRAM else (LARGEST_GRAM**2 // pixels - _SPARE) // 2
    if not whole_number(rank, 1) or rank > most:
        raise bad_value("rank", rank, f"a whole number from 1 to {most} for a map of {grid[0]} x {grid[1]}")

    test = None if pixels <= LARGEST_GRAM else orthonormal(random(pixels, 2 * rank + _SPARE))
    product, columns, informative = _sum(batches, grid, test, shards)
    if test is not None and again:
        test, seen = shards.share(orthonormal(product)), columns
        product, columns, informative = _sum(read_batches(images), grid, test, shards)
        if columns != seen:
            raise bad_value("images", f"{seen} images, then {columns}", "the same ones when read again, or a generator")
    _check_rank(rank, pixels, columns)
    features = torch.zeros(pixels, rank)
    if shards.first:
        values, vectors = top_eigenvectors(product, rank) if test is None else nystrom(product, test, rank)
        features = vectors * values.sqrt()
    features = shards.share(features)
    shards.leave()
    return features, informative, grid


def _agree(mine: tuple[int, int] | None, rank: int, again: bool, shards: Shards) -> tuple[tuple[int, int], bool]:
    """The grid of all processes that have images, and whether each of them can read its images again."""
    everyone = shards.gather((mine, rank, again))
    grids = {grid for grid, _, _ in everyone if grid is not None}
    if not grids:
        raise bad_value("images", "no images", "at least one batch that is not empty")
    if len(grids) > 1 or len({rank for _, rank, _ in everyone}) > 1:
        came = "; ".join(f"grid {grid}, rank {rank} in process {p}" for p, (grid, rank, _) in enumerate(everyone))
        raise bad_value("images", came, "one grid and one rank in all processes")
    return grids.pop(), all(again for _, _, again in everyone)


def _sum(
    batches: Iterable[Tensor], grid: tuple[int, int], test: Tensor | None, shards: Shards
) -> tuple[Tensor, int, int]:
    product, columns, informative = gram_times(blocks(batches, grid), grid[0] * grid[1], test)
    counts = shards.add(torch.tensor([columns, informative]))
    return shards.add(product), *counts.tolist()
