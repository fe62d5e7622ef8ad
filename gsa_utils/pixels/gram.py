"""The data matrix X of pixels, its Gram matrix X X^T, and that one's product with a thin matrix.

X X^T is a sum over images. So it takes one pass over them, in memory that does not grow with their number; they may
come as a stream, and lie in shards, whose sums add up. Images in memory, streams and shards of the same images give
Gram matrices that agree to 1e-5 of their largest entry, whatever the batches. Everything is float32: against float64
the sum errs by at most 1e-5 of its largest entry for 2,000 blocks, which are ten million images of 28 x 28
(tests/unit/pixels/test_gram.py). All sums are made where the first batch lies.
"""

import itertools
from collections.abc import Iterable, Iterator
from numbers import Integral

import numpy as np
import torch
from jaxtyping import Float, Num
from torch import Tensor

from gsa_utils.arguments import Size, bad_value, describe, whole_number
from gsa_utils.pixels.shards import Shards
from gsa_utils.pixels.stream import IMAGES, blocks, grid_of, in_memory, read_batches

STRIP = 256  # rows of X X^T that are multiplied at a time


class DataMatrix:
    """X (P, M): a row for each pixel, a column for each channel of each image, standardised to mean 0 and variance 1.

    A constant image becomes a column of zeros; a pixel that is the same in all images is a row like any other.

    Attributes:
        grid: (height, width) of the map; P = height * width is `pixels`.
        columns: M, in all processes; None as long as a stream has not been read.
        informative: how many of the columns are not constant; known once they have been read.
        again: whether all processes can read their images more than once.
        device: where the images of this process lie, and all sums over them; where there are none, the kind of device
            that the others have.

    Args:
        images: as for `pixel_features`, an ImageSet excepted.
        size: of the grid, where it is coarser than the images.
        shards: the processes whose images count too; None for this one alone.
        rank: of the features that are wanted, the same in all processes; None for X itself, of images in memory only.

    Raises:
        ValueError: wrong images or size, a rank that X can't have, or processes that don't agree.
    """

    def __init__(
        self,
        images: Num[Tensor, "n c h w"] | Num[np.ndarray, "n c h w"] | Iterable,
        size: Size | None = None,
        shards: Shards | None = None,
        rank: Integral | None = None,
    ):
        if not isinstance(images, Iterable):
            raise bad_value("images", describe(images), IMAGES)
        self.shards = shards or Shards(together=False)
        self.columns: int | None = None
        self.informative: int | None = None
        self._images, self._begun = images, None
        if in_memory(images) and self.shards.count == 1:
            mine, first = grid_of(images, size), [images]
            self.columns = images.shape[0] * images.shape[1]
        elif rank is None:
            came = "a stream" if self.shards.count == 1 else f"the shards of {self.shards.count} processes"
            expected = "a number, or all images in one tensor or array and sharded=False"
            raise bad_value("rank", f"None for {came}", expected)
        else:
            batches = read_batches(images)
            first = list(itertools.islice(batches, 1))  # tells the size of the images
            mine = grid_of(first[0], size) if first else None
            self._begun = itertools.chain(first, batches)
        devices = [x.device if isinstance(x, Tensor) else torch.device("cpu") for x in first]
        kind = devices[0].type if devices else None
        self.grid, self.again, kind = self.shards.agree(mine, rank, not isinstance(images, Iterator), kind)
        self.device = devices[0] if devices else torch.device(kind)
        self.pixels = self.grid[0] * self.grid[1]
        if self.columns is not None:
            self.check_rank(rank)

    def check_rank(self, rank: Integral | None) -> None:
        """Raise a ValueError unless X, once M is known, can have so many features; None is all M."""
        most = min(self.pixels, self.columns)
        if rank is not None and (not whole_number(rank, 1) or rank > most):
            limit = f"{self.columns} images (times channels) at {self.pixels} pixels have at most {most}"
            raise bad_value("rank", rank, f"None or a whole number from 1 to {most}: {limit}")

    def read(self) -> Iterator[Float[Tensor, "columns pixels"]]:
        """Columns of this process, as rows of the same memory, filled anew each time; at the end all are counted."""
        batches, self._begun = self._begun or read_batches(self._images), None
        columns, counts = 0, torch.zeros(2, dtype=torch.int64, device=self.device)
        for x, found in blocks(batches, self.grid):
            columns, counts = columns + len(x), counts + found
            yield x
        informative, broken = counts.tolist()  # the first number that anybody waits for
        if broken:
            raise bad_value("images", "NaN, infinite or huge values", "finite intensities")
        columns, self.informative = self.shards.add(torch.tensor([columns, informative])).tolist()
        if self.columns not in (None, columns):
            came = f"{self.columns} images, then {columns}"
            raise bad_value("images", came, "the same ones when read again, or a generator")
        self.columns = columns

    def gram(self) -> Float[Tensor, "pixels pixels"]:
        """X X^T, of all processes. Half of a symmetric matrix is enough: what lies below the diagonal is mirrored.

        A GPU is given the whole: it is sooner done with one large product than with the launches of many small ones.
        """
        strip = STRIP if self.device.type == "cpu" else self.pixels
        total = torch.zeros(self.pixels, self.pixels, device=self.device)
        for x in self.read():
            for i in range(0, self.pixels, strip):
                total[i : i + strip, i:].addmm_(x[:, i : i + strip].T, x[:, i:])
        for i in range(0, self.pixels, strip):
            total[i + strip :, i : i + strip] = total[i : i + strip, i + strip :].T
        return self.shards.add(total)

    def times(self, test: Float[Tensor, "pixels width"]) -> Float[Tensor, "pixels width"]:
        """X X^T test, of all processes, without X X^T."""
        total = torch.zeros(self.pixels, test.shape[1], device=self.device)
        for x in self.read():
            total.addmm_(x.T, x @ test)
        return self.shards.add(total)

    def intensities(self) -> Float[Tensor, "pixels columns"]:
        """X itself; of this process, as the two that follow."""
        return torch.cat([x.clone() for x in self.read()]).T

    def image_gram(self) -> Float[Tensor, "columns columns"]:
        """X^T X, the smaller one where images are fewer than pixels."""
        return torch.cat([torch.cat([a @ b.T for b in self.read()], dim=1) for a in self.read()])

    def combine(self, vectors: Float[Tensor, "columns rank"]) -> Float[Tensor, "pixels rank"]:
        """X vectors: for each vector, the sum of the images in these proportions."""
        total, start = torch.zeros(self.pixels, vectors.shape[1], device=self.device), 0
        for x in self.read():
            total.addmm_(x.T, vectors[start : start + len(x)])
            start += len(x)
        return total
