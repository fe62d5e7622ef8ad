"""The recipes of a grid: a TOML file and its combinations."""

import tomllib
from dataclasses import fields
from itertools import product
from pathlib import Path

from gsa_utils.arguments import bad_value, check_path, text_of, unknown_name
from gsa_utils.study.recipe import Recipe

SETTINGS = [field.name for field in fields(Recipe)]


def load_grid(path: str | Path) -> list[Recipe]:
    """The recipes that a TOML file describes, without repetitions, in its order, but the seeds and folds one by one.

    So an unfinished study holds whole folds of all arms rather than all seeds of some.

    Raises:
        ValueError: no UTF-8, not TOML, an unknown key, an empty list, or a setting that Recipe refuses.
        OSError: no such file.
    """
    check_path("path", path)
    path = Path(path)
    try:
        config = tomllib.loads(text_of("config", path))
    except tomllib.TOMLDecodeError as error:
        raise bad_value("config", f"{path}: {error}", "a TOML file") from error
    for key in config:
        if key not in ("budget", "grid"):
            raise unknown_name("config", key, ("budget", "grid"))
    budget, grids = config.get("budget", {}), config.get("grid", [])
    if not isinstance(budget, dict) or not isinstance(grids, list) or not grids:
        raise bad_value("config", f"{path}: no [[grid]] table", "a [budget] table and one [[grid]] or more")
    if not all(isinstance(grid, dict) for grid in grids):
        raise bad_value("config", f"{path}: grid = {grids!r:.60}", "[[grid]] tables of settings")
    recipes = [recipe for grid in grids for recipe in combinations(budget | grid)]
    return sorted(dict.fromkeys(recipes), key=lambda recipe: (recipe.seed, recipe.fold or 0))


def combinations(settings: dict[str, object]) -> list[Recipe]:
    """One recipe for every choice of one value from each list; a setting that is no list is one value.

    Raises:
        ValueError: an unknown name, an empty list, or a setting that Recipe refuses.
    """
    for name, value in settings.items():
        if name not in SETTINGS:
            raise unknown_name("config", name, SETTINGS)
        if value == []:
            raise bad_value(name, "an empty list", "one value or more")
    lists = [value if isinstance(value, list) else [value] for value in settings.values()]
    return [Recipe(**dict(zip(settings, values, strict=True))) for values in product(*lists)]
