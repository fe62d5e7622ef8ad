"""What the benchmarks share: contenders take turns, ratios within a turn, tables that say what they were made on."""

import csv
import datetime
import platform
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median

import torch

RESULTS = Path(__file__).resolve().parents[1] / "results"


def take_turns(calls: Mapping[str, Callable[[], object]], turns: int) -> dict[str, list[float]]:
    """Seconds of each call in each of `turns` turns, in an order drawn anew each time: nobody has a fixed neighbour."""
    for call in calls.values():  # what happens only once, such as a first allocation, is not measured
        call()
    seconds, order = {name: [] for name in calls}, random.Random(0)
    for _ in range(turns):
        for name in order.sample(list(calls), len(calls)):
            start = time.perf_counter()
            calls[name]()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def ratios(seconds: Sequence[float], base: Sequence[float]) -> tuple[float, float, float]:
    """Median, lower and upper quartile of the ratios of two calls within a turn."""
    each = torch.tensor(seconds) / torch.tensor(base)
    return tuple(each.quantile(torch.tensor([0.5, 0.25, 0.75])).tolist())


def made_with(turns: int, *packages: str) -> dict[str, object]:
    """The columns that say how and on what a row was measured."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", *packages))
    machine = f"{versions}, {platform.machine()}"
    return {"turns": turns, "threads": torch.get_num_threads(), "date": datetime.date.today(), "versions": machine}


def write_table(name: str, rows: Iterable[Mapping[str, object]]) -> None:
    """results/`name`, and the same rows as they come on the screen."""
    table = None
    with (RESULTS / name).open("w", newline="") as file:
        for row in rows:
            if table is None:
                table = csv.DictWriter(file, list(row), lineterminator="\n")
                table.writeheader()
            table.writerow(row)
            print(*(value for key, value in row.items() if key not in ("date", "versions")), sep="  ", flush=True)


def milliseconds(seconds: Sequence[float]) -> str:
    return f"{1000 * median(seconds):.2f}"
