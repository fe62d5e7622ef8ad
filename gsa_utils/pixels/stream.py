"""Reading images: batches of whatever holds them, and blocks of standardised columns of the data matrix X (P, M).

Images arrive in batches of any size and are gathered in blocks of one size, never all of them as floats at once. So
what is done with them is matrix products, in memory that does not grow with the number of images, and the rounding does
not depend on the batches. Blocks lie where the first batch does: batches on a GPU are read there, and nothing waits for
it before the last one.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Num
from torch import Tensor

from gsa_utils.arguments import Size, bad_value, describe, height_and_width

BLOCK_FLOATS = 2**22  # 16 MiB of float32 at a time
IMAGES = "an ImageSet, a non-empty tensor or array of shape (N, C, H, W), or an iterable of batches"


def grid_of(images: Tensor | np.ndarray, size: Size | None) -> tuple[int, int]:
    """(height, width) of the map of these images (N, C, H, W): their own, or `size` where it is coarser.

    Raises:
        ValueError: images of a wrong shape or dtype, or a finer grid.
    """
    if images.ndim != 4 or not all(images.shape):
        raise bad_value("images", f"shape {tuple(images.shape)}", IMAGES)
    check_dtype(images)
    full = tuple(images.shape[-2:])
    height, width = full if size is None else height_and_width("size", size)
    if height > full[0] or width > full[1]:
        raise bad_value("size", size, f"a grid no finer than the images' {full[0]} x {full[1]}")
    return height, width


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
            came = f"a batch that is {describe(batch)} (number {number})"
            raise bad_value("images", came, "batches (B, C, H, W), or (batch, labels)")
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


def blocks(
    batches: Iterable[Tensor], size: tuple[int, int]
) -> Iterator[tuple[Float[Tensor, "columns pixels"], Int[Tensor, "2"]]]:
    """Standardised columns of X, each as a row; how many of them are not constant, and how many no finite numbers.

    Args:
        batches: (B, C, H, W) each, B may vary.
        size: (height, width) of the grid; finer images are averaged over its cells.

    Yields:
        The same memory, filled anew each time: use or copy a block before asking for the next one.
    """
    pixels = size[0] * size[1]
    block, filled = None, 0
    for batch in batches:
        if block is None:
            block = torch.empty(max(1, BLOCK_FLOATS // pixels), pixels, device=batch.device)
        for x in batch.split(max(1, BLOCK_FLOATS // batch[0].numel())):  # a large batch, too, is floats only in parts
            if tuple(x.shape[-2:]) != size:
                there = "cpu" if x.device.type == "mps" else x.device  # MPS has no averages over cells of several sizes
                x = F.interpolate(x.to(there, torch.float32), size, mode="area")
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


def _standardise_(x: Float[Tensor, "columns pixels"]) -> Int[Tensor, "2"]:
    """Give each row mean 0 and variance 1, in place, and a constant one zeros; the two counts that `blocks` yields."""
    mean = x.mean(dim=1, keepdim=True)
    # Not torch.std_mean: on a CPU that takes a third as long as the matrix product that follows, this a hundredth.
    deviation = torch.linalg.vector_norm(x.sub_(mean), dim=1, keepdim=True) / x.shape[1] ** 0.5
    # The mean of a constant image is off by a rounding error, which a division by the deviation would blow up.
    constant = deviation <= 1e-5 * mean.abs()
    x.div_(deviation.masked_fill(constant, torch.inf))
    return torch.stack([(~constant).sum(), (~torch.isfinite(deviation)).sum()])
