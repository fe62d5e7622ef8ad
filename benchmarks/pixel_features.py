"""How fast are pixel features made, and in how much memory: against the bare matrix products, IncrementalPCA and SVD.

    .venv/bin/python benchmarks/pixel_features.py

All contenders take turns, seven times over; what counts are ratios within a turn. Images are made on the fly from a
pool, each shifted in brightness. IncrementalPCA (scikit-learn) and torch.svd_lowrank get their data ready in memory,
standardised; ours reads bytes and standardises them itself. Writes results/pixel_features.csv; run it on a machine that
has nothing else to do.
"""

import argparse
import csv
import datetime
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from statistics import median

import sklearn
import torch
from sklearn.decomposition import IncrementalPCA
from torch import Tensor

from gsa_utils import make_phantom, pixel_features
from gsa_utils.streaming import BLOCK_FLOATS, blocks, gram_times

ROOT = Path(__file__).resolve().parents[1]
TURNS, RANK, BATCH = 7, 64, 2000
# image side -> numbers of images; the peers, whose data must fit, run at the first one only
SIZES = {28: (10_000, 100_000, 1_000_000), 64: (10_000,)}


@cache
def pool(side: int) -> Tensor:
    """Images (BATCH, 1, side, side), drawn once: drawing takes longer than what is measured."""
    return make_phantom("phantom-chest", BATCH, side).images


def stream(side: int, count: int) -> Iterator[Tensor]:
    """`count` images in batches (B, 1, side, side), uint8: those of the pool, brighter each time it comes round."""
    for start in range(0, count, BATCH):
        yield pool(side)[: count - start] + (start // BATCH % 8)


def bare(side: int, count: int) -> None:
    """Nothing but the products X X^T of as many columns, in blocks of the same size."""
    pixels = side * side
    block, total = torch.rand(max(1, BLOCK_FLOATS // pixels), pixels), torch.zeros(pixels, pixels)
    for start in range(0, count, len(block)):
        x = block[: count - start]
        total.addmm_(x.T, x)


def one_pass(side: int, count: int) -> None:
    gram_times(blocks(stream(side, count), (side, side)), side * side)


def in_memory(side: int, count: int) -> Tensor:
    """Standardised rows (count, P), which the peers are given for free."""
    return torch.cat([x.clone() for x, _ in blocks(stream(side, count), (side, side))])


def contenders(side: int, count: int, peers: bool) -> dict[str, Callable[[], object]]:
    found = {
        "bare matrix products": lambda: bare(side, count),
        "one pass": lambda: one_pass(side, count),
        "pixel_features": lambda: pixel_features(stream(side, count), RANK),
    }
    if peers:
        rows = in_memory(side, count)
        array = rows.numpy()
        found["IncrementalPCA"] = lambda: IncrementalPCA(RANK, copy=False).fit(array)
        found["torch.svd_lowrank"] = lambda: torch.svd_lowrank(rows.T, RANK)
    return found


def measure(side: int, count: int, peers: bool) -> Iterator[tuple[str, list[float], list[float]]]:
    """Name, seconds, and ratios to the bare products of the same turn."""
    calls = contenders(side, count, peers)
    pool(side)
    seconds = {name: [] for name in calls}
    for _ in range(TURNS):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    for name, taken in seconds.items():
        yield name, taken, [a / b for a, b in zip(taken, seconds["bare matrix products"], strict=True)]


def peak(side: int, count: int) -> float:
    """MiB that a process of its own needed at most for the features of `count` images."""
    command = [sys.executable, __file__, "--peak", str(side), str(count)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peak", type=int, nargs=2, metavar=("SIDE", "IMAGES"), help="print the peak memory in MiB")
    if (options := parser.parse_args()).peak:
        pixel_features(stream(*options.peak), RANK)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return
    versions = f"torch {torch.__version__}, scikit-learn {sklearn.__version__}, {platform.machine()}"
    made = [TURNS, torch.get_num_threads(), datetime.date.today(), versions]
    with (ROOT / "results" / "pixel_features.csv").open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        head = ["image_side", "images", "what", "ratio_to_bare", "lowest", "highest", "images_per_s", "peak_mib"]
        table.writerow([*head, "turns", "threads", "date", "versions"])
        for side, counts in SIZES.items():
            for count in counts:
                for name, seconds, ratios in measure(side, count, peers=count == counts[0]):
                    memory = f"{peak(side, count):.0f}" if name == "pixel_features" else ""
                    figures = [f"{value:.2f}" for value in (median(ratios), min(ratios), max(ratios))]
                    rate = round(count / median(seconds))
                    table.writerow([side, count, name, *figures, rate, memory, *made])
                    print(
                        f"{side:3} px {count:9,} {name:21} {' '.join(figures)}  {rate:9,} images/s {memory}", flush=True
                    )


if __name__ == "__main__":
    main()
