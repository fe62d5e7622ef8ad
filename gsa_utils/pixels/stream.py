"""One pass over any number of images in constant memory: X X^T, or its product with a thin matrix in its place.

X (P, M) is the data matrix of `pixels.py`, a row for each pixel and a standardised column for each channel of each
image. Images arrive in batches of any size and are gathered in blocks of one size, so that the work is matrix products
and the rounding does not depend on the batches. Everything is float32: against float64 the sum errs by at most 1e-5 of
its largest entry for 2,000 blocks, which are ten million images of 28 x 28 (tests/unit/test_streaming.py).

Sums over images add up over shards of them: `Shards` does that for the processes of torch.distributed.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Num
from torch import Tensor

from gsa_utils.arguments import bad_value

BLOCK_FLOATS = 2**22  # 16 MiB of float32 at a time


def in_memory(images: object) -> bool:
    """Whether their number is known and any of them can be had again: a tensor, an array, a memory-mapped one."""
    return isinstance(images, Tensor | np.ndarray)


def read_batches(images: Num[Tensor, "n c h w"] | Num[np.ndarray, "n c h w"] | Iterable) -> Iterator[Tensor]:
    """Batches (B, C, H, W) of whatever holds images, uint8 or floating point, none of them empty.

    Raises:
        ValueError: something that is no iterable of batches (B, C, H, W), or batches of images of several sizes.
    """
    if in_memory(images):
        step = max(1, BLOCK_FLOATS // max(1, int(np.prod(images.shape[1:]))))
        batches = (images[start : start + step] for start in range(0, len(images), step))
    else:
        batches = images
    size = None
    for number, batch in enumerate(batches):
        # A DataLoader of labelled images gives [images, labels].
        batch = batch[0] if isinstance(batch, tuple | list) and batch else batch
        if isinstance(batch, np.ndarray):
            batch = torch.from_numpy(batch.astype(batch.dtype.newbyteorder("=")))  # a copy: the file may be read-only
        if not isinstance(batch, Tensor) or batch.ndim != 4:
            came = (
                f"of shape {tuple(batch.shape)}" if isinstance(batch, Tensor) else f"that is a {type(batch).__name__}"
            )
            raise bad_value("images", f"a batch {came} (number {number})", "batches (B, C, H, W), or (batch, labels)")
        check_dtype(batch)
        size = size or tuple(batch.shape[-2:])
        if tuple(batch.shape[-2:]) != size:
            came = f"a batch of shape {tuple(batch.shape)} (number {number})"
            raise bad_value("images", came, f"images of {size[0]} x {size[1]} like those before")
        if batch.numel():
            yield batch


def check_dtype(images: Tensor | np.ndarray) -> None:
    """Raise a ValueError unless these are bytes or floating-point numbers."""
    kind = getattr(images.dtype, "name", str(images.dtype).removeprefix("torch."))  # NumPy's, or torch's
    if kind != "uint8" and "float" not in kind:
        raise bad_value("images", f"dtype {images.dtype}", "uint8 or floating point")


def blocks(batches: Iterable[Tensor], size: tuple[int, int]) -> Iterator[tuple[Float[Tensor, "columns pixels"], int]]:
    """Standardised columns of X, each as a row, and how many of them are not constant.

    Args:
        batches: (B, C, H, W) each, B may vary.
        size: (height, width) of the grid; finer images are averaged over its cells.

    Yields:
        The same memory, filled anew each time: use or copy a block before asking for the next one.
    """
    pixels = size[0] * size[1]
    block, filled = torch.empty(max(1, BLOCK_FLOATS // pixels), pixels), 0
    for batch in batches:
        for x in batch.split(max(1, BLOCK_FLOATS // batch[0].numel())):  # a large batch, too, is floats only in parts
            if tuple(x.shape[-2:]) != size:
                x = F.interpolate(x.to("cpu", torch.float32), size, mode="area")
            x = x.flatten(2).flatten(0, 1)  # (columns, P)
            while len(x):
                fitting = x[: len(block) - filled]
                block[filled : filled + len(fitting)] = fitting  # bytes become floats here
                filled, x = filled + len(fitting), x[len(fitting) :]
                if filled == len(block):
                    yield block, _standardise_(block)
                    filled = 0
    if filled:
        yield block[:filled], _standardise_(block[:filled])


def _standardise_(x: Float[Tensor, "columns pixels"]) -> int:
    """Give each row mean 0 and variance 1, in place; how many rows are not constant. Those that are become 0."""
    mean = x.mean(dim=1, keepdim=True)
    # Not torch.std_mean: on a CPU that takes a third as long as the matrix product that follows, this a hundredth.
    deviation = torch.linalg.vector_norm(x.sub_(mean), dim=1, keepdim=True) / x.shape[1] ** 0.5
    if not torch.isfinite(deviation).all():
        raise bad_value("images", "NaN, infinite or huge values", "finite intensities")
    # The mean of a constant image is off by a rounding error, which a division by the deviation would blow up.
    constant = deviation <= 1e-5 * mean.abs()
    x.div_(deviation.masked_fill(constant, torch.inf))
    return int((~constant).sum())
