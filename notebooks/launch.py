"""What a lesson's second cell runs once it has found the course: it installs what is missing and makes all importable.

Colab, Kaggle and the like bring PyTorch and most of the rest in versions of their own. Those stay: what is missing is
installed under the constraint that nothing which is there changes.
"""

import csv
import importlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path
from tempfile import TemporaryDirectory

COURSE = Path(__file__).resolve().parents[1]
CGROUP = Path("/sys/fs/cgroup")
# Of a container: what it may use, and what it uses (cgroup v2, v1).
LIMITS = {"memory.max": "memory.current", "memory/memory.limit_in_bytes": "memory/memory.usage_in_bytes"}
FRONT_END = {"jupyterlab", "papermill"}  # of the course, but a running notebook has one


class Stop(Exception):
    """Ends a cell with one sentence, where a traceback would tell a learner nothing."""

    def _render_traceback_(self) -> list[str]:  # IPython asks an exception for it
        return [str(self)]


def prepare() -> None:
    """Makes `gsa_utils` and what it needs importable here and in processes that are started from here.

    Raises:
        Stop: PyTorch is not there (it is never installed from here) or too old, or the rest cannot be had.
    """
    if sys.version_info < (3, 11):  # noqa: UP036  a kernel's Python is not ours to choose
        raise Stop(
            f"The course needs Python 3.11 or newer, and this is {sys.version.split()[0]}: choose another kernel."
        )
    if not _installed("torch"):
        raise Stop(
            "PyTorch is not installed in this Python: choose a kernel or an image that has it, or install it "
            "(pip install torch torchvision), and run this cell again."
        )
    old = [f"{name} {version(name)} ({line.removeprefix(name)})" for name, line in needed().items() if _too_old(name)]
    if _too_old("torch"):
        raise Stop(f"PyTorch is too old here: {', '.join(old)}. Choose a kernel or an image with a newer one.")
    if old:
        print(f"older here than what the course was tested with, and left as they are: {', '.join(old)}")
    missing = [name for name in needed() if not _installed(name)]
    if missing:
        print(f"installing {', '.join(missing)}; nothing that is installed is changed", flush=True)
        _install([needed()[name] for name in missing])
    _import_from_here()
    print(memory())


def memory() -> str:
    """What results/lessons.csv and the memory of this machine say about the lessons, in one sentence."""
    with (COURSE / "results/lessons.csv").open(encoding="utf-8") as file:
        peaks = {row["lesson"][:2]: int(row["peak_mb"]) / 1000 for row in csv.DictReader(file)}
    there = max(0, available()) / 1e9
    short = [f"{lesson} ({peak:.1f} GB)" for lesson, peak in peaks.items() if peak > there]
    if not short:
        return f"memory: enough for every lesson, the largest takes {max(peaks.values()):.1f} GB"
    return (
        f"memory: {there:.1f} GB are free, and the kernel may be ended without a word in lessons {', '.join(short)}; "
        "shut down the kernels of other lessons"
    )


def available() -> int:
    """Bytes that this kernel may come to have: its own, and what is free, no more than its container has left."""
    import psutil  # ipykernel brings it

    mine = psutil.Process().memory_info()
    own = mine.rss - getattr(mine, "shared", 0)  # on Linux without the pages of files
    left = [psutil.virtual_memory().available]
    for limit, used in LIMITS.items():
        path = CGROUP / limit
        if path.exists() and (most := path.read_text().strip()).isdecimal():
            stat = dict(line.split() for line in (path.parent / "memory.stat").read_text().splitlines())
            files = int(stat["active_file"]) + int(stat["inactive_file"])  # given back when memory is short
            left.append(int(most) - int((CGROUP / used).read_text()) + files)
    return min(left) + own


def needed() -> dict[str, str]:
    """Name -> requirement, of the package and of its widgets."""
    import tomllib  # new in Python 3.11: an older one is to be told so

    project = tomllib.loads((COURSE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"], *project["optional-dependencies"]["course"]]
    return {name: line for line in lines if (name := re.match(r"[\w.-]+", line)[0]) not in FRONT_END}


def _installed(name: str) -> bool:
    try:
        return bool(version(name))
    except PackageNotFoundError:
        return False


def _too_old(name: str) -> bool:
    from packaging.requirements import Requirement  # ipykernel brings it

    return _installed(name) and not Requirement(needed()[name]).specifier.contains(version(name), prereleases=True)


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
        # The first error says what is wrong, the last where to read about errors; without pip there is neither.
        said = [line for line in done.stderr.splitlines() if line.strip()]
        errors = [line for line in said if line.lower().startswith("error:")] or said or ["pip says nothing"]
        why = re.sub(r"^error: ", "", errors[0], flags=re.IGNORECASE)
        raise Stop(f"{' '.join(requirements)} could not be installed ({why}): install them, and run this cell again.")
    importlib.invalidate_caches()


def _import_from_here() -> None:
    """Puts the course first on the path of this process and of those that it starts.

    Raises:
        Stop: this process has imported another copy.
    """
    imported = getattr(sys.modules.get("gsa_utils"), "__file__", None)
    if imported and Path(imported).resolve().parents[1] != COURSE:
        raise Stop(
            f"Another copy of the course is in use here ({imported}): restart the kernel, and run this cell again."
        )
    folder = str(COURSE)
    sys.path[:] = [folder, *(path for path in sys.path if path != folder)]
    searched = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    os.environ["PYTHONPATH"] = os.pathsep.join([folder, *(path for path in searched if path not in ("", folder))])
