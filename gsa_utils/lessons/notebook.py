"""What the notebooks share beside the checks of their exercises: the set-up line, figures with alternative text."""

import io
import platform

import torch
from matplotlib.figure import Figure


def set_up() -> None:
    """Print versions and the device, and what the device means for the waiting time."""
    import gsa_utils

    # Not accelerate's Accelerator: once there is one, notebook_launcher can start no processes in this notebook.
    device = torch.accelerator.current_accelerator().type if torch.accelerator.is_available() else "cpu"
    waiting = {
        "cpu": "the times at the top of each lesson were measured on two CPU cores",
        "cuda": "no lesson was timed on a GPU: expect fewer minutes than stated",
        "mps": "no lesson was timed on Apple's GPU: expect other minutes than stated",
    }
    threads = f", {torch.get_num_threads()} threads" if device == "cpu" else ""
    print(f"gsa_utils {gsa_utils.__version__}, torch {torch.__version__}, Python {platform.python_version()}")
    print(f"device: {device}{threads}; {waiting.get(device, 'not timed')}")


def show(figure: Figure, alt: str) -> None:
    """Display a figure as a PNG, with the text that stands in for it where it cannot be seen."""
    from IPython.display import Image, display

    png = io.BytesIO()
    figure.savefig(png, format="png", bbox_inches="tight")
    display(Image(png.getvalue(), alt=alt))
