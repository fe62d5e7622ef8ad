"""How concentrated is what separates the classes, and how well aligned are the images?

    .venv/bin/python benchmarks/concentrations.py results/concentrations.csv

For the sets of the frozen study and for the planted patches of study 5: `concentration` and `alignment` of the training
images of one fold, measured before anything is trained. One row a set.
"""

import sys
from pathlib import Path

import pandas as pd
from tqdm.auto import tqdm

from gsa_utils.evaluation.concentration import concentration
from gsa_utils.evaluation.maps import alignment
from gsa_utils.probing.study import all_cells, divide, load, patch_cells


def main(path: Path) -> None:
    cells = [cell for cell in all_cells() + patch_cells() if (cell.repeat, cell.fold, cell.arm) == (0, 0, "average")]
    cells = [cell for cell in cells if cell.grid == 28 and (cell.images is None or cell.area)]
    rows = []
    for cell in tqdm(cells, "sets"):
        train = load(cell.dataset, cell.patch).subset(divide(cell)[0])
        names = ("dataset", "strength", "area", "jitter", "decoys")
        found = concentration(train)
        measured = {"concentrated": found["area"]} | {name: found[name] for name in ("low", "high", "p")}
        row = {name: getattr(cell, name) for name in names} | {"images": len(train)} | measured
        rows.append(row | {"alignment": alignment(train)})
    pd.DataFrame(rows).to_csv(path, index=False, float_format="%.4g", lineterminator="\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
