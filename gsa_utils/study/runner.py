"""A grid of runs -> one table, on all cores or a cluster, resumable after any interruption.

    python -m gsa_utils.study results/06_four_cnns/grid.toml

trains every run of a grid that its folder does not hold yet. In such a file

    rates = "../06_rates"      # optional: each arm's lr is the one with the lowest validation loss in that folder
    [budget]                   # settings of every run, by the names of Recipe
    epochs = 15
    [[grid]]                   # every combination of these; further [[grid]] tables add to it
    dataset = ["pneumoniamnist", "london-faces"]
    attention = ["none", "mlp"]
    seed = [0, 1, 2, 3, 4]
"""

import argparse
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import fields, replace
from itertools import product
from pathlib import Path
from statistics import mean

import joblib
from filelock import FileLock, Timeout
from tqdm.auto import tqdm

from gsa_utils.arguments import bad_value, unknown_name
from gsa_utils.datasets.download import DataUnavailable
from gsa_utils.datasets.load import load_image_set
from gsa_utils.study.recipe import CLASSIFIERS, Recipe, Result, run  # noqa: F401 (lessons take them from here)
from gsa_utils.study.results import append, finished, load_results

SETTINGS = [field.name for field in fields(Recipe)]


def load_grid(path: str | Path) -> list[Recipe]:
    """The recipes that a TOML file describes, without repetitions, in the file's order, but the seeds one by one.

    So an unfinished study holds whole seeds of all arms rather than all seeds of some.

    Raises:
        ValueError: not TOML, an unknown key, an empty list, a setting that Recipe refuses, or `rates` without runs.
    """
    path = Path(path)
    try:
        config = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise bad_value("config", f"{path}: {error}", "a TOML file") from error
    for key in config:
        if key not in ("rates", "budget", "grid"):
            raise unknown_name("config", key, ("rates", "budget", "grid"))
    budget, grids = config.get("budget", {}), config.get("grid", [])
    if not isinstance(budget, dict) or not isinstance(grids, list) or not grids:
        raise bad_value("config", f"{path}: no [[grid]] table", "a [budget] table and one [[grid]] or more")
    recipes = [recipe for grid in grids for recipe in _combinations(budget | grid)]
    if "rates" in config:
        rates = best_rates(load_results(path.parent / config["rates"]))
        recipes = [replace(recipe, lr=_rate(rates, recipe)) for recipe in recipes]
    return sorted(dict.fromkeys(recipes), key=lambda recipe: recipe.seed)


def best_rates(results: Mapping[Recipe, Result]) -> dict[tuple[str, str], float]:
    """(backbone, attention) -> the lr of the least validation loss, in the mean over data sets and seeds."""
    losses = defaultdict(list)
    for recipe, result in results.items():
        losses[recipe.backbone, recipe.attention, recipe.lr].append(result.scores.get("valid_loss", float("inf")))
    best = {}
    for (backbone, attention, lr), values in losses.items():
        arm = backbone, attention
        if arm not in best or mean(values) < mean(losses[*arm, best[arm]]):
            best[arm] = lr
    return best


def run_all(
    recipes: Iterable[Recipe], folder: str | Path | None = None, progress: bool = True, jobs: int | None = None
) -> list[Result]:
    """The results of all recipes, in their order.

    With a folder, each finished run is a row of runs.csv and a map in maps/ there; the same call later reads them and
    runs only what is missing, whatever ended the first one. Several processes, on several machines that share the
    folder, may work on it at once. A run that fails is a row that says why; delete the row to try again.

    Args:
        jobs: processes, -1 for one a core, each with one thread. None leaves it to joblib: one after another here, or
            whatever backend `joblib.parallel_config` has set, a Dask cluster, say.

    Raises:
        DataUnavailable: an image set cannot be had; nothing is run then.
    """
    recipes = list(recipes)
    done = finished(Path(folder)) if folder is not None else set()
    for dataset, size in {(recipe.dataset, recipe.size) for recipe in recipes if recipe not in done}:
        load_image_set(dataset, size=size)
    if folder is None:
        runs = _in_parallel([joblib.delayed(run)(recipe) for recipe in recipes], jobs, "generator")
        return list(tqdm(runs, "runs", len(recipes), disable=not progress))
    folder, wanted = Path(folder), set(recipes)
    with tqdm(desc="runs", total=len(wanted), initial=len(done & wanted), disable=not progress, smoothing=0.05) as bar:
        # First what nobody is at; then what another process had begun, for it may have been killed.
        for wait in (False, True):
            done = finished(folder)
            missing = [recipe for recipe in dict.fromkeys(recipes) if recipe not in done]
            calls = [joblib.delayed(_run_once)(recipe, folder, wait) for recipe in missing]
            for ran in _in_parallel(calls, jobs, "generator_unordered"):
                bar.update(ran)
    results = load_results(folder)
    return [results[recipe] for recipe in recipes]


