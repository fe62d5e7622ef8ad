"""Lesson 06 with small parameters, for the front ends to run; and its panel in this process, to compare with."""

import contextlib
import importlib.util
import io
import os
from pathlib import Path

import front_end
import nbformat
import pytest

LESSON = Path(__file__).parents[2] / "notebooks" / "06_inspect_the_map.ipynb"
SMALL = {"dataset": "phantom-chest", "train_images": 80, "epochs": 4, "seeds": 2, "draws": 2}
# A knock-out as long as on a larger set: a browser on a busy machine has time to cancel it.
SLOW_KNOCK_OUT = """
import time
from gsa_utils.evaluation import knockout

quick = knockout.evaluate
knockout.evaluate = lambda *given: time.sleep(0.1) or quick(*given)
"""


@pytest.fixture(scope="session", autouse=True)
def chromium():
    """A skip that says what is missing, or a failure where the browser must be had, as in CI."""
    missing = [
        what
        for what, found in {
            "Chromium (Debian: apt-get install chromium)": front_end.CHROMIUM,
            "playwright (the test extra)": importlib.util.find_spec("playwright"),
        }.items()
        if not found
    ]
    if missing:
        assert not os.environ.get("GSA_REQUIRE_BROWSER"), f"not found: {' and '.join(missing)}"
        pytest.skip(f"no browser test without {' and '.join(missing)}")


@pytest.fixture(scope="module")
def browser():
    """For pages that need no server of Jupyter's."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=front_end.CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="session")
def lesson(tmp_path_factory):
    """Lesson 06 as a file, with the parameters of SMALL, slow knock-outs, and a marker at the end."""
    notebook = nbformat.read(LESSON, as_version=4)
    # The badges are pictures that the services send; everything else has to do without a network.
    first = notebook.cells[0]
    first.source = "\n".join(line for line in first.source.split("\n") if not line.startswith("[![Open in "))
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        if "parameters" in cell.metadata.get("tags", []):
            cell.source += "".join(f"\n{name} = {value!r}" for name, value in SMALL.items())
    notebook.cells.append(nbformat.v4.new_code_cell(SLOW_KNOCK_OUT + front_end.END))
    path = tmp_path_factory.mktemp("lesson") / "lesson.ipynb"
    nbformat.write(notebook, path)
    return path


@pytest.fixture(scope="session")
def panel(lesson):
    """The panel of the same cells, run in this process."""
    names = {}
    with contextlib.redirect_stdout(io.StringIO()):
        for cell in nbformat.read(lesson, as_version=4).cells[2:-1]:  # without the set-up cell, which may use pip
            if cell.cell_type == "code":
                exec("from gsa_utils import lessons\n" + cell.source, names)
            if "panel" in names:
                return names["panel"]
    raise AssertionError("no cell of the lesson makes a panel")


@pytest.fixture
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("server")
