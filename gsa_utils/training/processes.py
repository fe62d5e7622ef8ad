"""What processes that train one model together have to agree on; sending things between them is accelerate's business.

Each process is given the whole `train` and reads its own batches of it, and its share once for the mean and deviation;
with a `checkpoint_dir` the first one reads all images once, to know the run again. So a set too large for memory is one
memory-mapped file for all: `ImageSet(torch.from_numpy(np.load("images.npy", mmap_mode="c")), labels, class_names)`.
Each process scores all of `valid`, and all get the same scores.

BatchNorm sees the images of all processes where torch can do that: on CUDA. On a CPU each process standardises by the
images of its own batch, and the running statistics that are kept are those of the first process.
"""

import os

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast, broadcast_object_list, gather_object
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from gsa_utils.arguments import bad_value
from gsa_utils.files import checksum
from gsa_utils.images import ImageSet
from gsa_utils.training.checkpoints import checksum_of_features

_PART = 2**24  # intensities that are floats at a time


def start_accelerator() -> Accelerator:
    """accelerate's own, after making sure that it heard what the environment says: it reads that once a process.

    Raises:
        RuntimeError: accelerate counts other processes, or works in another precision, than the environment says.
    """
    accelerator, started = Accelerator(), int(os.environ.get("WORLD_SIZE", "1"))
    if accelerator.num_processes != started:
        raise RuntimeError(
            f"{started} processes were started, but accelerate takes each for the only one; on a CPU it needs "
            "ACCELERATE_USE_CPU=true in the environment"
        )
    asked = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if accelerator.mixed_precision != asked:
        raise RuntimeError(
            f"ACCELERATE_MIXED_PRECISION is {asked}, but accelerate has been started with "
            f"{accelerator.mixed_precision} in this process: set it before the first run, or restart the kernel"
        )
    return accelerator


def check_same_everywhere(accelerator: Accelerator, model: nn.Module, train: ImageSet, valid: ImageSet) -> None:
    """Raise a ValueError in all processes where they hold other images, as shards would be, or other pixel features.

    Images are compared by their number and labels: no process has to read all of them for that.
    """
    mine = {
        "train": f"{len(train)} images, labels {checksum(train.labels)}",
        "valid": f"{len(valid)} images, labels {checksum(valid.labels)}",
        "model": f"pixel features {checksum_of_features(model)}",
    }
    for argument, came in ((name, gather_object([value])) for name, value in mine.items()):
        if len(set(came)) > 1:
            differing = "; ".join(f"{value} in process {process}" for process, value in enumerate(came))
            raise bad_value(argument, differing, "the same in all processes")


def mean_and_deviation(images: Tensor, accelerator: Accelerator) -> tuple[float, float]:
    """Of all intensities (N, C, H, W); each process reads its own share of the images."""
    share = images.tensor_split(accelerator.num_processes)[accelerator.process_index]
    sums = torch.zeros(3, dtype=torch.float64)
    for part in share.split(max(1, _PART // images[0].numel())) if len(share) else ():
        x = part.float()
        count, mean, deviation = x.numel(), x.mean().double(), x.std().nan_to_num().double()
        sums += torch.stack([mean.new_tensor(count), count * mean, (count - 1) * deviation**2 + count * mean**2])
    if accelerator.num_processes > 1:
        sums = accelerator.reduce(sums.to(accelerator.device)).cpu()
    count, total, squares = sums.tolist()
    mean = total / count
    return mean, (max(squares - count * mean**2, 0) / max(count - 1, 1)) ** 0.5


def synchronise_batch_norm(model: nn.Module, accelerator: Accelerator) -> nn.Module:
    """`model` with every BatchNorm over the images of all processes, where these are several on CUDA."""
    if accelerator.num_processes == 1 or accelerator.device.type != "cuda":
        return model
    from timm.layers import convert_sync_batchnorm  # torch's own would drop the activation in timm's BatchNorm

    hooks = {name: part._forward_pre_hooks for name, part in model.named_modules() if part._forward_pre_hooks}
    model = convert_sync_batchnorm(model)
    for name, of_the_map in hooks.items():  # `attend` may have hooked a map to a BatchNorm
        model.get_submodule(name)._forward_pre_hooks.update(of_the_map)
    return model


class _Batches(Dataset):
    """Images and labels that a DataLoader asks for by whole batches, from the device where they are trained on.

    They are copied there once if they take at most a quarter of the memory that is free on it; else batch by batch.
    """

    def __init__(self, images: Tensor, labels: Tensor, device: torch.device):
        fits = device.type == "cuda" and 4 * images.nbytes <= torch.cuda.mem_get_info(device)[0]
        self.images, self.labels = (x.to(device) if fits else x for x in (images, labels))

    def __len__(self) -> int:
        return len(self.images)

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        """By this name a DataLoader asks for a batch; it then waits neither for single images nor for the device."""
        index = torch.tensor(indices).to(self.images.device, non_blocking=True)
        return self.images[index], self.labels[index]


def batches_of(train: ImageSet, batch_size: int, order: torch.Generator, accelerator: Accelerator) -> DataLoader:
    """(images, labels) of each step, shuffled; BatchNorm can't standardise a last batch of one image, so that goes."""
    left = len(train) % (batch_size * accelerator.num_processes)
    dataset = _Batches(train.images, train.labels, accelerator.device)
    return DataLoader(dataset, batch_size, shuffle=True, generator=order, drop_last=left == 1, collate_fn=tuple)


def seed_epoch(seed: int, epoch: int, order: torch.Generator, accelerator: Accelerator) -> None:
    """All that is random in an epoch follows from these: one `order` of the images, other dropout in each process."""
    order.manual_seed(seed * 100_003 + epoch)
    torch.manual_seed(seed * 100_003 + epoch + 2**40 * accelerator.process_index)


def share_of_step(done: int, images: int, loader: DataLoader, accelerator: Accelerator) -> tuple[int, int]:
    """After `done` images of an epoch: how many of this process's next `images` count, and how many of all together.

    accelerate fills up the last step with images of the first. Without these some processes have fewer than others,
    or none; as gradients are averaged over processes, each mean loss then weighs own * processes / together.
    """
    together = min(loader.total_batch_size, len(loader.dataset) - done)
    before = accelerator.process_index * (loader.total_batch_size // accelerator.num_processes)
    return min(max(together - before, 0), images), together


def share_buffers(model: nn.Module) -> None:
    """BatchNorm's statistics, which differ where each process has seen other images, become the main process's."""
    broadcast(list(model.buffers()))


def from_main_process(value: object) -> object:
    """The main process's value, in all processes."""
    return broadcast_object_list([value])[0]
