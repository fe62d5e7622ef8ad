"""The one style of all figures: its settings, the colours of lines, and the tables of colours that maps are painted by.

Weights are viridis, differences of weights purple to orange: both readable for colour-blind people. Nothing here or in
the figures touches pyplot, so no figure is left open.
"""

from io import BytesIO
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

STYLE = matplotlib.rc_params_from_file(Path(__file__).with_name("gsa.mplstyle"), use_default_template=False)
SMALL = {"font.size": 11, "axes.labelsize": 11, "legend.fontsize": 11, "lines.linewidth": 1.5}
WEIGHTS = (matplotlib.colormaps["viridis"](np.arange(256))[:, :3] * 255).round().astype(np.uint8)
DIFFERENCES = (matplotlib.colormaps["PuOr"](np.arange(256))[:, :3] * 255).round().astype(np.uint8)

# Decorators of the functions that draw: under the style, and in the inspector's narrow figures with smaller letters.
styled = matplotlib.rc_context(STYLE)
small = matplotlib.rc_context({**STYLE, **SMALL})


def line_colour(number: int) -> str:
    """The style's colour of line `number`; "C0" would be looked up when the figure is drawn, without the style."""
    colours = STYLE["axes.prop_cycle"].by_key()["color"]
    return f"#{colours[number % len(colours)].lstrip('#')}"


def as_file(figure: Figure, kind: str = "png") -> bytes:
    """The figure as a file of this kind: png, svg or pdf."""
    file = BytesIO()
    figure.savefig(file, format=kind)
    return file.getvalue()


def alternative(alt: str) -> dict[str, object]:
    """Metadata of an output with a PNG, whose alternative text VS Code looks for in another place than all others.

    JupyterLab 4 has no place for it, and an output in HTML beside the PNG would be what GitHub shows, where nobody
    vouches for pictures in it: captions below the figures say the same.
    """
    return {"image/png": {"alt": alt}, "vscode_altText": alt}
