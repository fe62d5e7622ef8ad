"""Runs the lessons. `python notebooks/run.py COMMAND --help` says more.

tutorial  executes them into build/tutorial/ and says what each one found; the lessons themselves stay untouched
refresh   executes them in place with their default parameters and cleans them, for committing; results/lessons.csv
          says what each one took
check     says what keeps a lesson from being committed
"""

import argparse
import ast
import os
import sys
from functools import cache
from pathlib import Path

import clean
import cost
import joblib
from nbformat import NotebookNode

HERE = Path(__file__).resolve().parent
OUT = HERE.parent / "build" / "tutorial"
TABLE = HERE.parent / "results" / "lessons.csv"
CELL_TIMEOUT = 1800  # seconds: papermill itself would wait for ever
STAND_IN = {"london-faces": "phantom-face", "retinamnist": "phantom-retina"}  # the chest stands in for every other set


def lessons(folder: Path, only: list[str] | None = None) -> list[Path]:
    """The lessons of a folder in order; `only` holds the beginnings of their names.

    Raises:
        ValueError: there is none, or none of that name.
    """
    everything = sorted(folder.glob("[0-9][0-9]_*.ipynb"))
    if not everything:
        raise ValueError(f"no lessons in {folder}")
    for start in only or []:
        if not any(path.stem.startswith(start) for path in everything):
            raise ValueError(f"no lesson {start!r}; there are {', '.join(path.stem for path in everything)}")
    return [path for path in everything if path.stem.startswith(tuple(only or [""]))]


def execute(
    path: Path, out: Path | None = None, values: dict | None = None, timeout: int = CELL_TIMEOUT
) -> NotebookNode:
    """Runs one notebook in its own folder under this interpreter; `out` keeps the executed copy, a failed one's too."""
    import papermill
    from traitlets.config import Config

    # A kernel of the same name in the user's own Jupyter folders or $JUPYTER_PATH may belong to another Python.
    own = str(Path(sys.prefix, "share", "jupyter"))
    searched = os.environ.get("JUPYTER_PATH", "").split(os.pathsep)
    if searched[0] != own:
        os.environ["JUPYTER_PATH"] = os.pathsep.join(filter(None, [own, *searched]))
    os.environ.setdefault("GSA_YOURS", "")  # what a learner wrote plays no part, and is not written over
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
    return papermill.execute_notebook(
        str(path),
        str(out) if out else None,
        parameters=values,
        kernel_name="python3",
        cwd=str(path.parent),
        progress_bar=False,
        execution_timeout=timeout,
        iopub_timeout=60,  # the default of 4 s is too short for a busy machine
        config=Config(KernelManager={"transport_encryption": "auto"}),  # else each kernel warns that there is none
    )


def found(nb: NotebookNode) -> list[str]:
    """The lines that the cells tagged `found` print or show."""
    outputs = [output for cell in clean.tagged(nb, "found") for output in cell.get("outputs", [])]
    data = [output.get("data", {}) for output in outputs]
    shown = ["" if "image/png" in d else d.get("text/plain", "") for d in data]
    printed = [output.text if output.get("name") == "stdout" else "" for output in outputs]
    lines = "\n".join(p + s for p, s in zip(printed, shown, strict=True)).splitlines()
    return [line.rstrip() for line in lines if line.strip()]


def image_sets(values: dict) -> list[str]:
    """The image sets that a lesson's parameters name: `dataset = "..."`, `datasets = ["...", ...]`, or both."""
    single = [values["dataset"]] if "dataset" in values else []
    return [*single, *values.get("datasets", [])]


@cache
def why_unavailable(name: str) -> str:
    """Why an image set can be had neither from disk nor from its source, in one line; "" where it can."""
    if name.startswith("phantom-"):
        return ""  # generated: nothing to look for
    from gsa_utils import DataUnavailable, load_image_set

    try:
        load_image_set(name)
    except DataUnavailable as error:
        return " ".join(str(error).split())
    return ""


def stand_ins(lesson: str, values: dict) -> dict:
    """The parameters to pass so that no unavailable image set is asked for; says on the screen what it replaces."""
    swap = {name: name for name in image_sets(values)}
    for name in swap:
        if why_unavailable(name):
            swap[name] = STAND_IN.get(name, "phantom-chest")
            print(f"{lesson} runs on {swap[name]} in place of {name}", flush=True)
    passed = {}
    if "dataset" in values:
        passed["dataset"] = swap[values["dataset"]]
    if "datasets" in values:
        passed["datasets"] = list(dict.fromkeys(swap[name] for name in values["datasets"]))
    return {name: value for name, value in passed.items() if value != values[name]}


def _value(written: str) -> object:
    try:
        return ast.literal_eval(written)
    except (SyntaxError, ValueError):
        return written  # a word on the command line is a string


