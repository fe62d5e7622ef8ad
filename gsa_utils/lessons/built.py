"""What a learner built in lesson 03, kept as a file that later lessons go on with."""

import ast
import linecache
import os
import runpy
from collections.abc import Callable
from pathlib import Path

from jaxtyping import Float
from torch import Tensor, nn

from gsa_utils.attention import GlobalSpatialAttention, WeightMap
from gsa_utils.lessons.answers import random

KEPT = Path("../build/yours/attention.py")  # from the lessons' folder
HEAD = (
    '"""Exercise 3.1, as you wrote it."""\n\nimport torch\nimport torch.nn.functional as F\nfrom torch import nn\n\n\n'
)
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

    A class that needs more of the notebook than torch, nn and F is not kept, and that is said.
    """
    if not isinstance(attempt, type) or attempt.__module__ != "__main__":
        return
    cell = "".join(linecache.getlines(attempt.map.__code__.co_filename))
    classes = [node for node in ast.parse(cell).body if isinstance(node, ast.ClassDef)]
    (written,) = [node for node in classes if node.name == attempt.__name__]
    try:
        KEPT.parent.mkdir(parents=True, exist_ok=True)
        KEPT.write_text(f"{HEAD}{ast.get_source_segment(cell, written)}\n", encoding="utf-8")
    except OSError as error:
        print(f"Not kept for lesson 04: {error}.")
        return
    try:
        _made()(random(1, 2, 3, 3)).map()
    except NameError as error:
        KEPT.unlink()
        print(f"Not kept for lesson 04: {error} but in this notebook.")
    else:
        print(f"Kept for lesson 04: {os.path.relpath(KEPT, '..')}.")


def built() -> Callable[[Features], WeightMap]:
    """What makes a map of pixel features: the module that was kept, or the package's; and say which."""
    if not KEPT.exists():
        print("the maps are the package's: no module of lesson 03 was kept here")
        return GlobalSpatialAttention
    made = _made()
    print(f"the maps are made by your module of lesson 03, {made.__name__}")
    return lambda features: Built(made(features))


def _made() -> type[nn.Module]:
    """The class in the file."""
    names = runpy.run_path(str(KEPT), run_name="yours")
    (made,) = [value for value in names.values() if isinstance(value, type) and value.__module__ == "yours"]
    return made