def _run_once(recipe: Recipe, folder: Path, wait: bool) -> bool:
    """Run and write down, unless that has been done; False where another process is at it and we don't wait."""
    claims = folder / ".claims"
    claims.mkdir(parents=True, exist_ok=True)
    try:
        # The operating system takes the lock back from a process that dies, however it dies.
        with FileLock(claims / recipe.key, timeout=-1 if wait else 0):
            if recipe not in finished(folder):
                append(folder, _run_or_say_why(recipe))
            return True
    except Timeout:
        return False


def _run_or_say_why(recipe: Recipe) -> Result:
    try:
        return run(recipe)
    except DataUnavailable:
        raise
    except Exception as error:  # a failure belongs in the table, where it can be counted
        return Result(recipe, {}, error=" ".join(f"{type(error).__name__}: {error}".split()))


def _in_parallel(calls: list[tuple], jobs: int | None, return_as: str) -> Iterator:
    # One thread a process: more would compete for the same cores, and rounding would depend on their number.
    with joblib.parallel_config("loky", inner_max_num_threads=1) if jobs not in (None, 1) else nullcontext():
        yield from joblib.Parallel(n_jobs=jobs, return_as=return_as)(calls)


def _combinations(settings: dict[str, object]) -> Iterable[Recipe]:
    for name, value in settings.items():
        if name not in SETTINGS:
            raise unknown_name("config", name, SETTINGS)
        if value == []:
            raise bad_value(name, "an empty list", "one value or more")
    lists = [value if isinstance(value, list) else [value] for value in settings.values()]
    return [Recipe(**dict(zip(settings, values, strict=True))) for values in product(*lists)]


def _rate(rates: Mapping[tuple[str, str], float], recipe: Recipe) -> float:
    if (recipe.backbone, recipe.attention) not in rates:
        raise bad_value("rates", f"no run of {recipe.backbone} with {recipe.attention}", "one or more of every arm")
    return rates[recipe.backbone, recipe.attention]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m gsa_utils.study", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", type=Path, help="the grid, a TOML file")
    parser.add_argument("--out", type=Path, help="the folder of the results; by default that of the config")
    parser.add_argument("--jobs", type=int, default=-1, help="processes; by default one a core")
    parser.add_argument("--list", action="store_true", help="say what is missing, and run nothing")
    options = parser.parse_args(arguments)
    out = options.out or options.config.parent
    try:
        recipes = load_grid(options.config)
        missing = [recipe for recipe in recipes if recipe not in finished(out)]
        print(f"{len(recipes)} runs, {len(missing)} of them missing in {out}", flush=True)
        if options.list:
            print(*missing, sep="\n")
            return 0
        results = run_all(recipes, out, jobs=options.jobs)
    except (ValueError, OSError, DataUnavailable) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            f"\ninterrupted with {len(finished(out) & set(recipes))} runs done; the same command goes on",
            file=sys.stderr,
        )
        return 130
    failed = [result for result in results if result.error]
    for result in failed:
        print(f"failed: {result.recipe}: {result.error}", file=sys.stderr)
    print(f"{len(results) - len(failed)} runs done, {len(failed)} failed")
    return 1 if failed else 0
