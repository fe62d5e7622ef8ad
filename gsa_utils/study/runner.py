"""All runs of a study, on all cores or a cluster, resumable after any interruption."""

from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path

import joblib
from filelock import FileLock, Timeout
from tqdm.auto import tqdm

from gsa_utils.datasets.download import DataUnavailable
from gsa_utils.datasets.load import load_image_set
from gsa_utils.study.recipe import Recipe, Result
from gsa_utils.study.results import append, finished, load_results
from gsa_utils.study.trial import run


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
