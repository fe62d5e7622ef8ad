"""How often do the verdicts of `gsa own` err where the truth is known?

    .venv/bin/python benchmarks/own_verdicts.py results/own_verdicts.csv

Alignment: each set as it is, and with every image moved at random by up to a sixteenth, an eighth and a quarter of its
side, twenty draws each. Shortcut alarm: twenty clean phantoms of two kinds, and the same with a square in the upper
right corner of 95 % of one class and 5 % of the other. One row a draw; a call goes on where the last one stopped.
"""

import sys
from itertools import product
from pathlib import Path

import pandas as pd
import torch
from tqdm.auto import tqdm

from gsa_utils import make_phantom, plant_marker
from gsa_utils.datasets.load import load_whole
from gsa_utils.evaluation.rankings import rectangle
from gsa_utils.images import ImageSet
from gsa_utils.own.compare import FOLDS, GRIDS, map_of_fold
from gsa_utils.own.verdicts import check_alignment, shortcut_alarm
from gsa_utils.probing.activations import frozen_activations
from gsa_utils.probing.network import LAYERS, network
from gsa_utils.study.recipe import RECTANGLES
from gsa_utils.study.trial import shifted

DRAWS = 20
SETS = {"kermany-chest": 64, "nih-chest": 64, "london-faces": 64, "pneumoniamnist": 28, "breastmnist": 28}


def alignments(name: str) -> list[dict[str, object]]:
    whole, rows = load_whole(name, SETS[name], 300), []
    side = whole.images.shape[-1]
    for share in (0, 16, 8, 4):
        for draw in range(DRAWS if share else 1):
            moved = shifted(whole, side // share, draw) if share else whole
            found = check_alignment(moved.images, draw)
            of = {
                "what": "alignment",
                "set": name,
                "truth": f"moved by 1/{share}" if share else "as it is",
                "draw": draw,
            }
            rows.append(of | {"verdict": found.verdict, "number": found.offset})
    return rows


def alarm(name: str, draw: int, marked: bool) -> dict[str, object]:
    phantom = make_phantom(name, 200, 64, seed=draw)
    if marked:
        corner = rectangle(phantom, RECTANGLES["corner"]).bool()
        phantom = plant_marker(phantom, corner, 0.3, 0.95, seed=draw)
    maps = _maps(phantom)
    zones = shortcut_alarm(maps)
    of = {"what": "alarm", "set": name, "truth": "marked" if marked else "clean", "draw": draw}
    return of | {"verdict": ", ".join(zones) or "none", "number": max(zones.values(), default=float("nan"))}


def _maps(image_set: ImageSet) -> torch.Tensor:
    layers = {grid: LAYERS[grid] for grid in GRIDS}
    kept = frozen_activations(network(), image_set, list(layers.values()), progress=False)
    x = {grid: kept[layer] for grid, layer in layers.items()}
    return torch.stack([map_of_fold(image_set, x, fold) for fold in range(FOLDS)])


def main(path: Path) -> None:
    table = pd.read_csv(path) if path.exists() else pd.DataFrame(columns=["what", "set", "truth", "draw"])
    done = set(table[["what", "set", "truth", "draw"]].itertuples(index=False, name=None))
    rows = table.to_dict("records")
    for name in SETS:
        if ("alignment", name, "as it is", 0) not in done:
            rows += alignments(name)
    draws = list(product(("phantom-chest", "phantom-retina"), range(DRAWS // 2), (False, True)))
    for name, draw, marked in tqdm(draws, "alarms"):
        if ("alarm", name, "marked" if marked else "clean", draw) not in done:
            rows.append(alarm(name, draw, marked))
            pd.DataFrame(rows).to_csv(path, index=False, float_format="%.4g", lineterminator="\n")
    found = pd.DataFrame(rows)
    print(found.groupby(["what", "set", "truth"])["verdict"].value_counts().to_string())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
