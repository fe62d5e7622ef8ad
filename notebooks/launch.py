"""What a lesson's second cell runs once it has found the course: it installs what is missing and makes all importable.

Colab, Kaggle and the like bring PyTorch and most of the rest in versions of their own. Those stay: what is missing is
installed under the constraint that nothing which is there changes.
"""

import importlib
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path
from tempfile import TemporaryDirectory

COURSE = Path(__file__).resolve().parents[1]
FRONT_END = {"jupyterlab", "papermill"}  # of the course, but a running notebook has one


class Stop(Exception):
    """Ends a cell with one sentence, where a traceback would tell a learner nothing."""

    def _render_traceback_(self) -> list[str]:  # IPython asks an exception for it
        return [str(self)]


def prepare() -> None:
    """Makes `gsa_utils` and what it needs importable here and in processes that are started from here.

    Raises:
        Stop: PyTorch is not there (it is never installed from here), or the rest cannot be had.
    """
    if not _installed("torch"):
        raise Stop(
            "PyTorch is not installed in this Python: choose a kernel or an image that has it, or install it "
            "(pip install torch torchvision), and run this cell again."
        )
    missing = [name for name in needed() if not _installed(name)]
    if missing:
        print(f"installing {', '.join(missing)}; nothing that is installed is changed", flush=True)
        _install([needed()[name] for name in missing])
    _import_from_here()


def needed() -> dict[str, str]:
    """Name -> requirement, of the package and of its widgets."""
    project = tomllib.loads((COURSE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"], *project["optional-dependencies"]["course"]]
    return {name: line for line in lines if (name := re.match(r"[\w.-]+", line)[0]) not in FRONT_END}


def _installed(name: str) -> bool:
    try:
        return bool(version(name))
    except PackageNotFoundError:
        return False


def kept() -> Iterator[str]:
    """A pin for each installed distribution whose name and version pip can read."""
    for found in distributions():
        name, number = found.metadata["Name"], found.version
        if re.fullmatch(r"[\w.-]+", name or "") and re.fullmatch(r"\d[\w.!+]*", number or ""):
            yield f"{name}=={number}"


def _install(requirements: list[str]) -> None:
    with TemporaryDirectory() as folder:
        constraints = Path(folder, "kept.txt")
        constraints.write_text("\n".join(kept()), encoding="utf-8")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--constraint", str(constraints), *requirements]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        said = [line.removeprefix("ERROR: ") for line in done.stderr.splitlines() if line.strip()]
        errors = [line for line in said if not line.startswith(("WARNING", "[notice]"))]
        raise Stop(f"{' '.join(requirements)} could not be installed: {errors[-1] if errors else 'pip says nothing'}")
    importlib.invalidate_caches()


def _import_from_here() -> None:
    """Puts the course first on the path of this process and of those that it starts."""
    folder = str(COURSE)
    for path in (sys.path, searched := os.environ.get("PYTHONPATH", "").split(os.pathsep)):
        if folder not in path:
            path.insert(0, folder)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, searched))
