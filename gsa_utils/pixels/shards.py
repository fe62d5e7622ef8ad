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
        # NCCL exchanges what lies on GPUs, gloo the rest.
        gpus = torch.cuda.is_available() and dist.is_nccl_available()
        self.group = dist.new_group(backend="cpu:gloo,cuda:nccl" if gpus else "gloo") if self.count > 1 else None

    def agree(
        self, mine: tuple[int, int] | None, rank: Integral | None, again: bool, kind: str | None
    ) -> tuple[tuple[int, int], bool, str]:
        """The grid of all processes, whether each can read its images again, and the kind of device they are on.

        Each passes the (height, width) and the kind of device of its own images, None and None where it has none, and
        the rank of the features it wants.

        Raises:
            ValueError: several grids, ranks or kinds of device, or no images at all.
        """
        everyone = [(mine, kind, rank, again)] * self.count
        if self.group:
            dist.all_gather_object(everyone, (mine, kind, rank, again), group=self.group)
        grids, kinds = ({row[i] for row in everyone if row[i] is not None} for i in (0, 1))
        if not grids:
            raise bad_value("images", "no images", "at least one batch that is not empty")
        if max(len(grids), len(kinds), len({repr(rank) for _, _, rank, _ in everyone})) > 1:
            rows = enumerate(everyone)
            came = "; ".join(f"grid {grid}, rank {rank} in process {p} on {kind}" for p, (grid, kind, rank, _) in rows)
            raise bad_value("images", came, "one grid, one kind of device and one rank in all processes")
        return grids.pop(), all(again for *_, again in everyone), kinds.pop()

    def add(self, total: Tensor) -> Tensor:
        """The sum over the processes, in all of them; in place."""
        if self.group:
            dist.all_reduce(total, group=self.group)
        return total

    def from_first(self, make: Callable[[], Tensor], *shape: int, device: torch.device) -> Tensor:
        """What the first process makes, float32 of this shape, in all of them: rounding may differ between machines."""
        first = not self.group or dist.get_rank() == 0
        # What travels is the memory, in whatever order the numbers lie there.
        value = make().to(device).contiguous() if first else torch.empty(shape, device=device)
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
