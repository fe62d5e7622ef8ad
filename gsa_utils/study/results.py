"""The results of a study on disk: runs.csv, one row a run, and maps/, one .npy a map.

Several processes may write into one folder, and any of them may be killed at any moment: under a lock, a run's map is
written first, then the whole table with its row into another file that takes the table's place at once.
"""

import csv
import io
import os
import platform
import re
import subprocess
from collections.abc import Callable, Hashable, Mapping
from dataclasses import MISSING, asdict, fields
from datetime import date
from functools import cache
from pathlib import Path
from types import UnionType
from typing import BinaryIO, get_args

import numpy as np
import pandas as pd
import torch
from filelock import FileLock
from torch import Tensor

from gsa_utils.arguments import bad_value, check_path, text_of
from gsa_utils.study.recipe import Recipe, Result

SCORES = ["accuracy", "auroc", "loss", "valid_auroc", "valid_loss", "seconds", "trained_on", "tested_on"]
SCORES += ["effective_area", "map_auroc", "map_auprc", "map_energy"]
MADE_WITH = ["date", "torch", "python", "device", "threads", "commit"]
COLUMNS = [*(field.name for field in fields(Recipe)), "status", "error", "precision", *SCORES, "map", *MADE_WITH]
# What a table lacks that was written before a setting or a score was added: the setting's default, and no score.
ABSENT = {field.name: field.default for field in fields(Recipe) if field.default is not MISSING} | dict.fromkeys(SCORES)
ABSENT = {name: "" if value is None else str(value) for name, value in ABSENT.items()}
TUNED = ("attention_lr", "weight_decay")  # settings of an arm's trials


def load_results(folder: str | Path) -> dict[Recipe, Result]:
    """All runs of a folder, the failed ones with their `error`; empty where there are none yet.

    Raises:
        ValueError: a runs.csv with other columns, or a row of which this version made nothing; a map that is missing,
            damaged, or not in that folder.
    """
    check_path("folder", folder)
    results = {}
    for row in _rows(_table(Path(folder))):
        recipe = _recipe(row)
        scores = {name: _number(row, name) for name in SCORES if row[name]}
        weight_map = _read_map(Path(folder) / "maps", row["map"]) if row["map"] else None
        versions = {name: row[name] for name in MADE_WITH}
        results[recipe] = Result(recipe, scores, weight_map, row["error"] or None, row["precision"] or None, versions)
    return results


def to_frame(results: Mapping[Recipe, Result]) -> pd.DataFrame:
    """One row a run: its settings, status, error, precision and scores, and when and with what it was made."""
    return pd.DataFrame(map(_cells, results.values()), columns=[name for name in COLUMNS if name != "map"])


def chosen_trials(results: Mapping[Recipe, Result]) -> pd.DataFrame:
    """Of the trials of one arm on one fold, which differ in TUNED alone, the one with the lowest validation loss.

    Returns:
        as `to_frame`, with `repeat` for the seed, an empty `error` as None, and how many `trials` there were. A failed
        trial is chosen only where all of them failed.
    """
    table = to_frame(results).rename(columns={"seed": "repeat"})
    arm = [{"seed": "repeat"}.get(field.name, field.name) for field in fields(Recipe) if field.name not in TUNED]
    groups = table.groupby(arm, dropna=False, sort=False)
    first = table.sort_values("valid_loss", kind="stable", na_position="last").groupby(arm, dropna=False, sort=False)
    return first.head(1).sort_index().assign(trials=groups["dataset"].transform("size"))


def finished(folder: Path) -> set[Recipe]:
    """The recipes that have a row, failed ones too."""
    return set(map(_recipe, _rows(_table(folder))))


def append(folder: Path, result: Result) -> None:
    """Write a result, unless its recipe has a row already.

    Raises:
        OSError: a full disk, say; the table is as it was before.
    """
    (folder / "maps").mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        table = _table(folder)
        if result.recipe in map(_recipe, _rows(table)):
            return
        row = _cells(result) | made_with()
        if result.weight_map is not None:
            row["map"] = f"{result.recipe.key}.npy"
            weights = result.weight_map.numpy().astype(np.float32)
            _replace(folder / "maps" / row["map"], lambda file: np.save(file, weights))
        table.loc[len(table)] = ["" if row.get(name) is None else str(row[name]) for name in COLUMNS]
        _replace(folder / "runs.csv", lambda file: table.to_csv(file, index=False, lineterminator="\n"))


