"""How fast are pixel features made, and in how much memory: against the bare matrix products, IncrementalPCA and SVD.

    .venv/bin/python benchmarks/pixel_features.py

All contenders take turns; what counts are ratios within a turn. Images are made on the fly from a pool of 2,000, each
time in another brightness (which standardising takes out: what they show makes no difference to the time).
IncrementalPCA (scikit-learn) and torch.svd_lowrank get their data ready in memory, standardised; ours reads bytes and
standardises them itself. As it comes, svd_lowrank is a sketch: "as exact" is the cheapest of its settings whose F F^T
is within 1e-5 of the best one's, as ours is (column error, relative to the largest entry). Writes
results/pixel_features.csv; run it on a machine that has nothing else to do.
"""

import argparse
import ctypes
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from statistics import median

import scipy.linalg
import torch
from sklearn.decomposition import IncrementalPCA
from torch import Tensor
from turns import made_with, ratios, take_turns, write_table

from gsa_utils import make_phantom, pixel_features
from gsa_utils.pixels.gram import DataMatrix
from gsa_utils.pixels.stream import BLOCK_FLOATS, blocks

RANK, BATCH = 64, 2000
BARE, OURS, SKETCH, EXACT = "bare matrix products", "pixel_features", "torch.svd_lowrank", "torch.svd_lowrank, as exact"
# image side, images, turns, and whether the peers take part: their data must fit into memory
SETTINGS = [(28, 10_000, 31, True), (28, 100_000, 7, True), (28, 1_000_000, 7, False)]
SETTINGS += [(64, 10_000, 7, True), (64, 100_000, 7, False)]


@cache
def pool(side: int, device: str = "cpu") -> Tensor:
    """Images (BATCH, 1, side, side), drawn once: drawing takes longer than what is measured."""
    if device != "cpu":
        return pool(side).to(device)
    return make_phantom("phantom-chest", BATCH, side).images.clamp(max=247)


