"""How long do the wanted eigenvectors of a Gram matrix take, against a full decomposition, and how exact are they?

    .venv/bin/python benchmarks/eigenvectors.py      writes results/eigenvectors.csv

For images, whose eigenvalues fall fast, and for noise, whose eigenvalues lie close together: there the small space is
given up after a few products, and that is what the ratio says. The error is that of F F^T, relative to the largest
entry of the one in float64. Run it on a machine that has nothing else to do.
"""

import time
from collections.abc import Iterator

import torch
from torch import Tensor
from turns import compared, in_turns, made_with, write_table

from gsa_utils import make_phantom
from gsa_utils.pixels.eigen import _of_the_whole, _signed, _top_eigenvectors
from gsa_utils.pixels.gram import DataMatrix

FULL = "full decomposition"
SETTINGS = [(28, 31), (32, 21), (40, 11), (48, 7), (64, 5)]  # image side, turns
RANKS = (4, 16, 64)
SETTLE = 0.2  # seconds: after a call the threads of SciPy's BLAS spin for a while, beside whatever comes next


def images_of(kind: str, side: int) -> Tensor:
    """Half as many again as pixels, uint8."""
    count = side * side * 3 // 2
    if kind == "images":
        return make_phantom("phantom-chest", count, side).images
    return torch.randint(0, 256, (count, 1, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def product(values: Tensor, vectors: Tensor) -> Tensor:
    """F F^T of the features that these eigenpairs make."""
    return (vectors.double() * values.double()) @ vectors.T.double()


def all_of(gram: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """What the package does where the small space is given up, without having tried it."""
    values, vectors = _of_the_whole(gram, rank)
    return values.clamp(min=0), _signed(vectors)


def measure(kind: str, side: int, turns: int) -> Iterator[dict[str, object]]:
    gram = DataMatrix(images_of(kind, side), rank=1).gram()
    for rank in RANKS:
        calls = {FULL: lambda r=rank: all_of(gram, r), "ours": lambda r=rank: _top_eigenvectors(gram, r)}
        seconds = {name: [] for name in calls}
        for name in in_turns(calls, turns):
            time.sleep(SETTLE)
            start = time.perf_counter()
            calls[name]()
            seconds[name].append(time.perf_counter() - start)
        best, found = (product(*call()) for call in calls.values())
        row = {"of": kind, "image_side": side, "rank": rank} | compared(seconds["ours"], seconds[FULL])
        row |= {"error": f"{(found - best).abs().max() / best.abs().max():.1e}"}
        yield row | made_with(turns, "scipy")


def main() -> None:
    write_table(
        "eigenvectors.csv",
        (row for kind in ("images", "noise") for setting in SETTINGS for row in measure(kind, *setting)),
    )


if __name__ == "__main__":
    main()
