"""Runs lessons as Colab and Kaggle would: a Python with their packages, an empty folder, no checkout, no gsa_utils.

`make test-platforms` builds such Pythons and calls this for each; it needs a network and 12 GB, so no test calls it. A
copy of the committed course stands in for GitHub: git is told to take one for the other.

    python tests/platforms/imitate.py build/platforms/colab/bin/python --lessons 01 02 03 05 07

Each lesson has a kernel of its own that starts in the platform's folder, as a kernel does after a restart there; the
last one is then run once more in another folder.

With `--memory 1` (root, Linux, cgroup v1) each kernel and what it starts are held to 1 GB, as in a container: beyond it
the system takes back what it can read again from disk, and ends a process where that is not enough.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import papermill

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "notebooks"))
import links  # noqa: E402
import run  # noqa: E402


def frozen(python: Path) -> dict[str, str]:
    """Distribution -> version."""
    listed = [python, "-m", "pip", "list", "--format=json"]
    found = json.loads(subprocess.run(listed, capture_output=True, text=True, check=True).stdout)
    return {one["name"]: one["version"] for one in found}


def held(to: float) -> Path:
    """A new group of processes that may have so many GB together, swapped ones included."""
    group = Path("/sys/fs/cgroup/memory/gsa-course")
    group.mkdir(exist_ok=True)
    for limit in ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes"):
        (group / limit).write_text(str(int(to * 1e9)))
    return group


def imitate(python: Path, scratch: Path, group: Path | None) -> None:
    """Has every kernel from here on run under `python`, without a path to this checkout, with a GitHub of our own."""
    github = scratch / "github"
    subprocess.run(["git", "clone", "--quiet", "--bare", ROOT, github / links.current()], check=True)
    kernel = scratch / "jupyter/kernels/platform"
    kernel.mkdir(parents=True)
    started = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    if group is not None:
        started = ["sh", "-c", f'echo $$ > {group}/tasks; exec "$@"', "sh", *started]
    (kernel / "kernel.json").write_text(json.dumps({"argv": started, "display_name": "platform", "language": "python"}))
    os.environ.pop("PYTHONPATH", None)
    os.environ |= {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.file://{github}/.insteadOf",
        "GIT_CONFIG_VALUE_0": "https://github.com/",
        "JUPYTER_PATH": str(scratch / "jupyter"),
    }


def ran(lesson: Path, folder: Path) -> bool:
    """Whether a copy of the lesson, opened in that folder, runs to its end."""
    folder.mkdir(exist_ok=True)
    copy, start = Path(shutil.copy(lesson, folder)), time.monotonic()
    values = {"kernel_name": "platform", "cwd": folder, "progress_bar": False, "execution_timeout": run.CELL_TIMEOUT}
    try:
        nb = papermill.execute_notebook(copy, None, **values)
    except papermill.PapermillExecutionError as error:
        print(
            f"{folder.name}/{lesson.stem}: FAILED in cell {error.cell_index}: {error.ename}: {error.evalue}", flush=True
        )
        return False
    said = "; ".join(line for output in nb.cells[1].outputs for line in output.get("text", "").splitlines())
    print(f"{folder.name}/{lesson.stem}: {time.monotonic() - start:.0f} s; {said}", flush=True)
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("python", type=Path, help="the platform's interpreter")
    parser.add_argument("--lessons", nargs="+", help="how their names begin (all)")
    parser.add_argument("--memory", type=float, metavar="GB", help="for a kernel and all that it starts")
    options = parser.parse_args()
    python = options.python.absolute()  # not resolved: a venv's interpreter is a link
    before = frozen(python)
    with TemporaryDirectory() as scratch:
        imitate(python, Path(scratch), held(options.memory) if options.memory else None)
        lessons = run.lessons(ROOT / "notebooks", options.lessons)
        good = [ran(lesson, Path(scratch, "content")) for lesson in lessons]
        good.append(ran(lessons[-1], Path(scratch, "elsewhere")))
    after = frozen(python)
    changed = [f"{name} {number} -> {after.get(name)}" for name, number in before.items() if after.get(name) != number]
    print("installed beside what was there:", ", ".join(sorted(after.keys() - before.keys())) or "nothing")
    print("changed:", ", ".join(changed) or "nothing")
    return 0 if all(good) and not changed else 1


if __name__ == "__main__":
    sys.exit(main())
