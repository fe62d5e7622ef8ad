"""What test_processes.py starts in each of several processes: `torchrun ... several_processes.py WHAT FOLDER`."""

import os
import signal
import sys
import time
from datetime import timedelta
from pathlib import Path
from zlib import crc32

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from gsa_utils.attended import attend
from gsa_utils.attention import GlobalSpatialAttention
from gsa_utils.datasets.phantoms import make_phantom
from gsa_utils.pixels import features as features_module
from gsa_utils.pixels.features import pixel_features
from gsa_utils.training.loop import fit

TRAIN, VALID = make_phantom("phantom-chest", 48, 16, seed=0), make_phantom("phantom-chest", 14, 16, seed=1)
GLOBAL_BATCH = 16
LENGTHS = {  # 48 images: whole steps only; the others end with a step that not all processes have images for
    "whole steps": 48,
    "a half step": 40,
    "a step of three images": 35,
    "a step of one image": 33,
    "less than a step": 10,
}


def draw(count, channels=1, height=10, width=12):
    """uint8 images of eight patterns whose eigenvalues lie well apart, so that each eigenvector is determined."""
    random = torch.Generator().manual_seed(0)
    patterns = F.interpolate(torch.randn(8, channels, 3, 4, generator=random), (height, width), mode="bilinear")
    weights = torch.randn(count, 8, generator=random) * 1.5 ** -torch.arange(8)
    pictures = torch.einsum("nk,kchw->nchw", weights, patterns)
    pictures += 0.05 * torch.randn(pictures.shape, generator=random)
    return (128 + 40 * pictures).clamp(0, 255).to(torch.uint8)


MANY, FEW, COLOUR = draw(301), draw(50), draw(60, channels=3)


def plain_model(features):
    """Neither BatchNorm nor dropout: what it learns depends on the images of a step alone."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(4), nn.Conv2d(6, 6, 3), nn.ReLU(), nn.Flatten()
    )
    net.append(nn.Linear(24, 2))
    return attend(net, GlobalSpatialAttention(features, 3))


def normed_model(features):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return attend(net.append(nn.Linear(6, 2)), GlobalSpatialAttention(features, 3))


def train(model, count=48, processes=1, **settings):
    usual = {"epochs": 3, "batch_size": GLOBAL_BATCH // processes, "lr": 1e-2, "seed": 3, "progress": False}
    return fit(model, TRAIN.subset(range(count)), VALID, **usual | settings)


def error_of(call, *arguments, **settings):
    try:
        call(*arguments, **settings)
    except ValueError as error:
        return str(error)
    return "no error"


def features(index, count):
    """Pixel features of shards of several kinds, and what processes that don't fit together are told."""
    before = pixel_features(MANY, 8)  # torch.distributed is not initialised: the images of this process alone
    dist.init_process_group("gloo", timeout=timedelta(seconds=100))
    mine = MANY[index::count]
    without = MANY.tensor_split(count - 1)[index] if index < count - 1 else MANY[:0]
    found = {
        "before": before,
        "even": pixel_features(mine, 8),
        "array": pixel_features(mine.numpy(), 8),
        "uneven": pixel_features(MANY[:7] if index == 0 else MANY[7:].tensor_split(count - 1)[index - 1], 8),
        "one has none": pixel_features(without, 8),
        "one stream is empty": pixel_features(iter(without.split(9)), 8),
        "streams": pixel_features(DataLoader(TensorDataset(mine, mine), batch_size=9, shuffle=True), 8),
        "copies": pixel_features(MANY, 8),
        "alone": pixel_features(MANY, 8, sharded=False),
        "alone, uncompressed": pixel_features(FEW, None, sharded=False),
        "few": pixel_features(FEW[index::count], 8),
        "few copies": pixel_features(FEW, 8),
        "colour": pixel_features(COLOUR[index::count], 6, size=(5, 4)),
    }
    if index == 0:
        found["in one process"] = pixel_features(mine, 8, sharded=False)  # the others do not call it
    features_module.LARGEST_GRAM = 100
    found["sketch"] = pixel_features(mine, 8)
    found["sketch of streams"] = pixel_features(iter(mine.split(9)), 8)
    found["sketch of a stream and arrays"] = pixel_features(iter(mine.split(9)) if index else mine, 8)
    features_module.LARGEST_GRAM = 2**14
    constant = torch.ones(9, 1, 4, 4)
    found["errors"] = {
        "sizes": error_of(pixel_features, MANY if index else MANY[:, :, :9], 8),
        "ranks": error_of(pixel_features, mine, 8 + index),
        "rank": error_of(pixel_features, FEW[index::count], 51),
        "no rank": error_of(pixel_features, mine, None),
        "nothing": error_of(pixel_features, MANY[:0], 8),
        "constant": error_of(pixel_features, constant, 2),
    }
    found["after the errors"] = pixel_features(mine, 8)
    return found


