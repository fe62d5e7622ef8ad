"""What the set-up cell of every lesson does to the process."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import sys
import torch
from gsa_utils import lessons

lessons.set_up()
print("torch has", torch.get_num_threads())
print("scikit-learn loaded:", "sklearn" in sys.modules)

import scipy.stats
from threadpoolctl import threadpool_info

print("BLAS has", {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"})
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no processor affinity on this system")
@pytest.mark.parametrize(("cpus", "asked", "threads"), [(1, None, 1), (2, None, 1), (1, "8", 1), (2, "2", 2)])
def test_one_thread_unless_more_are_asked_for_and_never_more_than_cpus_may_be_used(cpus, asked, threads):
    """Slow (4 s each), as the threads of a process are what is tested: it has to load torch."""
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < cpus:
        pytest.skip(f"{len(usable)} CPU may be used here, {cpus} are needed")
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    said = subprocess.run(
        [sys.executable, "-c", f"import os\nos.sched_setaffinity(0, {usable[:cpus]})\n{PROGRAM}"],
        env=environment | ({"OMP_NUM_THREADS": asked} if asked else {}),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert f"CPU threads: {threads} (of {cpus} CPUs)" in said
    assert f"torch has {threads}" in said
    assert f"BLAS has {{{threads}}}" in said
    assert "scikit-learn loaded: False" in said, "it takes 70 MB, and a lesson may do without"
