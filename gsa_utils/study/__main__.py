"""A grid of runs -> one table, on all cores or a cluster, resumable after any interruption.

    python -m gsa_utils.study results/marker/grid.toml

trains every run of a grid that its folder does not hold yet. In such a file

    [budget]                   # settings of every run, by the names of Recipe
    epochs = 15
    [[grid]]                   # every combination of these; further [[grid]] tables add to it
    dataset = ["pneumoniamnist", "london-faces"]
    attention = ["none", "mlp"]
    seed = [0, 1, 2, 3, 4]
"""

import argparse
import sys
from pathlib import Path

from gsa_utils.arguments import bad_value
from gsa_utils.datasets.download import DataUnavailable
from gsa_utils.study.grid import load_grid
from gsa_utils.study.recipe import Recipe
from gsa_utils.study.results import finished
from gsa_utils.study.runner import run_all


def _share(recipes: list[Recipe], part: str | None) -> list[Recipe]:
    """Every N-th recipe from the I-th on; tables of shares are put together by appending their rows."""
    if part is None:
        return recipes
    share, _, shares = part.partition("/")
    if not (share.isdecimal() and shares.isdecimal() and 1 <= int(share) <= int(shares)):
        raise bad_value("part", repr(part), "I/N with I from 1 to N")
    return recipes[int(share) - 1 :: int(shares)]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m gsa_utils.study", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", type=Path, help="the grid, a TOML file")
    parser.add_argument("--out", type=Path, help="the folder of the results; by default that of the config")
    parser.add_argument("--jobs", type=int, default=-1, help="processes; by default one a core")
    parser.add_argument(
        "--part", metavar="I/N", help="only the I-th of N shares of the runs, for machines without a common folder"
    )
    parser.add_argument("--list", action="store_true", help="say what is missing, and run nothing")
    options = parser.parse_args(arguments)
    out = options.out or options.config.parent
    try:
        recipes = _share(load_grid(options.config), options.part)
        done = finished(out)
        missing = [recipe for recipe in recipes if recipe not in done]
        print(f"{len(recipes)} runs, {len(missing)} of them missing in {out}", flush=True)
        if options.list:
            print(*missing, sep="\n")
            return 0
        results = run_all(recipes, out, jobs=options.jobs)
    except (ValueError, OSError, DataUnavailable) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            f"\ninterrupted with {len(finished(out) & set(recipes))} runs done; the same command goes on",
            file=sys.stderr,
        )
        return 130
    failed = [result for result in results if result.error]
    for result in failed:
        print(f"failed: {result.recipe}: {result.error}", file=sys.stderr)
    print(f"{len(results) - len(failed)} runs done, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
