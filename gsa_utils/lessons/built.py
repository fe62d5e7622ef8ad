"""What a learner built in lesson 03, kept as a file that lesson 04 goes on with."""

import ast
import linecache
import os
import runpy
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from jaxtyping import Float
from torch import Tensor, nn

from gsa_utils.attention import GlobalSpatialAttention, WeightMap
from gsa_utils.lessons.answers import random

HEAD = """import torch
import torch.nn.functional as F
from torch import nn


"""
Features = Float[Tensor, "1 features height width"]


class Built(WeightMap):
    """A module with a `map()` of its own, which the package then resizes, trains and freezes as one of its maps."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def map(self) -> Float[Tensor, "height width"]:
        return self.frozen_map if self.frozen else self.module.map()

    def _drop_source(self) -> None:
        del self.module


def keep(attempt: Callable[..., nn.Module]) -> None:
    """Write the learner's class of exercise 3.1 to a file, and say so; nothing where nobody has begun.

    The file is `yours/attention.py` of the course. Another folder is named by GSA_YOURS in the environment; where that
    is empty, as when lessons are executed without a learner, nothing is kept. A class that can't be built from its own
    lines with torch, nn and F is not kept either, and that is said.
    """
    file = _file()
    if file is None or not isinstance(attempt, type) or attempt.__module__ != "__main__":
        return
    try:
        source = _source(attempt)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{HEAD}{source}\n", encoding="utf-8")
        _made(file)(random(1, 2, 3, 3)).map()
    except Exception as error:  # whatever the learner's lines raise: the lesson runs on
        with suppress(OSError):
            file.unlink()
        print(f"Not kept for lesson 04, which would build it anew from its own lines: {error}")
    else:
        print(f"Kept for lesson 04 in {file.as_posix()}.")


def built() -> Callable[[Features], WeightMap]:
    """What makes a map of pixel features: the module that was kept, or the package's; and say which."""
    file = _file()
    if file is None or not file.exists():
        print("the maps are the package's: no module of lesson 03 was kept here")
        return GlobalSpatialAttention
    made = _made(file)
    print(f"the maps are made by your module of lesson 03, {made.__name__} in {file.as_posix()}")
    return lambda features: Built(made(features))


def _file() -> Path | None:
    folder = os.environ.get("GSA_YOURS", "../yours")  # from the lessons' folder
    return Path(folder, "attention.py") if folder else None


def _source(written: type) -> str:
    """The lines of a class in the cell that defined it; IPython keeps cells where Python looks for files."""
    cell = "".join(linecache.getlines(written.map.__code__.co_filename))
    nodes = [node for node in ast.walk(ast.parse(cell)) if isinstance(node, ast.ClassDef)]
    named = [node for node in nodes if node.name == written.__name__]
    if not named:
        raise ValueError(f"the cell of its map() does not define {written.__name__}")
    return ast.get_source_segment(cell, named[-1])


def _made(file: Path) -> type[nn.Module]:
    """The class in the file."""
    names = runpy.run_path(str(file), run_name="yours")
    return [value for value in names.values() if isinstance(value, type) and value.__module__ == "yours"][-1]
