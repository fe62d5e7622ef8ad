"""nbval runs the committed notebooks only where their image sets can be had; everything else is pytest's default."""

import os
from functools import cache
from pathlib import Path

import clean
import pytest
import run


@cache
def _missing(notebook: Path) -> str:
    try:
        sets = run.image_sets(clean.parameters(clean.read(notebook)))
    except ValueError:
        return ""  # no usable parameters cell: `run.py check` is what complains
    return "; ".join(f"no {name}: {reason}" for name in sets if (reason := run.why_unavailable(name)))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if any(not (mark.kwargs.get("reason") or mark.args) for mark in item.iter_markers("skip")):
            raise pytest.UsageError(f"{item.nodeid} is skipped without a reason")
        # Where the data must be there (CI), a lesson that lacks it fails instead.
        if item.path.suffix == ".ipynb" and not os.environ.get("GSA_REQUIRE_DATA") and (reason := _missing(item.path)):
            item.add_marker(pytest.mark.skip(reason=reason))
