"""notebooks/cost.py, on processes that hold so many megabytes."""

import subprocess
import sys
import textwrap
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import cost
import psutil
import pytest

HOLDS = """
    import sys
    held = bytearray(b"x") * ({} * 10**6)
    print("ready", flush=True)
    sys.stdin.read()
"""
MEASURES_30 = """
    import subprocess, sys
    import cost
    with cost.measured(every=0) as peak:
        for _ in range(30):
            subprocess.run([sys.executable, "-S", "-c", ""], check=True)
    print(peak.processes, peak.peak_mb)
"""
HOLDS_200_BESIDE_A_CHILD = """
    import subprocess, sys
    held = bytearray(b"x") * (200 * 10**6)
    subprocess.run([sys.executable, "-c", {!r}])
"""
HOLDS_200_AND_FORKS = """
    import os, sys
    held = bytearray(b"x") * (200 * 10**6)
    forked = os.fork()
    if forked:
        print("ready", flush=True)
    sys.stdin.read()
    if forked:
        os.waitpid(forked, 0)
"""
linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells which pages are shared")


@contextmanager
def running(program, *values):
    """A process that holds by now what it is to hold, and ends afterwards."""
    code = textwrap.dedent(program).format(*map(textwrap.dedent, map(str, values)))
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = psutil.Popen([sys.executable, "-c", code], **pipes)
    try:
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.communicate(timeout=60)


def until(reached):
    end = time.monotonic() + 60
    while not reached() and time.monotonic() < end:
        time.sleep(0.01)


def peak_of(program, *values):
    with ExitStack() as later, cost.measured() as peak:  # ended later: the last look finds it running
        later.enter_context(running(program, *values))
    return peak


@pytest.fixture(scope="module")
def base():
    """Megabytes of a process that holds nothing."""
    return peak_of(HOLDS, 0).peak_mb


def test_a_process_and_its_child_count_together(base):
    peak = peak_of(HOLDS_200_BESIDE_A_CHILD, HOLDS.format(100))
    assert peak.processes == 2
    assert 300 < peak.peak_mb < 300 + 3 * base


@linux
def test_what_a_fork_shares_with_its_parent_counts_once(base):
    peak = peak_of(HOLDS_200_AND_FORKS)
    assert peak.processes == 2
    assert 200 < peak.peak_mb < 200 + 3 * base


@linux
def test_libraries_count_in_full_though_strangers_use_them_too():
    """Here the stranger is pytest, which runs the same Python."""
    with running(HOLDS, 10) as process:
        assert sum(cost.memory([process])) == pytest.approx(process.memory_info().rss, rel=0.02)
        assert process.memory_full_info().pss < 0.95 * process.memory_info().rss


@linux
def test_pages_of_files_count_as_they_are_when_the_processes_have_most_of_their_own(base, tmp_path):
    (tmp_path / "file").write_bytes(bytes(200 * 10**6))
    program = """
        import mmap, sys
        held = bytearray(b"x") * (100 * 10**6)
        print("ready", flush=True)
        sys.stdin.readline()
        del held
        with open({!r}, "rb") as file:
            pages = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
            touched = sum(pages[::4096])
            print("ready", flush=True)
            sys.stdin.read()
    """
    with ExitStack() as later, cost.measured(every=0.01) as peak:
        process = later.enter_context(running(program, tmp_path / "file"))
        until(lambda: peak.peak_mb > 100)
        print(file=process.stdin, flush=True)
        assert process.stdout.readline() == "ready\n"
        assert sum(cost.memory([process])) > 200 * 10**6
    assert 100 < peak.peak_mb < 100 + 2 * base


def test_the_peak_is_kept_and_what_ran_before_or_beside_does_not_count(base):
    with running(HOLDS, 300), cost.measured(every=0.01) as peak:
        with running(HOLDS, 100):
            until(lambda: peak.peak_mb > 100)
        with running(HOLDS, 0):
            time.sleep(0.1)
    assert peak.processes == 1
    assert 100 < peak.peak_mb < 100 + 2 * base


def test_processes_may_end_while_they_are_looked_at():
    with running(HOLDS, 0) as process:
        pass
    assert cost.memory([process]) == (0, 0)
    # One that is caught between fork and exec still has the memory of its parent: a small one, unlike this process.
    program, folder = textwrap.dedent(MEASURES_30), Path(cost.__file__).parent
    said = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, check=True).stdout
    processes, peak_mb = map(float, said.split())
    assert processes == 1
    assert 0 < peak_mb < 100


def test_another_system_tells_what_each_process_has(base, monkeypatch, tmp_path):
    monkeypatch.setattr(cost, "Path", lambda *_: tmp_path)
    with running(HOLDS, 100) as one, running(HOLDS, 0) as other:
        assert cost.memory([one, other]) == (one.memory_info().rss + other.memory_info().rss, 0)
