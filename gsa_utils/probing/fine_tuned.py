"""The study of a network that is fine-tuned: does the gain of the frozen case survive? results/PROTOCOL.md says more.

    python -m gsa_utils.probing.fine_tuned results/fine_tuned

The frozen study's network, cut behind the layer that is read, is trained together with its head. The table has that
study's columns, and a call goes on where the last one stopped.
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from statistics import fmean

import joblib
import torch
from jaxtyping import Float
from torch import Tensor, nn
from tqdm.auto import tqdm

from gsa_utils.attention import WeightMap
from gsa_utils.evaluation.maps import effective_area
from gsa_utils.evaluation.scores import evaluate
from gsa_utils.images import ImageSet
from gsa_utils.probing.heads import build_head
from gsa_utils.probing.network import cut_network
from gsa_utils.probing.study import FOLDS, REPEATS, Cell, divide, finished, load, pooling, run_and_write
from gsa_utils.training.loop import fit
from gsa_utils.training.state import weight_maps

ARMS = [("average", 1), ("mlp", 4), ("attentive", 4)]
RATES, DECAYS = (0.01, 0.05, 0.2), (1e-4, 1e-2, 1.0)  # three trials for every arm
GRID = 28  # places a side behind the last block
SETTINGS = {"epochs": 8, "batch_size": 16, "lr": 3e-3}


def all_cells() -> list[Cell]:
    """Whole folds of all arms one after another."""
    folds = [(repeat, fold) for repeat in range(REPEATS) for fold in range(FOLDS)]
    return [Cell("london-faces", GRID, *arm, None, *fold) for fold in folds for arm in ARMS]


def build(train: ImageSet, make: Callable[[], WeightMap | int | str]) -> nn.Sequential:
    """The cut network and a head, which holds mean and deviation of what the network gives before it is trained."""
    body = cut_network(GRID).eval()
    with torch.no_grad():
        activations: Float[Tensor, "n channels h w"] = torch.cat([body(part) for part in train.to_float().split(32)])
    return nn.Sequential(body, build_head(activations, len(train.class_names), make()))


def run(cell: Cell) -> tuple[dict[str, object], None]:
    """The row of a cell; maps are not kept."""
    started = time.perf_counter()
    data = load(cell.dataset)
    training, tuning, testing = (data.subset(side) for side in divide(cell))
    make, tried = pooling(cell, divide(cell)[0]), {}
    for value in DECAYS if cell.arm == "average" else RATES:
        tuned = {"weight_decay": value} if cell.arm == "average" else {"weight_decay": 0.01, "attention_lr": value}
        torch.manual_seed(1000 * cell.repeat + cell.fold)
        model = build(training, make)
        trained = fit(model, training, tuning, **SETTINGS, **tuned, seed=cell.repeat, progress=False)
        tried[value] = (trained.history[-1]["valid_loss"], trained.model)
    best = min(tried, key=lambda value: tried[value][0])
    model = tried[best][1]
    row = asdict(cell) | evaluate(model, testing)
    row |= {"setting": best, "valid_losses": " ".join(f"{value:g}:{loss:.4f}" for value, (loss, _) in tried.items())}
    row |= {"trained_on": len(training), "tested_on": len(testing)}
    for weight_map in weight_maps(model):
        row["effective_area"] = fmean(map(effective_area, weight_map.map().detach()))
    return row | {"seconds": time.perf_counter() - started}, None


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m gsa_utils.probing.fine_tuned", description=__doc__)
    parser.add_argument("folder", type=Path, help="where the table lies")
    parser.add_argument("--jobs", type=int, default=2, help="processes, each with one thread")
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    done = finished(options.folder)
    missing = [cell for cell in all_cells() if cell not in done]
    calls = [joblib.delayed(run_and_write)([cell], options.folder, run) for cell in missing]
    with tqdm(desc="cells", total=len(missing) + len(done), initial=len(done)) as bar:
        for ran in joblib.Parallel(n_jobs=options.jobs, return_as="generator_unordered")(calls):
            bar.update(ran)
    print(f"{len(finished(options.folder))} cells done")
    return 0


if __name__ == "__main__":
    # By its own name: processes of joblib look for `run` in the module that they import, not in __main__.
    from gsa_utils.probing.fine_tuned import main as main_of_the_module

    sys.exit(main_of_the_module())
