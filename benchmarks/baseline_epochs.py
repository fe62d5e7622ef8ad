"""Which epoch should a baseline keep? The runs of results/baseline on BreastMNIST again, scored after every epoch.

    .venv/bin/python benchmarks/baseline_epochs.py

The table says, per seed and epoch, what the validation images say and what the test images would have said; lesson 07
uses it to explain why its baseline on BreastMNIST differs from the published one. Nothing else is chosen by it. Writes
results/baseline/epochs.csv (a quarter of an hour on two cores); a seed that is there already is not run again.
"""

import csv
from pathlib import Path

import joblib

from gsa_utils.evaluation.scores import evaluate
from gsa_utils.study import Recipe, load_grid
from gsa_utils.study.trial import build, images
from gsa_utils.training.loop import TrainingRun, fit

FOLDER = Path(__file__).resolve().parents[1] / "results" / "baseline"
TABLE = FOLDER / "epochs.csv"
COLUMNS = ["seed", "epoch", "valid_loss", "valid_auroc", "test_auroc", "test_accuracy"]


def scored(recipe: Recipe) -> list[dict[str, float]]:
    """One row an epoch of the run that this recipe describes."""
    train, valid, test = images(recipe)
    model, _ = build(recipe, train)
    tested = []

    def score(run: TrainingRun, _: int) -> None:
        tested.append(evaluate(run.model, test))

    run = fit(model, train, valid, **recipe.fit_settings, progress=False, callbacks=[score])
    return [
        {
            "seed": recipe.seed,
            "epoch": row["epoch"],
            "valid_loss": row["valid_loss"],
            "valid_auroc": row["valid_auroc"],
            "test_auroc": scores["auroc"],
            "test_accuracy": scores["accuracy"],
        }
        for row, scores in zip(run.history, tested, strict=True)
    ]


def main() -> None:
    recipes = [recipe for recipe in load_grid(FOLDER / "grid.toml") if recipe.dataset == "breastmnist"]
    rows = list(csv.DictReader(TABLE.open(newline=""))) if TABLE.exists() else []
    missing = [recipe for recipe in recipes if str(recipe.seed) not in {row["seed"] for row in rows}]
    with joblib.parallel_config("loky", inner_max_num_threads=1):
        for found in joblib.Parallel(n_jobs=-1, return_as="generator")(map(joblib.delayed(scored), missing)):
            rows += found
            with TABLE.open("w", newline="") as file:
                table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
                table.writeheader()
                table.writerows(rows)
            print(f"seed {found[0]['seed']}: {len(found)} epochs", flush=True)


if __name__ == "__main__":
    main()
