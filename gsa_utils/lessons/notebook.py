"""What the notebooks share beside the checks of their exercises: the set-up line, figures with alternative text."""

import base64
import io
import os
import platform

import joblib
import scipy.linalg  # noqa: F401  what is not loaded yet cannot be held to one thread
import torch
from matplotlib.figure import Figure
from threadpoolctl import threadpool_limits

from gsa_utils.plots.style import alternative


def set_up() -> None:
    """Compute with one thread, and print versions, the device, and what it means for the waiting time.

    Two threads make a step 1.5 to 1.9 times as fast where nothing else runs, and 1.7 to 2.1 times as slow beside one
    busy process, for they wait for each other (results/threads.csv); in a container with fewer CPUs than its machine
    they do so for ever. OMP_NUM_THREADS in the environment asks for more, up to the CPUs that may be used.
    """
    import gsa_utils

    usable = joblib.cpu_count()  # knows affinity and cgroup quotas
    asked = os.environ.get("OMP_NUM_THREADS", "1")
    threads = min(int(asked), usable) if asked.isdecimal() and int(asked) else 1
    torch.set_num_threads(threads)
    threadpool_limits(threads)  # NumPy's and SciPy's
    # Not accelerate's Accelerator: once there is one, notebook_launcher can start no processes in this notebook.
    device = torch.accelerator.current_accelerator().type if torch.accelerator.is_available() else "cpu"
    waiting = {
        "cpu": "the times at the top of each lesson were measured on two CPU cores",
        "cuda": "no lesson was timed on a GPU: expect fewer minutes than stated",
        "mps": "no lesson was timed on Apple's GPU: expect other minutes than stated",
    }
    print(f"gsa_utils {gsa_utils.__version__}, torch {torch.__version__}, Python {platform.python_version()}")
    print(f"device: {device}; {waiting.get(device, 'not timed')}")
    print(f"CPU threads: {threads} (of {usable} CPUs)")


def show(figure: Figure, alt: str) -> None:
    """Display a figure as a PNG, with the text that stands in for it where it cannot be seen."""
    from IPython.display import display

    png = io.BytesIO()
    figure.savefig(png, format="png", bbox_inches="tight")
    data = {"image/png": base64.b64encode(png.getvalue()).decode(), "text/plain": alt}
    display(data, metadata=alternative(alt), raw=True)
