"""Runs to compare: one recipe a run, the same budget for every arm, and a table that an interrupted study continues."""

import csv
import json
import platform
import subprocess
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import date
from functools import cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from tqdm.auto import tqdm

from gsa_utils.attention import FreeMap, GlobalSpatialAttention, WeightMap, attend
from gsa_utils.backbones import MIDDLE_LAYER, build_backbone
from gsa_utils.datasets import load_image_set
from gsa_utils.errors import bad_value, unknown_name
from gsa_utils.images import ImageSet
from gsa_utils.map_quality import localisation
from gsa_utils.pixels import pixel_features
from gsa_utils.training import evaluate, fit

# hidden width and kernel of the pixel classifiers
CLASSIFIERS = {"logistic": (0, 1), "mlp": (32, 1), "pixel-cnn": (32, 3)}
ATTENTIONS = ["none", "free", *CLASSIFIERS, "region"]  # region: the true one as a constant map, where it is known


@dataclass(frozen=True)
class Recipe:
    """One run. `seed` picks the training images, the initial weights and the order of the images.

    Args:
        attention: one of ATTENTIONS; "region" shows the CNN the true region alone, as a reference.
        at: "input", "middle" (MIDDLE_LAYER of the backbone), or the name of a submodule.
        train_images, valid_images: how many, with the classes' shares kept; None for all.
    """

    dataset: str
    attention: str = "none"
    at: str = "input"
    backbone: str = "small"
    size: int | None = None
    train_images: int | None = None
    valid_images: int | None = None
    epochs: int = 30
    batch_size: int = 32
    lr: float = 5e-4
    attention_lr: float = 1e-2
    rank: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        if self.attention not in ATTENTIONS:
            raise unknown_name("attention", self.attention, ATTENTIONS)

    @property
    def key(self) -> str:
        """A short name of this recipe for files."""
        return f"{zlib.crc32(json.dumps(asdict(self), sort_keys=True).encode()):08x}"


@dataclass(frozen=True)
class Result:
    """The test scores of a run and, where it had attention, its map after training."""

    recipe: Recipe
    scores: dict[str, float]
    weight_map: Float[Tensor, "height width"] | None


def build(recipe: Recipe, train: ImageSet) -> tuple[nn.Module, WeightMap | None]:
    """The untrained model of a recipe, and the weight map in it if there is one."""
    torch.manual_seed(recipe.seed)
    channels, *size = train.images.shape[1:]
    model = build_backbone(recipe.backbone, channels, len(train.class_names), tuple(size))
    if recipe.attention == "none":
        return model, None
    if recipe.attention in CLASSIFIERS:
        hidden, kernel_size = CLASSIFIERS[recipe.attention]
        weight_map = GlobalSpatialAttention(pixel_features(train, recipe.rank), hidden, kernel_size)
    else:
        weight_map = FreeMap(tuple(size))
    if recipe.attention == "region":
        if train.region is None:
            raise bad_value("attention", "'region'", f"a set whose region is known; {train.name} is none")
        weight_map.logit.data = torch.where(train.region, 6.0, -6.0)  # weights of 0.998 and 0.002
        weight_map.freeze()
    place = {"input": None, "middle": MIDDLE_LAYER[recipe.backbone]}.get(recipe.at, recipe.at)
    return attend(model, weight_map, place), weight_map


def run(recipe: Recipe) -> Result:
    """Train on the recipe's images, keep the best validation epoch, and score it on the whole test split."""
    train = _some(load_image_set(recipe.dataset, "train", recipe.size), recipe.train_images, recipe.seed)
    valid = _some(load_image_set(recipe.dataset, "val", recipe.size), recipe.valid_images, recipe.seed)
    model, weight_map = build(recipe, train)
    settings = {name: getattr(recipe, name) for name in ("epochs", "batch_size", "lr", "attention_lr", "seed")}
    trained = fit(model, train, valid, **settings, progress=False)
    scores = evaluate(trained.model, load_image_set(recipe.dataset, "test", recipe.size))
    scores |= {"best_epoch": trained.best_epoch, "seconds": trained.seconds}
    if weight_map is None:
        return Result(recipe, scores, None)
    final = weight_map.map().detach().cpu()
    if train.region is not None:
        scores |= {f"map_{name}": score for name, score in localisation(final, train.region).items()}
    return Result(recipe, scores, final)


def run_all(recipes: Iterable[Recipe], folder: str | Path | None = None, progress: bool = True) -> list[Result]:
    """The results of all recipes, in their order.

    With a folder, each finished run is a row of runs.csv and a file in maps/ there; the same call later reads them and
    runs only what is missing.
    """
    done = load_results(folder) if folder is not None else {}
    results = []
    for recipe in tqdm(list(recipes), "runs", disable=not progress):
        if recipe not in done:
            done[recipe] = run(recipe)
            if folder is not None:
                _append(Path(folder), done[recipe])
        results.append(done[recipe])
    return results


def load_results(folder: str | Path) -> dict[Recipe, Result]:
    """All finished runs of a folder; empty where there are none yet."""
    table = Path(folder) / "runs.csv"
    results = {}
    if not table.exists():
        return results
    with table.open(newline="") as file:
        for row in csv.DictReader(file):
            recipe = Recipe(**{name: json.loads(row[name]) for name in Recipe.__dataclass_fields__})
            path = Path(folder) / "maps" / f"{recipe.key}.npy"
            weight_map = torch.from_numpy(np.load(path)) if path.exists() else None
            results[recipe] = Result(recipe, json.loads(row["scores"]), weight_map)
    return results


def _append(folder: Path, result: Result) -> None:
    (folder / "maps").mkdir(parents=True, exist_ok=True)
    if result.weight_map is not None:
        np.save(folder / "maps" / f"{result.recipe.key}.npy", result.weight_map.numpy().astype(np.float32))
    row = {name: json.dumps(value) for name, value in asdict(result.recipe).items()}
    row |= {"scores": json.dumps(result.scores), **_made_with()}
    table = folder / "runs.csv"
    new = not table.exists()
    # The map first, then the row in one write: a row that can be read has its map.
    with table.open("a", newline="") as file:
        writer = csv.DictWriter(file, row)
        if new:
            writer.writeheader()
        writer.writerow(row)


@cache
def _made_with() -> dict[str, str]:
    command = ["git", "describe", "--always", "--dirty"]
    try:
        version = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent, check=True).stdout
    except (OSError, subprocess.CalledProcessError):  # no git here, or no checkout
        version = "unknown"
    return {
        "date": date.today().isoformat(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "threads": str(torch.get_num_threads()),
        "commit": version.strip(),
    }


def _some(image_set: ImageSet, count: int | None, seed: int) -> ImageSet:
    return image_set if count is None or count >= len(image_set) else image_set.split(count / len(image_set), seed)[0]
