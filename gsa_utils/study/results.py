"""The results of a study on disk: runs.csv, one row a run, and maps/, one .npy a map.

Several processes may write into one folder, and any of them may be killed at any moment: a row is written whole, under
a lock, after its map, and never twice.
"""

import csv
import io
import os
import platform
import subprocess
from dataclasses import asdict, fields
from datetime import date
from functools import cache
from pathlib import Path
from types import UnionType
from typing import get_args

import numpy as np
import torch
from filelock import FileLock

from gsa_utils.arguments import bad_value
from gsa_utils.study.recipe import Recipe, Result

SCORES = ["accuracy", "auroc", "loss", "valid_auroc", "valid_loss", "best_epoch", "seconds"]
SCORES += ["map_auroc", "map_auprc", "map_energy"]
MADE_WITH = ["date", "torch", "python", "threads", "commit"]
COLUMNS = [*(field.name for field in fields(Recipe)), "status", "error", "precision", *SCORES, "map", *MADE_WITH]

# Of tables made when a recipe asked for a type and not for speed; they are read, and nothing is added to them.
FIRST_COLUMNS = ["precision" if name == "fast" else name for name in COLUMNS if name != "precision"]


def load_results(folder: str | Path) -> dict[Recipe, Result]:
    """All runs of a folder, the failed ones with their `error`; empty where there are none yet.

    Raises:
        ValueError: a runs.csv with other columns.
    """
    results = {}
    for row in _rows(Path(folder)):
        recipe = _recipe(row)
        scores = {name: float(row[name]) for name in SCORES if row[name]}
        weight_map = torch.from_numpy(np.load(Path(folder) / "maps" / row["map"])) if row["map"] else None
        results[recipe] = Result(recipe, scores, weight_map, row["error"] or None, row["precision"] or None)
    return results


def finished(folder: Path) -> set[Recipe]:
    """The recipes that have a row, failed ones too."""
    return {_recipe(row) for row in _rows(folder)}


def append(folder: Path, result: Result) -> None:
    """Write a result, unless its recipe has a row already."""
    (folder / "maps").mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        if result.recipe in finished(folder):
            return
        if result.weight_map is not None:
            np.save(folder / "maps" / f"{result.recipe.key}.npy", result.weight_map.numpy().astype(np.float32))
        row = asdict(result.recipe) | result.scores | made_with()
        row |= {"status": "failed" if result.error else "done", "error": result.error, "precision": result.precision}
        row["map"] = None if result.weight_map is None else f"{result.recipe.key}.npy"
        _append_line(folder / "runs.csv", row)


def _rows(folder: Path) -> list[dict[str, str]]:
    table = folder / "runs.csv"
    if not table.exists():
        return []
    text = table.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]  # a writer that was killed in mid-row leaves a line without an end
    reader = csv.DictReader(io.StringIO(whole))
    rows = list(reader)
    if reader.fieldnames == FIRST_COLUMNS:
        return [{**row, "fast": str(row["precision"] == "bfloat16")} for row in rows]
    if whole and reader.fieldnames != COLUMNS:
        differ = sorted(set(reader.fieldnames or []) ^ set(COLUMNS)) or "in another order"
        raise bad_value("folder", f"{table} with other columns ({differ})", "a table that this version wrote")
    return rows


def _append_line(table: Path, row: dict[str, object]) -> None:
    with table.open("a+b") as file:
        file.seek(0)
        text = file.read()
        if text.startswith(",".join(FIRST_COLUMNS).encode() + b"\n"):
            raise bad_value("folder", f"{table} with an earlier version's columns", "a folder that this version began")
        file.truncate(text.rfind(b"\n") + 1)
        line = io.StringIO()
        writer = csv.DictWriter(line, COLUMNS, lineterminator="\n")
        if b"\n" not in text:
            writer.writeheader()
        writer.writerow(row)
        file.write(line.getvalue().encode())
        file.flush()
        os.fsync(file.fileno())


def _recipe(row: dict[str, str]) -> Recipe:
    return Recipe(**{field.name: _value(row[field.name], field.type) for field in fields(Recipe)})


def _value(text: str, kind: type | UnionType) -> object:
    """A setting as its field has it: `kind` is str, int, float, bool, or one of these or None."""
    if kind is bool:
        return {"True": True, "False": False}[text]
    if isinstance(kind, UnionType):
        return get_args(kind)[0](text) if text else None
    return kind(text)


@cache
def made_with() -> dict[str, str]:
    """The columns that say when and with what a row was made."""
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
