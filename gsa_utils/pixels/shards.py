"""Images that lie in shards, one in each process of torch.distributed."""

import torch.distributed as dist
from torch import Tensor


class Shards:
    """The processes of torch.distributed whose images add up, or this process alone.

    Args:
        together: False for this process alone, also where there are others.
    """

    def __init__(self, together: bool):
        self.count = dist.get_world_size() if together and dist.is_available() and dist.is_initialized() else 1
        # The sums are made on the CPU, where NCCL, which connects GPUs, can't exchange them.
        self.group = dist.new_group(backend="gloo") if self.count > 1 else None
        self.first = self.count == 1 or dist.get_rank() == 0

    def gather(self, mine: object) -> list[object]:
        """What each process passed, in their order."""
        everyone = [mine] * self.count
        if self.group:
            dist.all_gather_object(everyone, mine, group=self.group)
        return everyone

    def add(self, total: Tensor) -> Tensor:
        """The sum over the processes, in all of them; in place."""
        if self.group:
            dist.all_reduce(total, group=self.group)
        return total

    def share(self, value: Tensor) -> Tensor:
        """The value that the first process has, in all of them: rounding may differ between machines."""
        value = value.contiguous()  # what travels is the memory, in whatever order the numbers lie there
        if self.group:
            dist.broadcast(value, src=0, group=self.group)
        return value

    def leave(self) -> None:
        """Close the connections of this exchange, once all processes have come here."""
        if self.group:
            dist.barrier(self.group)
            dist.destroy_process_group(self.group)
