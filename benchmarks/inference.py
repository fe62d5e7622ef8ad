"""What does a frozen map cost at inference, in time and in the saved file?

    .venv/bin/python benchmarks/inference.py      writes results/inference.csv

ResNet-18 in eager mode and under torch.compile, float32: the plain model, the same with a frozen map at the input and
in the middle, and with the trainable pixel classifier still in it (rank 64). Run it on a machine that has nothing else
to do; torch.compile needs a C++ compiler.
"""

import io
from collections.abc import Iterator

import torch
from step_cost import RANK, SIZES, Size, network
from torch import nn
from turns import compared, keep_memory, made_with, take_turns, write_table

from gsa_utils import GlobalSpatialAttention, attend
from gsa_utils.networks.backbones import LAYERS

PLAIN, TURNS, MIDDLE = "plain", 41, LAYERS["resnet"]["middle"]


def models(size: Size) -> dict[str, nn.Module]:
    torch.manual_seed(0)
    features = torch.randn(1, RANK, size.grid, size.grid)  # which ones makes no difference to the time
    found = {PLAIN: network(size), f"{PLAIN}, again": network(size)}
    for place, at in (("input", None), ("middle", MIDDLE)):
        for state in ("frozen", "trainable"):
            model = attend(network(size), GlobalSpatialAttention(features), at)
            if state == "frozen":
                model.attention.freeze()
            found[f"{state}, {place}"] = model
    return {name: model.eval() for name, model in found.items()}


def mebibytes(model: nn.Module) -> float:
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    return len(file.getvalue()) / 2**20


def measure(size: Size, batch: int, mode: str) -> Iterator[dict[str, object]]:
    contenders = models(size)
    sizes = {name: mebibytes(model) for name, model in contenders.items()}
    images = torch.rand(batch, 3 if size.side == 224 else 1, size.side, size.side)
    if mode == "compiled":
        torch.compiler.reset()  # else the models of all sizes share a limit, above which nothing more is compiled
        contenders = {name: torch.compile(model) for name, model in contenders.items()}
    with torch.inference_mode():
        seconds = take_turns({name: lambda m=model: m(images) for name, model in contenders.items()}, TURNS)
    for name, taken in seconds.items():
        row = {"image_side": size.side, "batch": batch, "mode": mode, "what": name}
        row |= compared(taken, seconds[PLAIN])
        yield row | {"mib_saved": f"{sizes[name]:.2f}"} | made_with(TURNS, "torchvision")


def main() -> None:
    keep_memory()
    settings = [
        setting
        for size in SIZES
        for setting in ((size, 1, "eager"), (size, size.batch, "eager"), (size, size.batch, "compiled"))
    ]
    write_table("inference.csv", (row for setting in settings for row in measure(*setting)))


if __name__ == "__main__":
    main()