def training(index, count):
    """Runs of the same global batch, the features made from shards."""
    of_shards = pixel_features(TRAIN.images[index::count], 4)
    found = {"pixel features": of_shards}
    for name, length in LENGTHS.items():
        run = train(plain_model(of_shards), length, count)
        found[name] = run.history, run.model.state_dict()
    model, found["seen"] = plain_model(of_shards), []
    model.register_forward_pre_hook(
        lambda model, x: found["seen"].extend(crc32(image.numpy()) for image in x[0]) if model.training else None
    )
    train(model, 48, count)
    run = train(normed_model(of_shards), 35, count)
    found["BatchNorm"] = run.history, run.model.state_dict()
    shard = TRAIN.subset(range(index, 48, count))
    of_shard = pixel_features(shard, 4, sharded=False)
    found["errors"] = {
        "shards": error_of(fit, plain_model(of_shards), shard, VALID, epochs=1),
        "features": error_of(fit, plain_model(of_shard), TRAIN, VALID, epochs=1),
    }
    return found


def resumed(index, count, folder):
    """A run with checkpoints; in the first launch process 1 is killed in the second step of the third epoch."""
    model, calls = plain_model(pixel_features(TRAIN, 4)), []
    if not (folder / "killed").exists() and index == 1:

        def die(*_):
            calls.append(model.training)
            if sum(calls) == 2 * 3 + 2:
                kill_this_process(folder)

        model.register_forward_pre_hook(die)
    run = train(model, 48, count, checkpoint_dir=folder / "checkpoints")
    return run.history, run.model.state_dict()


def killed_in_pass(index, count, folder):
    dist.init_process_group("gloo")

    def stream():
        for number in range(40):
            if number == 20 and index == 1:
                kill_this_process(folder)
            yield MANY

    return pixel_features(stream(), 8)


def kill_this_process(folder):
    (folder / "killed").write_text(str(time.time()))
    os.kill(os.getpid(), signal.SIGKILL)


def save(found, folder, name):
    torch.save({"world size": dist.get_world_size(), "found": found}, folder / f"{name}-{dist.get_rank()}.pt")


def from_a_notebook(folder):
    torch.set_num_threads(1)
    run = train(plain_model(pixel_features(TRAIN, 4)), processes=2)
    index, count = dist.get_rank(), dist.get_world_size()
    save((run.history, run.model.state_dict(), pixel_features(MANY[index::count], 8)), folder, "notebook")


if __name__ == "__main__":
    what, folder = sys.argv[1], Path(sys.argv[2])
    torch.set_num_threads(1)
    if what == "notebook":
        from accelerate import notebook_launcher

        notebook_launcher(from_a_notebook, (folder,), num_processes=2)
        sys.exit()
    place = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    if what == "all":
        save(features(*place), folder, "features")
        save(training(*place), folder, "training")
    else:
        save({"resumed": resumed, "killed_in_pass": killed_in_pass}[what](*place, folder), folder, what)
    dist.barrier()  # a connection that one process closes while another still listens there can end that one
    dist.destroy_process_group()
