"""Colour images on a grid of 224 x 224, whose Gram matrix would take 10 GB: how fast, in how much memory, how good?

    .venv/bin/python benchmarks/large_grids.py      writes results/large_grids.csv

Features come from a sketch, in two passes where the images can be read again and in one where they can't. "kept" is the
share of the Gram matrix's trace that is in F F^T; "best" is that of the exact features of this rank, which for 1,000
images come from the image side. Run it on a machine that has nothing else to do (a quarter of an hour).
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator

import torch
from pixel_features import BATCH, RANK, forget_peak, memory, pool
from torch import Tensor
from turns import made_with, write_table

from gsa_utils import pixel_features

SIDE, COUNTS, COMPARED = 224, (1_000, 10_000, 100_000), 1_000


class Colour:
    """`count` images (B, 3, SIDE, SIDE), uint8, in batches that can be read again: of three phantoms, one a channel."""

    def __init__(self, count: int):
        self.count = count

    def __iter__(self) -> Iterator[Tensor]:
        grey, step = pool(SIDE), 100
        for start in range(0, self.count, step):
            first = start % BATCH
            parts = [grey.roll(-first - 700 * channel, 0)[: min(step, self.count - start)] for channel in range(3)]
            yield torch.cat(parts, dim=1) + (start // BATCH % 8)


def kept(features: Tensor) -> str:
    """The share of the trace: features are scaled so that all of it is a mean squared norm of 1."""
    return f"{features.square().sum(dim=1).mean():.5f}"


def measure(count: int, passes: int) -> dict[str, str]:
    """In this process, whose memory nothing else has raised."""
    pool(SIDE)
    images = Colour(count)
    forget_peak()  # drawing the phantoms took more than what follows
    before, start = memory("VmRSS"), time.perf_counter()
    features = pixel_features(images if passes == 2 else iter(images), RANK)
    seconds, more = time.perf_counter() - start, memory("VmHWM") - before
    found = {
        "seconds": f"{seconds:.1f}",
        "images_per_s": f"{count / seconds:.0f}",
        "more_than_before_mib": f"{more:.0f}",
    }
    found |= {"kept": kept(features), "best": ""}
    if count == COMPARED:
        found["best"] = kept(pixel_features(torch.cat(list(images)), RANK))
    return found


def in_a_process(count: int, passes: int) -> dict[str, object]:
    command = [sys.executable, __file__, str(count), str(passes)]
    found = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
    row = {"image_side": SIDE, "channels": 3, "rank": RANK, "images": count, "passes": passes}
    return row | found | made_with(1)


def main() -> None:
    if sys.argv[1:]:
        return print(json.dumps(measure(*map(int, sys.argv[1:]))))
    write_table("large_grids.csv", (in_a_process(count, passes) for count in COUNTS for passes in (1, 2)))


if __name__ == "__main__":
    main()
