"""The study of frozen networks: which pooling reads most from their activations? results/PROTOCOL.md says why and what.

    python -m gsa_utils.probing.study results/frozen
    python -m gsa_utils.probing.study results/frozen_patches --patches

train every head that the table there does not hold yet: one row a cell, written when the cell is done, so an
interrupted study goes on where it stopped. The network's activations are computed once and kept in build/activations.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import joblib
import numpy as np
import pandas as pd
import torch
from filelock import FileLock
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from gsa_utils.attention import CLASSIFIERS, FreeMap, GlobalSpatialAttention, WeightMap
from gsa_utils.datasets.load import load_whole
from gsa_utils.evaluation.maps import effective_area
from gsa_utils.evaluation.scores import scores
from gsa_utils.files import whole_file
from gsa_utils.images import ImageSet
from gsa_utils.pixels.features import pixel_features
from gsa_utils.planting import patch_region, plant_patch
from gsa_utils.probing.activations import frozen_activations
from gsa_utils.probing.heads import Head, build_head
from gsa_utils.probing.network import LAYERS, network
from gsa_utils.probing.train import fit_head
from gsa_utils.splits import first_side, three_sides
from gsa_utils.study.recipe import CENTRE, FOLDS, VALID
from gsa_utils.study.results import made_with

SETS = {"london-faces": None, "nih-chest": None, "kermany-chest": 1200, "breastmnist": None}  # name -> images at most
SIZES = {"kermany-chest": 224}  # of the images that the network sees, where it is not the set's own
REPEATS = 2  # of the FOLDS
ARMS = ["average", "places", "attentive", "free", "mlp", "mlp-activations", "pixel-cnn"]
NUMBERS = [50, 100, 200, 400]  # training images of the learning curves
# Six settings for every arm: of what weights the places, or else of the only thing that an arm without it can tune.
POOLING_RATES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
DECAYS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
STEPS, RANK = 200, 64
SCORES = ["accuracy", "auroc", "loss"]


class Patch(NamedTuple):
    """What `plant_patch` plants around CENTRE; `area` is a share of the image."""

    strength: float
    area: float
    jitter: int
    decoys: bool
    seed: int


@dataclass(frozen=True)
class Cell:
    """One arm on one fold: `images` limits those that it trains on (None: all), `maps` counts maps or queries.

    Where `area` is not 0, a patch is planted into the set and tells its classes.
    """

    dataset: str
    grid: int
    arm: str
    maps: int
    images: int | None
    repeat: int
    fold: int
    strength: float = 0.0
    area: float = 0.0
    jitter: int = 0
    decoys: bool = False

    @property
    def patch(self) -> Patch | None:
        """What is planted: another patch, and other labels, in each repeat."""
        return Patch(self.strength, self.area, self.jitter, self.decoys, self.repeat) if self.area else None


COLUMNS = [*(field.name for field in fields(Cell)), "setting", "valid_losses", "trained_on", "tested_on", *SCORES]
COLUMNS += ["effective_area", "seconds", "error", "date", "torch", "python", "device", "threads", "commit"]


def all_cells() -> list[Cell]:
    """Every cell of the protocol, whole folds of all arms one after another: an unfinished study compares too."""
    several = [(arm, maps) for arm in ARMS for maps in ((1,) if arm in ("average", "places") else (1, 4))]
    more = [(arm, maps) for arm in ("attentive", "free", "mlp") for maps in (2, 8)]
    curve = [("average", 1), ("attentive", 4), *((arm, maps) for arm in ("free", "mlp") for maps in (1, 4))]
    cells = []
    for repeat in range(REPEATS):
        for fold in range(FOLDS):
            for dataset in SETS:
                at = {28: several + more, 14: several, 7: several, 56: several}
                if dataset == "breastmnist":
                    at = {28: several, 14: several}
                cells += [Cell(dataset, g, *arm, None, repeat, fold) for g, arms in at.items() for arm in arms]
                if dataset != "breastmnist":
                    cells += [Cell(dataset, 28, *arm, n, repeat, fold) for n in NUMBERS for arm in curve]
    return cells


def patch_cells() -> list[Cell]:
    """The same for planted patches: nih-chest at 28 x 28 places, whole folds one after another."""
    arms = [("average", 1), ("attentive", 4), ("free", 4), ("mlp", 1), ("mlp", 4)]
    still = [(0.06, 0.04), (0.12, 0.04), (0.24, 0.04), (0.12, 0.01), (0.12, 0.16)]
    planted = [(250, *patch, 0, False) for patch in still] + [(250, 0.12, 0.04, jitter, False) for jitter in (4, 9, 18)]
    planted += [(100, 0.12, 0.04, 0, False), (250, 0.12, 0.04, 0, True)]
    return [
        Cell("nih-chest", 28, *arm, images, repeat, fold, *patch)
        for repeat in range(REPEATS)
        for fold in range(FOLDS)
        for images, *patch in planted
        for arm in arms
    ]


@lru_cache(maxsize=16)
def load(dataset: str, patch: Patch | None = None) -> ImageSet:
    """The images of a set that SETS allows, whatever its own splits, for the folds say who is tested."""
    whole = load_whole(dataset, SIZES.get(dataset), SETS[dataset])
    if patch is None:
        return whole
    region = patch_region(tuple(whole.images.shape[-2:]), patch.area, CENTRE)
    return plant_patch(whole, region, patch.strength, patch.jitter, patch.decoys, patch.seed)


@lru_cache(maxsize=16)
def activations(dataset: str, grid: int, patch: Patch | None = None) -> Float[Tensor, "n channels h w"]:
    """What the network's layer with this grid gives for all images of the set."""
    folder, device = Path("build/activations"), "cuda" if torch.cuda.is_available() else "cpu"
    # One pass gives all layers; a planted set is looked at in one only.
    layers = list(LAYERS.values()) if patch is None else [LAYERS[grid]]
    found = frozen_activations(network().to(device), load(dataset, patch).images, layers, folder=folder)
    return found[LAYERS[grid]].to(device)


