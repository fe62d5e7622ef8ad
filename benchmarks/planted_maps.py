"""How true are the maps of the phase diagram to the planted patch, and how alike are those of other folds?

    .venv/bin/python benchmarks/planted_maps.py results/phase

For the cells where the patch stands still (250 images, no decoys): of each chosen trial the MLP's map, the
free map, and the mean Grad-CAM of the network without a map; beside them each pixel's F statistic, which needs no
training. Writes maps.csv, one row a map, and stability.csv, the mean rank correlation of the five folds of a repeat.
The maps of all runs would be 44 MB: they are not committed, these tables are.
"""

import sys
from collections import defaultdict
from pathlib import Path

import pandas as pd
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from gsa_utils.evaluation.maps import effective_area, localisation, stability
from gsa_utils.evaluation.rankings import anova
from gsa_utils.study.recipe import Recipe, Result
from gsa_utils.study.results import chosen_trials, load_results
from gsa_utils.study.trial import images

NAMES = {"mlp": "MLP", "free": "free map", "none": "mean Grad-CAM"}
CELL = ["strength", "area"]


def explained(results: dict[Recipe, Result]) -> list[tuple[dict, Float[Tensor, "height width"]]]:
    """(strength, area, repeat, fold, ranking) with its map, for each chosen trial and for F of its training images."""
    found = []
    runs = list(results.items())
    for number in tqdm(chosen_trials(results).index, "maps"):
        recipe, result = runs[number]
        if (
            result.error
            or recipe.attention not in NAMES
            or recipe.jitter
            or recipe.decoys
            or recipe.train_images != 250
        ):
            continue
        of = {"strength": recipe.strength, "area": recipe.area, "repeat": recipe.seed, "fold": recipe.fold}
        found.append((of | {"ranking": NAMES[recipe.attention]}, result.weight_map))
        if recipe.attention == "none":
            found.append((of | {"ranking": "F statistic"}, anova(images(recipe)[0]).float()))
    return found


def main(folder: Path) -> None:
    results = load_results(folder)
    regions = {(recipe.strength, recipe.area): recipe for recipe in results if recipe.area}
    regions = {cell: images(recipe)[0].region for cell, recipe in regions.items()}
    rows, folds = [], defaultdict(list)
    for of, found in explained(results):
        scores = localisation(found, regions[of["strength"], of["area"]])
        rows.append(of | {"auroc": scores["auroc"], "auprc": scores["auprc"], "effective_area": effective_area(found)})
        folds[of["strength"], of["area"], of["repeat"], of["ranking"]].append(found)
    table = pd.DataFrame(rows).sort_values([*CELL, "ranking", "repeat", "fold"])
    table.to_csv(folder / "maps.csv", index=False, float_format="%.4g", lineterminator="\n")
    alike = [(*key, len(maps), stability(maps)) for key, maps in sorted(folds.items()) if len(maps) > 1]
    table = pd.DataFrame(alike, columns=[*CELL, "repeat", "ranking", "folds", "stability"])
    table.to_csv(folder / "stability.csv", index=False, float_format="%.4g", lineterminator="\n")
    print(f"{len(rows)} maps in {folder / 'maps.csv'}, {len(alike)} groups of folds in {folder / 'stability.csv'}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
