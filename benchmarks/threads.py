"""Do more threads make a training step faster, alone and beside other work?

    .venv/bin/python benchmarks/threads.py      writes results/threads.csv

A step with one thread against a step with one for each CPU, in turns, while 0, 1 or as many processes as there are CPUs
keep a CPU busy each; `ms` is of five steps of the small CNN, of one of ResNet. Run it on a machine that has nothing
else to do.

With --guard: what `lessons.set_up` sets makes a step beside a busy process on every CPU at most three times as long as
alone (it shares a CPU with one of them, so twice is what must be expected), also where it may use a single CPU.
"""

import argparse
import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from statistics import median

import joblib
import torch
from step_cost import SIZES, Size, network, stepper
from turns import compared, keep_memory, made_with, take_turns, write_table

from gsa_utils import build_backbone, lessons

ALLOWED, TURNS = 3.0, 7
SMALL = Size(28, 28, 32)


@contextlib.contextmanager
def busy(processes: int) -> Iterator[None]:
    """So many processes that compute all the time."""
    command = [sys.executable, "-c", "while True: pass"]
    started = [subprocess.Popen(command) for _ in range(processes)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def with_threads(step: Callable[[], None], threads: int, steps: int = 5) -> Callable[[], None]:
    """Several steps: one of a small network is over before a neighbour gets its turn."""

    def call() -> None:
        torch.set_num_threads(threads)
        for _ in range(steps):
            step()

    return call


def measure(name: str, size: Size, busy_processes: int) -> Iterator[dict[str, object]]:
    torch.manual_seed(0)
    step = stepper(build_backbone("small", 1, 2, size.side) if name == "small" else network(size), size)
    with busy(busy_processes):
        steps = 5 if name == "small" else 1
        contenders = {threads: with_threads(step, threads, steps) for threads in (1, joblib.cpu_count())}
        seconds = take_turns(contenders, TURNS)
    for threads, taken in seconds.items():
        row = {"network": name, "image_side": size.side, "batch": size.batch, "busy_processes": busy_processes}
        yield row | {"torch_threads": threads} | compared(taken, seconds[1]) | made_with(TURNS, "torchvision")


def guard() -> None:
    for cpus in (joblib.cpu_count(), 1):
        if hasattr(os, "sched_setaffinity"):  # what taskset does, on Linux; the busy processes inherit it
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cpus])
        lessons.set_up()
        step = stepper(build_backbone("small", 1, 2, SMALL.side), SMALL)
        calls = {"step": with_threads(step, torch.get_num_threads())}
        alone, beside = median(take_turns(calls, TURNS)["step"]), 0.0
        with busy(cpus):
            beside = median(take_turns(calls, TURNS)["step"])
        print(f"{cpus} CPUs: a step beside a busy process on each takes {beside / alone:.2f} times as long as alone")
        if beside > ALLOWED * alone:
            sys.exit(f"more than {ALLOWED} times: do the threads of lessons.set_up wait for each other?")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--guard", action="store_true", help="a tiny version that fails if set_up's threads wait")
    if parser.parse_args().guard:
        return guard()
    keep_memory()
    sizes = [("small", SMALL), ("small", Size(96, 96, 32)), ("resnet", SIZES[0])]
    settings = [(*one, processes) for one in sizes for processes in (0, 1, joblib.cpu_count())]
    write_table("threads.csv", (row for setting in settings for row in measure(*setting)))


if __name__ == "__main__":
    main()