def divide(cell: Cell) -> tuple[Tensor, Tensor, Tensor]:
    """Indices of the images that a cell trains on, is tuned on, and is tested on; nobody is in two of them."""
    data, seed = load(cell.dataset, cell.patch), cell.repeat
    training, tuning, testing = three_sides(data.labels, data.groups, FOLDS, cell.fold, VALID, seed)
    if cell.images is not None and cell.images < len(training):
        groups = None if data.groups is None else data.groups[training]
        training = training[first_side(data.labels[training], groups, cell.images / len(training), seed)]
    return training, tuning, testing


def pooling(cell: Cell, training: Tensor) -> Callable[[], WeightMap | int | str]:
    """Makes, anew for each trial, what weights the places."""
    if cell.arm in ("average", "places"):
        return lambda: cell.arm
    if cell.arm == "attentive":
        return lambda: cell.maps
    if cell.arm == "free":
        return lambda: FreeMap(cell.grid, cell.maps)
    seen = activations(cell.dataset, cell.grid, cell.patch)[training].float()
    images = seen if cell.arm == "mlp-activations" else load(cell.dataset, cell.patch).images[training]
    columns = images.shape[0] * images.shape[1]
    # Images that are smaller than the grid are as fine as they are: the map is resized to the activations.
    size = min(cell.grid, images.shape[-1])
    features = pixel_features(images, min(RANK, columns, size**2), size)
    hidden, kernel_size = CLASSIFIERS[cell.arm.removesuffix("-activations")]
    return lambda: GlobalSpatialAttention(features, hidden, kernel_size, cell.maps)


def run(cell: Cell) -> tuple[dict[str, object], np.ndarray | None]:
    """The row of a cell, and the map of an arm that has just one."""
    started = time.perf_counter()
    data, (training, tuning, testing) = load(cell.dataset, cell.patch), divide(cell)
    x, classes = activations(cell.dataset, cell.grid, cell.patch), len(data.class_names)
    make = pooling(cell, training)
    tunes = "weight_decay" if cell.arm in ("average", "places") else "pooling_lr"
    tried: dict[float, tuple[float, Head]] = {}
    for value in DECAYS if tunes == "weight_decay" else POOLING_RATES:
        torch.manual_seed(1000 * cell.repeat + cell.fold)
        head = build_head(x[training], classes, make())
        try:
            fit_head(head, x[training], data.labels[training], steps=STEPS, seed=cell.repeat, **{tunes: value})
            loss = scores(_logits(head, x[tuning]), data.labels[tuning])["loss"]
        except RuntimeError:  # a rate so high that the loss is no number: a trial like any other, and lost
            loss = float("inf")
        tried[value] = (loss if loss == loss else float("inf"), head)
    best = min(tried, key=lambda value: tried[value][0])
    loss, head = tried[best]
    if loss == float("inf"):
        raise RuntimeError("no trial ended with a number as its loss")
    row = asdict(cell) | scores(_logits(head, x[testing]), data.labels[testing])
    row |= {"setting": best, "valid_losses": " ".join(f"{value:g}:{loss:.4f}" for value, (loss, _) in tried.items())}
    row |= {"trained_on": len(training), "tested_on": len(testing)}
    maps = _maps(head)
    if maps is not None:
        row["effective_area"] = float(np.mean([effective_area(one) for one in maps]))
    row["seconds"] = time.perf_counter() - started
    return row, maps[0].numpy().astype(np.float32) if maps is not None and cell.maps == 1 else None


