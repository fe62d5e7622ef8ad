"""What does attention cost in a training step, and does the cost grow with the number of images?

    .venv/bin/python benchmarks/step_cost.py            writes results/step_cost.csv
    .venv/bin/python benchmarks/step_cost.py --guard    seconds: fails if the cost grows with the number of images

ResNet-18, forward, backward and Adam, in float32: without attention; once more without, which shows what the
measurement resolves; without, but with the gradient that any learned map at the input needs and a plain network skips;
with our map at the input and late in the network (rank 64, pixel features of N images), and these once more, a million
images directly against a hundred; with four such maps in place of the average pooling; with a frozen map; with timm's
SE, ECA, CBAM and global context in every block; and with the naive pixel classifier, whose features are all N images.
At 224 px the network is torchvision's own and a pixel of the map covers 4 x 4 of the image. Run it on a machine that
has nothing else to do.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from pixel_features import stream
from torch import Tensor, nn
from torchvision.models import resnet18
from turns import compared, keep_memory, made_with, ratios, take_turns, write_table

from gsa_utils import GlobalPooling, GlobalSpatialAttention, attend, build_backbone, pixel_features
from gsa_utils.attention import WeightMap
from gsa_utils.evaluation.scores import device_of
from gsa_utils.networks.backbones import LAYERS
from gsa_utils.networks.local_attention import PEERS, add_local_attention
from gsa_utils.networks.pooling import replace_pooling
from gsa_utils.pixels.stream import blocks

COUNTS, RANK = (100, 10_000, 1_000_000), 64
BASE, TO_INPUT, TURNS = "no attention", "no attention, gradient to the input", 31
OURS, GROWTH = ("ours, input", "ours, late"), ", against 100 images"


@dataclass(frozen=True)
class Size:
    side: int
    grid: int  # pixels of the map along a side
    batch: int
    naive: tuple[int, ...] = (100, 10_000, 100_000)  # images behind the naive map: a million at 64 px are 16 GB


SIZES = (Size(28, 28, 32, (100, 10_000, 100_000, 1_000_000)), Size(64, 64, 16), Size(224, 56, 8))


def network(size: Size) -> nn.Module:
    torch.manual_seed(0)
    return resnet18(num_classes=2) if size.side == 224 else build_backbone("resnet", 1, 2, size.side)


class NaiveMap(WeightMap):
    """The same classifier with every image a feature, (P, N), as linear layers: faster here than 1x1 convolutions."""

    def __init__(self, count: int, grid: int):
        super().__init__()
        self.register_buffer("features", torch.empty(grid * grid, count))
        start = 0
        for x, _ in blocks(stream(grid, count), (grid, grid)):
            self.features[:, start : start + len(x)] = x.T / count**0.5
            start += len(x)
        self.classifier = nn.Sequential(nn.Linear(count, 32), nn.ReLU(), nn.Linear(32, 1))
        self.size = (grid, grid)

    def logits(self) -> Tensor:
        return self.classifier(self.features).view(self.size)


def models(size: Size) -> Iterator[tuple[str, int | str, nn.Module]]:
    """What it is called, the number of images behind its map, and the model."""
    yield BASE, "", network(size)
    yield f"{BASE}, again", "", network(size)
    yield TO_INPUT, "", network(size)
    for count in COUNTS:
        features = pixel_features(stream(size.grid, count), RANK)
        yield "ours, input", count, attend(network(size), GlobalSpatialAttention(features))
        yield "ours, late", count, attend(network(size), GlobalSpatialAttention(features), LAYERS["resnet"]["late"])
    four = GlobalPooling(GlobalSpatialAttention(features, maps=4))
    yield "ours, pooling with four maps", count, replace_pooling(network(size), "resnet", four, 4)
    frozen = attend(network(size), GlobalSpatialAttention(features), LAYERS["resnet"]["late"])
    frozen.attention.freeze()
    yield "ours, late, frozen", count, frozen
    for peer in PEERS:
        yield peer, "", add_local_attention(network(size), "resnet", peer)
    for count in size.naive:
        yield "naive, input", count, attend(network(size), NaiveMap(count, size.grid))


def stepper(model: nn.Module, size: Size, to_input: bool = False) -> Callable[[], None]:
    """One training step, on the same random images every time; `to_input` wants the gradient of the images as well."""
    torch.manual_seed(0)
    channels = 3 if size.side == 224 else 1
    images, labels = torch.rand(size.batch, channels, size.side, size.side), torch.randint(2, (size.batch,))
    images, labels = images.to(device_of(model)).requires_grad_(to_input), labels.to(device_of(model))
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-4)

    def step() -> None:
        optimiser.zero_grad()
        images.grad = None
        F.cross_entropy(model(images), labels).backward()
        optimiser.step()

    return step


def measure(size: Size) -> Iterator[dict[str, object]]:
    every = models(size)
    steps = {(what, count): stepper(model, size, to_input=what == TO_INPUT) for what, count, model in every}
    seconds = take_turns(steps, TURNS)
    for (what, count), taken in seconds.items():
        yield row_of(size, what, count, taken, seconds[BASE, ""], TURNS)
    yield from growth(size, steps)


def row_of(size: Size, what: str, count: int | str, taken: list[float], base: list[float], turns: int) -> dict:
    row = {"image_side": size.side, "map_side": size.grid, "batch": size.batch, "what": what, "images": count}
    return row | compared(taken, base) | made_with(turns, "torchvision", "timm")


def growth(size: Size, steps: dict[tuple[str, int | str], Callable[[], None]]) -> Iterator[dict[str, object]]:
    """A step on most images against the same one on fewest, in turns of their own: closer than over the plain one."""
    few, many = min(COUNTS), max(COUNTS)
    turns = 2 * TURNS
    seconds = take_turns({key: steps[key] for key in steps if key[0] in OURS and key[1] in (few, many)}, turns)
    for what in OURS:
        yield row_of(size, f"{what}{GROWTH}", many, seconds[what, many], seconds[what, few], turns)


def guard() -> None:
    """Exits with an error if a step on 10,000 images costs more than one on 100, or if the naive classifier's does not.

    A small CNN in one thread: there the classifier is a large part of a step, and a busy machine disturbs little.
    """
    torch.set_num_threads(1)
    size, few, many, ours, naive = Size(28, 28, 8), 100, 10_000, "ours", "naive"
    steps = {}
    for count in (few, many):
        features = pixel_features(stream(size.grid, count), RANK)
        for what, attention in ((ours, GlobalSpatialAttention(features)), (naive, NaiveMap(count, size.grid))):
            steps[what, count] = stepper(attend(build_backbone("small", 1, 2, size.side), attention), size)
    seconds = take_turns(steps, TURNS)
    growth = {what: ratios(seconds[what, many], seconds[what, few])[0] for what in (ours, naive)}
    print(f"a step on {many:,} images / on {few}:", ", ".join(f"{what} {value:.2f}" for what, value in growth.items()))
    allowed = 1.15  # medians of 31 turns differ by less, also on a busy machine
    if growth[naive] < 2:
        sys.exit("the naive classifier's cost does not grow either: this measures nothing")
    if growth[ours] > allowed:
        sys.exit(f"the cost of a training step grows with the number of images: by more than {allowed}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--guard", action="store_true", help="a tiny version that fails if the cost is not flat")
    if parser.parse_args().guard:
        return guard()
    keep_memory()
    write_table("step_cost.csv", (row for size in SIZES for row in measure(size)))


if __name__ == "__main__":
    main()
