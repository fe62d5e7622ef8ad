"""How much weight do the maps of studies 4 and 7 put on a marker, and on its mirror image?

    .venv/bin/python benchmarks/marker_maps.py results/marker results/planted_marker

For each chosen trial of the map at the input, trained on whole images: its mean weight (1 is the average of the map) in
the marker's rectangle and in the same rectangle mirrored left to right. Writes weights.csv into each folder, one row a
map, with the agreement of a planted marker (0 where none was planted). The maps themselves are not committed.
"""

import sys
from pathlib import Path

import pandas as pd

from gsa_utils.evaluation.rankings import rectangle
from gsa_utils.study.recipe import RECTANGLES
from gsa_utils.study.results import chosen_trials, load_results
from gsa_utils.study.trial import images


def weights(folder: Path, name: str) -> pd.DataFrame:
    """The mean weights in the rectangle `name` of RECTANGLES."""
    results, rows = load_results(folder), []
    runs = list(results.items())
    for number in chosen_trials(results).index:
        recipe, result = runs[number]
        if result.error or recipe.attention != "mlp" or recipe.ranking is not None:
            continue
        inside = rectangle(images(recipe)[0], RECTANGLES[name]).bool()  # (H, W)
        found = {"marker": result.weight_map[inside], "mirrored": result.weight_map[inside.flip(1)]}
        of = {"agreement": recipe.marker, "repeat": recipe.seed, "fold": recipe.fold}
        rows.append(of | {place: round(values.mean().item(), 4) for place, values in found.items()})
    return pd.DataFrame(rows).sort_values(["agreement", "repeat", "fold"])


def main(folders: list[Path]) -> None:
    for folder in folders:
        table = weights(folder, "corner" if folder.name == "planted_marker" else "marker")
        table.to_csv(folder / "weights.csv", index=False, lineterminator="\n")
        print(folder, table.groupby("agreement")[["marker", "mirrored"]].agg(["mean", "min", "max"]).round(2), sep="\n")


if __name__ == "__main__":
    main(list(map(Path, sys.argv[1:])))
