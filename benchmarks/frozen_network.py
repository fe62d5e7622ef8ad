"""What do the activations of a frozen network cost, and a head that is trained on them?

    .venv/bin/python benchmarks/frozen_network.py      writes results/frozen_network.csv

`frozen_activations` against the bare pass of the same network up to the same layer, in turns; and a head with four
shared maps, trained on kept activations of 1,000 images, 112 x 14 x 14 each. Run it on a machine that has nothing else
to do; it needs the course's ImageNet weights.
"""

import time
from collections.abc import Iterator

import torch
from turns import compared, made_with, take_turns, write_table

from gsa_utils import GlobalSpatialAttention, make_phantom, pixel_features
from gsa_utils.probing.activations import frozen_activations
from gsa_utils.probing.heads import build_head
from gsa_utils.probing.network import LAYERS, cut_network, network
from gsa_utils.probing.train import fit_head

GRID, COUNT, BATCH, TURNS, KEPT = 14, 32, 32, 7, 1_000


def passes() -> Iterator[dict[str, object]]:
    images = make_phantom("phantom-chest", COUNT, 96)
    whole, cut = network().eval(), cut_network(GRID).eval()

    def bare() -> None:
        with torch.no_grad():
            for part in images.to_float().split(BATCH):
                cut(part)

    calls = {
        "bare pass": bare,
        "frozen_activations": lambda: frozen_activations(
            whole, images, [LAYERS[GRID]], batch_size=BATCH, progress=False
        ),
    }
    seconds = take_turns(calls, TURNS)
    for name, taken in seconds.items():
        yield {"what": name, "images": COUNT} | compared(taken, seconds["bare pass"]) | made_with(TURNS)


def head() -> dict[str, object]:
    x = torch.randn(KEPT, 112, GRID, GRID, generator=torch.Generator().manual_seed(0)).half()
    labels = torch.arange(KEPT) % 2
    features = pixel_features(make_phantom("phantom-chest", KEPT, 28), size=GRID)
    start = time.perf_counter()
    fit_head(build_head(x, 2, GlobalSpatialAttention(features, maps=4)), x, labels)
    taken = time.perf_counter() - start
    row = {"what": "a head with four maps, trained", "images": KEPT} | dict.fromkeys(compared([1.0], [1.0]), "")
    return row | {"ms": f"{1000 * taken:.0f}"} | made_with(1)


def main() -> None:
    write_table("frozen_network.csv", [*passes(), head()])


if __name__ == "__main__":
    main()
