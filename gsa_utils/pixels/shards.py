"""Images that lie in shards: each process of torch.distributed passes its own, and sums over them add up.

The number of images may differ between the processes, and be 0 in some; their size may not. All processes have to call,
and all of them get the features of all images, the same to the last bit. What travels for a Gram matrix is one
all-reduce of P x P numbers, however many images there are. If each process passes the whole set, the copies count
together: as features are scaled by the number of images, they are the same, but for rounding.
"""

from collections.abc import Callable
from numbers import Integral

import torch
import torch.distributed as dist
from torch import Tensor

from gsa_utils.arguments import bad_value


class Shards:
    """The processes of torch.distributed whose images add up, or this process alone.

    Args:
        together: False for this process alone, also where there are others.
    """

    def __init__(self, together: bool):
        self.count = dist.get_world_size() if together and dist.is_available() and dist.is_initialized() else 1
        # The sums are made on the CPU, where NCCL, which connects GPUs, can't exchange them.
        self.group = dist.new_group(backend="gloo") if self.count > 1 else None

    def agree(self, mine: tuple[int, int] | None, rank: Integral | None, again: bool) -> tuple[tuple[int, int], bool]:
        """The grid of all processes, and whether each of them can read its images again.

        Each passes the (height, width) of its own, None where it has no images, and the rank of the features it wants.

        Raises:
            ValueError: several grids or ranks, or no images at all.
        """
        everyone = [(mine, rank, again)] * self.count
        if self.group:
            dist.all_gather_object(everyone, (mine, rank, again), group=self.group)
        grids = {grid for grid, _, _ in everyone if grid is not None}
        if not grids:
            raise bad_value("images", "no images", "at least one batch that is not empty")
        if len(grids) > 1 or len({rank for _, rank, _ in everyone}) > 1:
            came = "; ".join(f"grid {grid}, rank {rank} in process {p}" for p, (grid, rank, _) in enumerate(everyone))
            raise bad_value("images", came, "one grid and one rank in all processes")
        return grids.pop(), all(again for _, _, again in everyone)

    def add(self, total: Tensor) -> Tensor:
        """The sum over the processes, in all of them; in place."""
        if self.group:
            dist.all_reduce(total, group=self.group)
        return total

    def from_first(self, make: Callable[[], Tensor], *shape: int) -> Tensor:
        """What the first process makes, float32 of this shape, in all of them: rounding may differ between machines."""
        first = not self.group or dist.get_rank() == 0
        # What travels is the memory, in whatever order the numbers lie there.
        value = make().contiguous() if first else torch.empty(shape)
        if self.group:
            dist.broadcast(value, src=0, group=self.group)
        return value

    def __enter__(self) -> "Shards":
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        """Close the connections of this exchange: once all processes have come here, or at once after an error."""
        if self.group:
            if kind is None:
                dist.barrier(self.group)
            dist.destroy_process_group(self.group)
