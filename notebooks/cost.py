"""What a lesson costs: its seconds, and the memory of its kernel and of every process that the kernel starts."""

import csv
import datetime
import os
import platform
import re
import threading
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import joblib
import psutil  # ipykernel brings it along


@dataclass
class Cost:
    """Seconds; the memory of all processes when it was highest, in millions of bytes; the most processes at a time."""

    seconds: float = 0.0
    peak_mb: float = 0.0
    processes: int = 0

    def __str__(self) -> str:
        return f"{self.seconds:.0f} s, {self.peak_mb / 1000:.2f} GB"


@contextmanager
def measured(every: float = 0.2) -> Iterator[Cost]:
    """Looks `every` so many seconds at the processes that are started inside; the cost is there at the end.

    Neither this process nor those that it had started before count. So lessons that run at the same time, each executed
    by a process of its own, are not mixed up. What is allocated and given back between two looks is not seen; the last
    look is at the end.

    The peak is where the processes' own memory was highest, with the pages of files (libraries above all) that they had
    then: those the system can take back at any time. Looked for in the sum, it would now and then be found where
    PyTorch, ending, walks once more through all of CUDA's libraries (120 MB).
    """
    this, cost, left = psutil.Process(), Cost(), threading.Event()
    before = set(this.children())

    def watch() -> None:
        pause, last, highest = every, False, (0, 0)
        while not last:
            last = left.wait(pause)
            start = time.perf_counter()
            kernels = [child for child in this.children() if child not in before]
            inside = [process for kernel in kernels for process in (kernel, *_descendants(kernel))]
            highest = max(highest, memory(inside))
            cost.peak_mb = sum(highest) / 1e6
            cost.processes = max(cost.processes, len(inside))
            # A look takes 20 ms a gigabyte: never more than a tenth of the time of one CPU.
            pause = max(every, 9 * (time.perf_counter() - start))

    thread, start = threading.Thread(target=watch, daemon=True), time.monotonic()
    thread.start()
    try:
        yield cost
    finally:
        cost.seconds = time.monotonic() - start
        left.set()
        thread.join()


def _descendants(process: psutil.Process) -> list[psutil.Process]:
    with suppress(psutil.Error):  # it has ended meanwhile
        return process.children(recursive=True)
    return []


def memory(processes: Iterable[psutil.Process]) -> tuple[int, int]:
    """Bytes that these processes have together, of their own and of files; one that has ended meanwhile has none.

    On Linux what several of them share counts once. PSS divides each page by the number of processes that have it, so
    the sum is right for what a fork shares with its parent. But it also divides the pages of libraries (340 MB with
    PyTorch) by strangers that use the same ones: somebody else's training, or the next lesson. So of files' pages count
    as many as one of the processes has, or the sum of their parts where that is more.

    Elsewhere there is only RSS, all of it their own here, in which what is shared counts for each process anew.
    """
    own = parts = most = 0
    for process in processes:
        with suppress(psutil.Error):
            pages = _pages(process)
            own += pages["Pss"] - pages["Pss_File"]
            parts += pages["Pss_File"]
            most = max(most, pages["RssFile"])
    return own, max(parts, most)


def _pages(process: psutil.Process) -> dict[str, int]:
    folder, text = Path("/proc", str(process.pid)), ""
    with suppress(OSError):  # another system, or it has ended
        text = (folder / "status").read_text() + (folder / "smaps_rollup").read_text()
    pages = {name: 1024 * int(kb) for name, kb in re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE)}
    return pages if "Pss_File" in pages else {"Pss": process.memory_info().rss, "Pss_File": 0, "RssFile": 0}


def keep(table: Path, lesson: str, cost: Cost, lessons: Collection[str]) -> None:
    """Write the row of a lesson anew; the rows of the other `lessons` stay, and those of lessons that are gone go."""
    rows = {}
    if table.exists():
        with table.open(newline="", encoding="utf-8") as file:
            rows = {row["lesson"]: row for row in csv.DictReader(file) if row["lesson"] in lessons}
    measured = {"seconds": f"{cost.seconds:.0f}", "peak_mb": f"{cost.peak_mb:.0f}", "processes": cost.processes}
    rows[lesson] = {"lesson": lesson} | measured | _made_with()
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[lesson]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows[name] for name in sorted(rows))


def drift(table: Path, lesson: str, cost: Cost) -> str:
    """What to say where a lesson's peak is more than a quarter above the table's; "" where it is not."""
    with table.open(newline="", encoding="utf-8") as file:
        (known,) = (float(row["peak_mb"]) for row in csv.DictReader(file) if row["lesson"] == lesson)
    return (
        "" if cost.peak_mb <= 1.25 * known else f"its peak is more than a quarter above the {known:.0f} MB of {table}"
    )


def _made_with() -> dict[str, object]:
    import torch  # not before it is needed: the tests of other rows do without

    return {
        "threads": os.environ.get("OMP_NUM_THREADS", "1"),
        "date": datetime.date.today(),
        "versions": f"torch {torch.__version__}, Python {platform.python_version()}",
        "machine": f"{_processor()}, {joblib.cpu_count()} cores",
    }


def _processor() -> str:
    with suppress(OSError):  # there is such a file on Linux only
        if names := re.findall(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE):
            return names[0]
    return platform.processor() or platform.machine()
