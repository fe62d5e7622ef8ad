"""What `.ci/run` tries of a change, with a `make` that only says what it was asked for."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

RUN = Path(__file__).parents[2] / ".ci" / "run"
MAKE = """#!/bin/sh
printf '%s|' "$@" >> "$ASKED"
echo >> "$ASKED"
echo "runs on phantom-chest in place of"
"""
pytestmark = pytest.mark.skipif(os.name == "nt", reason="CI runs in bash, on Linux")
EVERYTHING = ["test|", "bench-guard|", "test-offline|"]


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository with two lessons, a page and a package, and programs that stand in for make and the browser."""
    for name in (
        "notebooks/03_a.ipynb",
        "notebooks/04_b.ipynb",
        "notebooks/run.py",
        "docs/page.md",
        "results/lessons.csv",
        "gsa_utils/map.py",
    ):
        (tmp_path / "course" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "course" / name).write_text("before")
    (tmp_path / "course" / ".gitignore").write_text("build/")
    (tmp_path / "course" / ".ci").mkdir()
    shutil.copy(RUN, tmp_path / "course" / ".ci")
    (tmp_path / "bin").mkdir()
    for name, script in {"make": MAKE, "chromium": "#!/bin/sh\n"}.items():
        (tmp_path / "bin" / name).write_text(script)
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("ASKED", str(tmp_path / "asked"))
    monkeypatch.chdir(tmp_path / "course")
    git("init", "--quiet", "--initial-branch=main")
    commit()
    return tmp_path


def git(*arguments):
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    done = subprocess.run(["git", *who, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def commit():
    git("add", "--all")
    git("commit", "--quiet", "--message", "a change")
    return git("rev-parse", "HEAD")


def tried(repository, base):
    """What was asked of make, but for what is always asked first."""
    environment = os.environ | {"GSA_DATA": "data", "GSA_BASE": base}
    done = subprocess.run([".ci/run"], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    asked = (repository / "asked").read_text().splitlines()
    assert asked[:2] == ["install-tests|", "site|"]
    return asked[2:]


def test_without_a_base_everything_is_tried(repository):
    assert tried(repository, "") == EVERYTHING


@pytest.mark.parametrize("name", ["gsa_utils/map.py", "notebooks/run.py", "docs/../Makefile"])
def test_a_change_of_anything_but_lessons_and_pages_is_tried_as_a_whole(repository, name):
    base = git("rev-parse", "HEAD")
    Path(name).write_text("after")
    Path("docs/page.md").write_text("after")
    commit()
    assert tried(repository, base) == EVERYTHING


def test_a_change_of_lessons_tries_these_and_executes_them(repository):
    base = git("rev-parse", "HEAD")
    for name in ("notebooks/03_a.ipynb", "notebooks/04_b.ipynb", "docs/page.md", "results/lessons.csv"):
        Path(name).write_text("after")
    commit()
    test, executed, offline = tried(repository, base)
    assert offline == "test-offline|"
    assert test.startswith("test|LESSONS=notebooks/03_a.ipynb notebooks/04_b.ipynb |TRY=tests/notebooks tests/browser ")
    assert executed == "tutorial|ARGS=--only  03 04|"


def test_a_change_of_pages_executes_no_lesson(repository):
    base = git("rev-parse", "HEAD")
    Path("docs/page.md").write_text("after")
    commit()
    test, offline = tried(repository, base)
    assert offline == "test-offline|"
    assert test.startswith("test|LESSONS=|TRY=")


def test_what_moves_out_of_the_package_is_no_page(repository):
    base = git("rev-parse", "HEAD")
    git("mv", "gsa_utils/map.py", "docs/map.py")
    commit()
    assert tried(repository, base) == EVERYTHING


def test_a_base_that_is_not_there_tries_everything(repository):
    assert tried(repository, "0" * 40) == EVERYTHING