def tutorial(
    folder: Path, only: list[str] | None, given: dict, out: Path, timeout: int, jobs: int, table: Path | None = None
) -> int:
    """`table`: what the lessons may take; more memory than that and a quarter is a failure."""
    defaults = {path: _defaults(path) for path in lessons(folder, only)}
    for path, values in defaults.items():
        if unknown := [name for name in given if name not in values]:
            valid = ", ".join(values) or "no parameters"
            raise ValueError(f"{path.stem} has no parameter {', '.join(unknown)}; it has {valid}. --only picks lessons")
    # What a person asks for is passed on as it is: the lesson itself then says that it cannot be had.
    kept = {path: {n: v for n, v in values.items() if n not in given} for path, values in defaults.items()}
    passed = {path: stand_ins(path.stem, values) | given for path, values in kept.items()}
    for name in dict.fromkeys(name for values in kept.values() for name in image_sets(values)):
        if reason := why_unavailable(name):
            print(f"no {name}: {reason}", flush=True)
    # Else joblib tells its workers to use as many as there are CPUs for each.
    threads = os.environ.setdefault("OMP_NUM_THREADS", "1")
    print(f"{len(passed)} lessons, {min(jobs, len(passed))} at a time, CPU threads for each: {threads}", flush=True)
    calls = [joblib.delayed(_ran)(path, out / path.name, values, timeout) for path, values in passed.items()]
    results: dict[Path, list[str]] = {}
    failed = 0
    # Processes: kernels started from threads of one process get in each other's way.
    for done in joblib.Parallel(n_jobs=min(jobs, len(calls)), return_as="generator_unordered")(calls):
        target, results[target], ok, took = done
        if table and (drift := cost.drift(table, target.stem, took)):
            results[target], ok = [f"FAILED: {drift}", *results[target]], False
        failed += not ok
        said = "; ".join(results[target]) or "showed nothing in cells tagged `found`"
        print(f"[{len(results)}/{len(passed)}] {target.stem}: {took}, {said}", flush=True)
    print("\nWhat each lesson found, and where to read it (`make lab` opens JupyterLab):")
    for target, lines in sorted(results.items()):
        print(f"\n  {os.path.relpath(target)}", *lines, sep="\n    ")
    print(f"\n{len(passed) - failed} of {len(passed)} lessons ran to the end", flush=True)
    return 1 if failed else 0


def _ran(path: Path, target: Path, values: dict, timeout: int) -> tuple[Path, list[str], bool, cost.Cost]:
    """What a lesson found, or why it failed: whatever stops one must not keep the next from running."""
    with cost.measured() as took:
        try:
            said, ok = found(execute(path, target, values, timeout)), True
        except Exception as error:
            said, ok = [f"FAILED: {_why(error)}"], False
    return target, said, ok, took


def _defaults(path: Path) -> dict:
    try:
        return clean.parameters(clean.read(path))
    except ValueError as error:
        raise ValueError(f"{path.stem}: {error}") from error


def _why(error: Exception) -> str:
    """The error of a failed cell, or what kept the notebook from running (a dead kernel, a timeout), in one line."""
    if hasattr(error, "ename"):
        return f"{error.ename}: {error.evalue}"
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def refresh(folder: Path, only: list[str] | None, timeout: int, table: Path) -> int:
    refused = False
    for path in lessons(folder, only):
        with cost.measured() as took:
            try:
                nb = clean.clean(execute(path, timeout=timeout))
                wrong = clean.problems(nb)
            except Exception as error:  # as above
                wrong = [_why(error)]
        if not wrong:
            # A reader, or a second run after an interruption, meets the old notebook or the new one, never a half.
            part = path.with_suffix(".part")
            part.write_text(clean.text(nb), encoding="utf-8")
            part.replace(path)
            cost.keep(table, path.stem, took, [lesson.stem for lesson in lessons(folder)])
        refused |= bool(wrong)
        said = "REFUSED, left as it was" if wrong else "refreshed"
        print(f"{path.stem}: {said}, {took}", *wrong, sep="\n  ", flush=True)
    return 1 if refused else 0


def check(folder: Path, only: list[str] | None) -> int:
    notebooks = {path.name: clean.read(path) for path in lessons(folder, only)}
    wrong = {name: clean.problems(nb) for name, nb in notebooks.items()}
    for name in clean.set_up_cells_differ(notebooks):
        wrong[name].append(f"the second cell (set-up) differs from that of {next(iter(notebooks))}")
    for name, lines in wrong.items():
        print(f"{name}:", *(lines or ["fit to be committed"]), sep="\n  ")
    return 1 if any(wrong.values()) else 0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("tutorial", "refresh", "check"):
        command = commands.add_parser(name)
        command.add_argument("--only", nargs="+", metavar="03", help="lessons whose names begin like this")
        command.add_argument("--folder", type=Path, default=HERE, help="where the lessons lie")
        if name != "check":
            command.add_argument("--timeout", type=int, default=CELL_TIMEOUT, help="seconds for one cell")
        if name == "refresh":
            command.add_argument("--table", type=Path, default=TABLE, help="where a row says what a lesson took")
        if name == "tutorial":
            command.add_argument(
                "--hold", type=Path, metavar="TABLE", help="fail on a quarter more memory than it says"
            )
            command.add_argument("--out", type=Path, default=OUT, help="for the executed lessons")
            command.add_argument("--jobs", type=int, default=min(2, joblib.cpu_count()), help="lessons at a time")
            command.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), dest="given")
    options = parser.parse_args(arguments)
    folder = options.folder.resolve()
    try:
        if options.command == "check":
            return check(folder, options.only)
        if options.command == "refresh":
            return refresh(folder, options.only, options.timeout, options.table)
        given = {name: _value(value) for name, value in options.given}
        jobs = max(1, options.jobs)
        return tutorial(folder, options.only, given, options.out.resolve(), options.timeout, jobs, options.hold)
    except ValueError as error:  # a mistake on the command line or in a parameters cell, found before anything ran
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
