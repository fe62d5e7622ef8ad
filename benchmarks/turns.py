"""What the benchmarks share: contenders take turns, ratios within a turn, tables that say what they were made on."""

import contextlib
import csv
import ctypes
import datetime
import os
import platform
import random
import re
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median

import torch

RESULTS = Path(__file__).resolve().parents[1] / "results"


def keep_memory() -> None:
    """Keep what was allocated once for the next step (glibc only; elsewhere nothing happens).

    By default glibc hands large blocks back to the system after use, and gets them anew page by page: 16,000 page
    faults and a sixth of the time of a ResNet-18 pass at 224 px, for some contenders and not for others, as it happens.
    """
    trim_threshold, mmap_max = -1, -4  # mallopt's numbers
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).mallopt(mmap_max, 0)
        ctypes.CDLL(None).mallopt(trim_threshold, 2**31 - 1)


def take_turns(calls: Mapping[str, Callable[[], object]], turns: int) -> dict[str, list[float]]:
    """Seconds of each call in each of `turns` turns; nobody has a fixed neighbour."""
    for call in calls.values():  # what happens only once, such as a first allocation, is not measured
        call()
    seconds = {name: [] for name in calls}
    for name in in_turns(calls, turns):
        start = time.perf_counter()
        calls[name]()
        seconds[name].append(time.perf_counter() - start)
    return seconds


def in_turns(names: Iterable[Hashable], turns: int) -> Iterator[Hashable]:
    """All names in each turn, in an order drawn anew."""
    names, order = list(names), random.Random(0)
    for _ in range(turns):
        yield from order.sample(names, len(names))


def ratios(seconds: Sequence[float], base: Sequence[float]) -> tuple[float, float, float]:
    """Median, lower and upper quartile of the ratios of two calls within a turn."""
    each = torch.tensor(seconds) / torch.tensor(base)
    return tuple(each.quantile(torch.tensor([0.5, 0.25, 0.75])).tolist())


def compared(seconds: Sequence[float], base: Sequence[float]) -> dict[str, str]:
    """The columns that say what was measured."""
    middle, low, high = (f"{value:.3f}" for value in ratios(seconds, base))
    return {"ratio": middle, "quartile_low": low, "quartile_high": high, "ms": f"{1000 * median(seconds):.2f}"}


def made_with(turns: int, *packages: str) -> dict[str, object]:
    """The columns that say how and on what a row was measured."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", *packages))
    made = {"turns": turns, "threads": torch.get_num_threads(), "date": datetime.date.today(), "versions": versions}
    return made | {"machine": f"{_processor()}, {os.cpu_count()} cores"}


def _processor() -> str:
    with contextlib.suppress(OSError):  # there is such a file on Linux only
        names = re.findall(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        return names[0] if names else platform.machine()
    return platform.processor() or platform.machine()


def write_table(name: str, rows: Iterable[Mapping[str, object]]) -> None:
    """The rows on the screen as they come, and results/`name` once all are there."""
    found = []
    for row in rows:
        found.append(row)
        print(*(value for key, value in row.items() if key not in made_with(0)), sep="  ", flush=True)
    with (RESULTS / name).open("w", newline="") as file:
        table = csv.DictWriter(file, list(found[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(found)