def stream(side: int, count: int, device: str = "cpu") -> Iterator[Tensor]:
    """`count` images in batches (B, 1, side, side), uint8: those of the pool, brighter each time it comes round."""
    for start in range(0, count, BATCH):
        yield pool(side, device)[: count - start] + (start // BATCH % 8)


def bare(side: int, count: int, device: str = "cpu") -> Callable[[], None]:
    """Nothing but the products X X^T of as many columns, in blocks of the same size."""
    pixels = side * side
    block = torch.rand(max(1, BLOCK_FLOATS // pixels), pixels, device=device)
    total = torch.zeros(pixels, pixels, device=device)

    def products() -> None:
        for start in range(0, count, len(block)):
            x = block[: count - start]
            total.addmm_(x.T, x)

    return products


def one_pass(side: int, count: int, device: str = "cpu") -> None:
    DataMatrix(stream(side, count, device), rank=RANK).gram()


def in_memory(side: int, count: int, device: str = "cpu") -> Tensor:
    """Standardised rows (count, P), which the peers are given for free."""
    return torch.cat([x.clone() for x, _ in blocks(stream(side, count, device), (side, side))])


def contenders(side: int, count: int, rows: Tensor | None, best: Tensor | None) -> dict[str, Callable[[], object]]:
    """The peers are among them where there are `rows` for them; `best` is then the F F^T to come near to."""
    found = {
        BARE: bare(side, count),
        "one pass": lambda: one_pass(side, count),
        OURS: lambda: pixel_features(stream(side, count), RANK),
    }
    if rows is not None:
        array, exact = rows.numpy(), as_exact(rows, best)
        found["IncrementalPCA"] = lambda: IncrementalPCA(RANK, copy=False).fit(array)
        found["IncrementalPCA, 200 a batch"] = lambda: IncrementalPCA(RANK, copy=False, batch_size=200).fit(array)
        found[SKETCH] = lambda: torch.svd_lowrank(rows.T, RANK)
        found[EXACT] = lambda: torch.svd_lowrank(rows.T, exact[0], niter=exact[1])
    return found


def best_product(rows: Tensor) -> Tensor:
    """F F^T (P, P) of the best features of this rank, from eigenvectors in float64."""
    gram = (rows.T @ rows).double().numpy()
    values, vectors = map(torch.from_numpy, scipy.linalg.eigh(gram, subset_by_index=[len(gram) - RANK, len(gram) - 1]))
    return (vectors * values) @ vectors.T


def error(features: Tensor, best: Tensor) -> float:
    """Of F F^T, for features (P, rank) of any scale, relative to the best one's largest entry."""
    features = features.double()
    product = features @ features.T
    return ((product * (best.trace() / product.trace()) - best).abs().max() / best.abs().max()).item()


def as_exact(rows: Tensor, best: Tensor) -> tuple[int, int]:
    """The directions and iterations of the cheapest svd_lowrank whose features come within 1e-5 of the best ones."""
    settings = [(directions, turns) for directions in (RANK, 80, 112, 144, 192, 256) for turns in range(2, 13)]
    for directions, turns in sorted(settings, key=lambda setting: setting[0] * (2 * setting[1] + 2)):
        left, values, _ = torch.svd_lowrank(rows.T, directions, niter=turns)
        if error((left * values)[:, :RANK], best) <= 1e-5:
            return directions, turns
    raise RuntimeError("no setting of torch.svd_lowrank is as exact as our features")


def errors_of(calls: dict[str, Callable[[], object]], best: Tensor) -> dict[str, str]:
    found = {OURS: calls[OURS]().flatten(2)[0].T}
    for name in (SKETCH, EXACT):
        left, values, _ = calls[name]()
        found[name] = (left * values)[:, :RANK]
    return {name: f"{error(features, best):.1e}" for name, features in found.items()}


def measure(side: int, count: int, turns: int, peers: bool) -> Iterator[dict[str, object]]:
    rows = in_memory(side, count) if peers else None
    best = best_product(rows) if peers else None
    calls = contenders(side, count, rows, best)
    errors = errors_of(calls, best) if peers else {}
    seconds = take_turns(calls, turns)
    for name, taken in seconds.items():
        middle, low, high = (f"{value:.2f}" for value in ratios(taken, seconds[BARE]))
        row = {"image_side": side, "images": count, "what": name}
        row |= {"ratio_to_bare": middle, "quartile_low": low, "quartile_high": high}
        row |= {"images_per_s": round(count / median(taken))}
        row["error"] = errors.get(name, "")
        most, more = peak(side, count) if name == OURS else ("", "")
        row |= {"peak_mib": most, "more_than_before_mib": more}
        yield row | made_with(turns, "scikit-learn")


def memory(kind: str) -> float:
    """MiB of this process on Linux: "VmRSS" now, "VmHWM" at most. (getrusage's maximum starts with the parent's.)"""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(kind))
    return int(line.split()[1]) / 1024


def forget_peak() -> None:
    """What drawing the images has left, and took at most, would hide what comes now."""
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")


def print_peak(side: int, count: int) -> None:
    """MiB at most while features are made, and how much more that is than before. (Linux with glibc.)"""
    pool(side)
    forget_peak()
    before = memory("VmRSS")
    pixel_features(stream(side, count), RANK)
    print(memory("VmHWM"), memory("VmHWM") - before)


def peak(side: int, count: int) -> list[str]:
    """What `print_peak` prints in a process of its own."""
    command = [sys.executable, __file__, "--peak", str(side), str(count)]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return [f"{float(value):.0f}" for value in found]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peak", type=int, nargs=2, metavar=("SIDE", "IMAGES"), help="print the peak memory in MiB")
    if (options := parser.parse_args()).peak:
        return print_peak(*options.peak)
    write_table("pixel_features.csv", (row for setting in SETTINGS for row in measure(*setting)))


if __name__ == "__main__":
    main()