def _cells(result: Result) -> dict[str, object]:
    status = {"status": "failed" if result.error else "done", "error": result.error, "precision": result.precision}
    return asdict(result.recipe) | status | result.scores | result.made_with


def _table(folder: Path) -> pd.DataFrame:
    """The rows of runs.csv with COLUMNS, every cell the text that stands there, so that it is written back the same."""
    path = folder / "runs.csv"
    header, lines = _lines(path)
    if not header:
        return pd.DataFrame(columns=COLUMNS, dtype=str)
    if len(set(header)) < len(header):
        raise bad_value("folder", f"{path} with a column that is there twice", "a table that this version wrote")
    table = pd.DataFrame(lines, columns=header, dtype=str)
    table = table.assign(**{name: value for name, value in ABSENT.items() if name not in table})
    if set(table) != set(COLUMNS):
        differ = sorted(set(table) ^ set(COLUMNS))
        raise bad_value("folder", f"{path} with other columns ({differ})", "a table that this version wrote")
    return table[COLUMNS]


def _lines(path: Path) -> tuple[list[str], list[list[str]]]:
    """The names of the columns and the cells of each row; none where there is no table yet."""
    if path.parent.exists() and not path.parent.is_dir():
        raise bad_value("folder", f"the file {path.parent}", "a folder")
    text = text_of("folder", path) if path.exists() else ""
    whole = text[: text.rfind("\n") + 1]
    try:
        header, *lines = [line for line in csv.reader(io.StringIO(whole)) if line] or [[]]
    except csv.Error as error:
        raise bad_value(
            "folder", f"{path}, which cannot be read ({error})", "a table that this version wrote"
        ) from error
    # Earlier versions added lines, and a copy of a table may end early: a last row that was cut counts as missing.
    if lines and len(lines[-1]) < len(header):
        del lines[-1]
    for number, line in enumerate(lines, 2):
        if len(line) != len(header):
            came = f"{path} with {len(line)} cells in row {number}"
            raise bad_value("folder", came, f"{len(header)}, as its first row has; delete that row to run it again")
    return header, lines


def _read_map(maps: Path, name: str) -> Tensor:
    """(H, W): the map of this name, from a file in this folder and from nowhere else."""
    path = maps / name
    expected = f"the (H, W) map of a run in {maps}; delete the run's row in runs.csv to run it again"
    if not re.fullmatch(r"[\w-]+\.npy", name) or path.resolve().parent != maps.resolve():
        raise bad_value("map", f"{name!r:.80} in {maps.with_name('runs.csv')}", expected)
    try:
        weights = np.load(path, allow_pickle=False)
    except Exception as error:  # NumPy raises half a dozen kinds, few of which name the file
        raise bad_value("map", f"{path}, which cannot be read ({error})", expected) from error
    if not isinstance(weights, np.ndarray) or weights.ndim != 2 or weights.dtype.kind != "f":
        raise bad_value("map", f"{path}, which holds something else", expected)
    return torch.from_numpy(weights)


def _replace(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """At once: whoever reads, and whatever happens meanwhile, there is the old file or the new one.

    The name of the half-written one is fixed, unlike that of `whole_file`: what a kill leaves, the next run overwrites.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)  # which would keep a full disk full
        reason = f"{path} could not be written ({error.strerror or error}); what was there before still is"
        raise OSError(error.errno, reason) from error


def _rows(table: pd.DataFrame) -> list[dict[Hashable, str]]:
    return table.to_dict("records")


def _recipe(row: dict[Hashable, str]) -> Recipe:
    try:
        return Recipe(**{field.name: _value(row[field.name], field.type) for field in fields(Recipe)})
    except (KeyError, ValueError) as error:
        raise _bad_row(row, str(error)) from error


def _number(row: dict[Hashable, str], name: str) -> float:
    try:
        return float(row[name])
    except ValueError as error:
        raise _bad_row(row, f"{name}: got {row[name]!r:.80}, expected a number") from error


def _bad_row(row: dict[Hashable, str], reason: str) -> ValueError:
    run = ", ".join(f"{name} {row[name]}" for name in ("dataset", "attention", "backbone", "seed"))
    return bad_value("folder", f"runs.csv with a run ({run}) that cannot be read ({reason})", "what this version wrote")


def _value(text: str, kind: type | UnionType) -> object:
    """A setting as its field has it: `kind` is str, int, float, bool, or one of these or None."""
    if kind is bool:
        if text not in ("True", "False"):
            raise ValueError(f"got {text!r:.80} where True or False was expected")
        return text == "True"
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
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "threads": str(torch.get_num_threads()),
        "commit": version.strip(),
    }