@torch.inference_mode()
def _logits(head: Head, x: Float[Tensor, "n channels h w"]) -> Float[Tensor, "n classes"]:
    return torch.cat([head(batch) for batch in x.split(128)]).cpu()


def _maps(head: Head) -> Float[Tensor, "maps h w"] | None:
    attention = getattr(head.pooling, "attention", None)
    if attention is None:
        return None
    return attention.resized(attention.map().shape[-2:]).detach().cpu()


def read(folder: Path) -> pd.DataFrame:
    """The table of a folder; empty where there is none yet."""
    path = folder / "runs.csv"
    if not path.exists():
        return pd.DataFrame(columns=COLUMNS)
    return pd.read_csv(
        path, keep_default_na=False, na_values={name: [""] for name in (*SCORES, "effective_area", "images")}
    )


def finished(folder: Path) -> set[Cell]:
    """The cells that have a row, failed ones too."""
    names = [field.name for field in fields(Cell)]
    rows = read(folder)[names].astype(object).where(lambda table: table.notna(), None).to_dict("records")
    return {Cell(**(row | {"images": None if row["images"] is None else int(row["images"])})) for row in rows}


def run_and_write(
    cells: Iterable[Cell], folder: Path, how: Callable[[Cell], tuple[dict[str, object], np.ndarray | None]] = run
) -> int:
    """Runs cells that share their activations, and writes each when it is done."""
    torch.set_num_threads(1)
    done = 0
    for cell in cells:
        try:
            row, weight_map = how(cell)
        except Exception as error:  # a failure belongs in the table, where it can be counted
            row, weight_map = asdict(cell) | {"error": " ".join(f"{type(error).__name__}: {error}".split())}, None
        with FileLock(folder / ".lock"):
            if cell in finished(folder):  # by a process whose study was killed, and which went on
                continue
            if weight_map is not None and cell.images is None and cell.grid == 28:
                (folder / "maps").mkdir(exist_ok=True)
                np.save(folder / "maps" / f"{cell.dataset}-{cell.arm}-{cell.repeat}-{cell.fold}.npy", weight_map)
            table = pd.concat([read(folder), pd.DataFrame([row | made_with()])]).reindex(columns=COLUMNS)
            text = table.astype({"images": "Int64"}).to_csv(index=False, float_format="%.6g", lineterminator="\n")
            with whole_file(folder / "runs.csv") as file:
                file.write(text.encode())
        done += 1
    return done


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m gsa_utils.probing.study", description=__doc__)
    parser.add_argument("folder", type=Path, help="where the table lies")
    parser.add_argument("--jobs", type=int, default=2, help="processes, each with one thread")
    parser.add_argument("--datasets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--patches", action="store_true", help="the cells with planted patches, in place of the others")
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    done = finished(options.folder)
    cells = patch_cells() if options.patches else all_cells()
    missing = [cell for cell in cells if cell.dataset in options.datasets and cell not in done]
    for dataset, patch in dict.fromkeys((cell.dataset, cell.patch) for cell in missing):
        activations(dataset, 28, patch)  # once, before several processes want them
    together: dict[tuple, list[Cell]] = {}
    for cell in missing:
        together.setdefault((cell.repeat, cell.fold, cell.dataset, cell.grid, cell.patch), []).append(cell)
    calls = [joblib.delayed(run_and_write)(cells, options.folder) for cells in together.values()]
    with tqdm(desc="cells", total=len(missing) + len(done), initial=len(done), smoothing=0.02) as bar:
        for ran in joblib.Parallel(n_jobs=options.jobs, return_as="generator_unordered")(calls):
            bar.update(ran)
    failed = read(options.folder)["error"].astype(bool).sum()
    print(f"{len(finished(options.folder))} cells done, {failed} of them failed")
    return 0


if __name__ == "__main__":
    # By its own name: processes of joblib look for what is cached here in the module that they import, not in __main__.
    from gsa_utils.probing.study import main as main_of_the_module

    sys.exit(main_of_the_module())
