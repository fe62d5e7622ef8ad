"""Studies: a recipe for a run, a grid of recipes, their results on disk, and arms compared."""

from gsa_utils.study.grid import load_grid
from gsa_utils.study.recipe import CLASSIFIERS, Recipe, Result
from gsa_utils.study.results import load_results, to_frame
from gsa_utils.study.runner import run_all

__all__ = ["CLASSIFIERS", "Recipe", "Result", "load_grid", "load_results", "run_all", "to_frame"]
