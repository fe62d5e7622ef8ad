"""The one style of all figures: its settings, the colours of lines, and the tables of colours that maps are painted by.

Weights are viridis, differences of weights purple to orange: both readable for colour-blind people.
"""

from functools import wraps
from pathlib import Path

import matplotlib.style
import numpy as np

STYLE = Path(__file__).with_name("gsa.mplstyle")
WEIGHTS = (matplotlib.colormaps["viridis"](np.arange(256))[:, :3] * 255).round().astype(np.uint8)
DIFFERENCES = (matplotlib.colormaps["PuOr"](np.arange(256))[:, :3] * 255).round().astype(np.uint8)


def styled(draw):
    """A drawing function under the one style of all figures."""

    @wraps(draw)
    def wrapper(*args, **kwargs):
        with matplotlib.style.context(STYLE):
            return draw(*args, **kwargs)

    return wrapper


def line_colour(number: int) -> str:
    """The style's colour of line `number`; "C0" would be looked up when the figure is drawn, without the style."""
    colours = matplotlib.rcParams["axes.prop_cycle"].by_key()["color"]
    return f"#{colours[number % len(colours)].lstrip('#')}"
