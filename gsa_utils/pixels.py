"""The features of a pixel: its intensities in all training images, or the few numbers that carry the same Gram matrix.

Write X (P, M) for the data matrix: one row a pixel, one column for each channel of each image, every column
standardised to mean 0 and variance 1 over its pixels. The pixel classifier sees X only through inner products of rows:
for logistic regression one SGD step changes the logits by -lr * X X^T g. So the eigenvectors of the P x P Gram matrix
X X^T, each scaled by the root of its eigenvalue, are features F with F F^T = X X^T: the same logits (exactly so at
full rank under SGD) from `rank` numbers a pixel instead of M.

The abstract of arXiv:2007.15897 says that "the intensities of all images at a pixel" are the features; the
standardisation, the compression and the fixed set of training images are this repository's choices.
"""

from collections.abc import Iterator

import scipy.linalg
import torch
import torch.nn.functional as F
from jaxtyping import Float, Num
from torch import Tensor

from gsa_utils.errors import bad_value, height_and_width, whole_number
from gsa_utils.images import ImageSet

LARGEST_GRAM = 2**14  # rows of a 1 GiB float32 matrix; above it ask for a coarser grid rather than run out of memory
_BATCH_FLOATS = 2**24  # 64 MiB of float32 at a time


def pixel_features(
    images: ImageSet | Num[Tensor, "n channels height width"],
    rank: int | None = 64,
    size: int | tuple[int, int] | None = None,
) -> Float[Tensor, "1 features height width"]:
    """The features of every pixel, scaled so that at full rank the mean squared norm over pixels is 1.

    Images are read in batches, never all of them as floats at once (but for `rank=None`, whose result is just that).
    A constant image counts for nothing; a pixel that is the same in all images is a row like any other.

    Args:
        images: training images, uint8 or float; of an ImageSet the labels are not looked at.
        rank: eigenvectors kept, at most min(P, M); None keeps all M = N * channels intensities, uncompressed.
        size: the grid of the map, (height, width) or one number for both, where it is coarser than the images.

    Returns:
        (1, rank, H, W), or (1, M, H, W) for `rank=None`; float32 on the CPU.

    Raises:
        ValueError: wrong shape or dtype, NaN or infinity, only constant images, a rank outside 1..min(P, M), a grid
            that is finer than the images, or one whose Gram matrix would not fit.
    """
    images = images.images if isinstance(images, ImageSet) else images
    height, width = _grid(images, size)
    pixels, columns = height * width, images.shape[0] * images.shape[1]
    if rank is not None:
        if not whole_number(rank, 1) or rank > min(pixels, columns):
            limit = f"{columns} images (times channels) at {pixels} pixels have at most {min(pixels, columns)}"
            raise bad_value("rank", rank, f"None or a whole number from 1 to {min(pixels, columns)}: {limit}")
        if min(pixels, columns) > LARGEST_GRAM:
            raise bad_value(
                "size", f"a map of {height} x {width}", f"at most {LARGEST_GRAM} pixels for {columns} images"
            )

    if rank is None:
        features, informative = _all_intensities(images, (height, width))
    elif columns < pixels:
        features, informative = _from_image_gram(images, (height, width), rank)
    else:
        features, informative = _from_pixel_gram(images, (height, width), rank)
    if not informative:
        raise bad_value("images", "only constant images", "at least one image whose pixels differ")
    return (features / informative**0.5).T.reshape(1, -1, height, width).contiguous()


def _grid(images: Tensor, size: int | tuple[int, int] | None) -> tuple[int, int]:
    if not isinstance(images, Tensor) or images.ndim != 4 or not images.numel():
        came = f"shape {tuple(images.shape)}" if isinstance(images, Tensor) else type(images).__name__
        raise bad_value("images", came, "an ImageSet or a non-empty tensor of shape (N, C, H, W)")
    if images.dtype != torch.uint8 and not images.is_floating_point():
        raise bad_value("images", f"dtype {images.dtype}", "uint8 or floating point")
    full = tuple(images.shape[-2:])
    height, width = full if size is None else height_and_width("size", size)
    if height > full[0] or width > full[1]:
        raise bad_value("size", size, f"a grid no finer than the images' {full[0]} x {full[1]}")
    return height, width


def _batches(images: Tensor, size: tuple[int, int]) -> Iterator[tuple[Float[Tensor, "pixels columns"], int]]:
    """Standardised columns of X, some images at a time, and how many of them are not constant."""
    for batch in images.split(max(1, _BATCH_FLOATS // images[0].numel())):
        x = batch.to("cpu", torch.float32)
        if not torch.isfinite(x).all():
            raise bad_value("images", "NaN or infinite values", "finite intensities")
        if tuple(x.shape[-2:]) != size:
            x = F.interpolate(x, size, mode="area")
        x = x.flatten(2).flatten(0, 1)  # (columns, P)
        deviation, mean = torch.std_mean(x, dim=1, correction=0, keepdim=True)
        # The mean of a constant image is off by a rounding error, which a division by the deviation would blow up.
        constant = deviation <= 1e-5 * x.abs().amax(dim=1, keepdim=True)
        x = ((x - mean) / deviation).masked_fill(constant, 0)
        yield x.T, int((~constant).sum())


def _all_intensities(images: Tensor, size: tuple[int, int]) -> tuple[Tensor, int]:
    blocks, counts = zip(*_batches(images, size), strict=True)
    return torch.cat(blocks, dim=1), sum(counts)


def _from_pixel_gram(images: Tensor, size: tuple[int, int], rank: int) -> tuple[Tensor, int]:
    """Top eigenvectors of X X^T (P, P), each times the root of its eigenvalue: one pass over the images."""
    gram, informative = torch.zeros(size[0] * size[1], size[0] * size[1]), 0
    for x, count in _batches(images, size):
        gram.addmm_(x, x.T)
        informative += count
    values, vectors = _top_eigenvectors(gram, rank)
    return vectors * values.sqrt(), informative


def _from_image_gram(images: Tensor, size: tuple[int, int], rank: int) -> tuple[Tensor, int]:
    """The same features from X^T X (M, M), the smaller side where images are fewer than pixels: X U for its U."""
    rows = [torch.cat([a.T @ b for b, _ in _batches(images, size)], dim=1) for a, _ in _batches(images, size)]
    _, vectors = _top_eigenvectors(torch.cat(rows), rank)
    features, informative, start = torch.zeros(size[0] * size[1], rank), 0, 0
    for x, count in _batches(images, size):
        features.addmm_(x, vectors[start : start + x.shape[1]])
        informative, start = informative + count, start + x.shape[1]
    return features, informative


def _top_eigenvectors(gram: Float[Tensor, "n n"], rank: int) -> tuple[Float[Tensor, " rank"], Float[Tensor, "n rank"]]:
    """Largest first. The sign of an eigenvector is free: its largest entry is made positive, for repeatability."""
    n = len(gram)
    values, vectors = scipy.linalg.eigh(gram.double().numpy(), subset_by_index=[n - rank, n - 1])
    values, vectors = torch.from_numpy(values).flip(0), torch.from_numpy(vectors).flip(1)
    signs = vectors.gather(0, vectors.abs().argmax(dim=0, keepdim=True)).sign()
    return values.clamp(min=0).float(), (vectors * signs).float()
