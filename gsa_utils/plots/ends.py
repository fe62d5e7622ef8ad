"""Names at the ends of lines, in place of a legend that has to be looked up."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D
from scipy.optimize import isotonic_regression

LETTERS = 1.25  # heights of letters from one name to the next
AWAY = 14  # points from the end of a line to its name
BESIDE = 1.03  # of the width of axes: names at their border


def name_ends(axes: Sequence[Axes], at_border: bool = False) -> None:
    """Writes each line's label right of its end, darker than the line, and joined with it.

    Lines of several axes with one label are named once: in the last axes where it has more than a single point.

    Args:
        axes: of one figure, with their limits; what is added later makes them lower, and names come closer.
        at_border: names stand right of the axes, clear of what is drawn beside the ends, error bars, say.
    """
    axes[0].figure.figure.draw_without_rendering()  # of all subfigures; the layout says how far apart names can stand
    named: dict[str, Line2D] = {}
    for line in (line for ax in axes for line in ax.get_lines() if not str(line.get_label()).startswith("_")):
        name, points = str(line.get_label()), len(_points(line))
        if points > 1 or (points and name not in named):
            named[name] = line
    for ax in axes:
        _name(ax, [line for line in named.values() if line.axes is ax], at_border)


def _points(line: Line2D) -> np.ndarray:
    points = np.asarray(line.get_xydata())
    return points[np.isfinite(points).all(axis=1)]


def _name(ax: Axes, lines: Sequence[Line2D], at_border: bool) -> None:
    # Rising; of lines that end together the first is above.
    lines = sorted(lines, key=lambda line: (_points(line)[-1][1], -lines.index(line)))
    size, pixels = ax.xaxis.label.get_fontsize(), ax.figure.dpi / 72
    joint = {"arrowstyle": "-", "linestyle": ":", "relpos": (0, 0.5), "shrinkA": 2, "shrinkB": 5}
    ends = np.array([ax.transData.transform(_points(line)[-1])[1] for line in lines]) / pixels
    lowest = ax.bbox.y0 / pixels + LETTERS * size / 2  # no name is written over the ticks
    for line, up in zip(lines, apart(ends, LETTERS * size, lowest) - ends, strict=True):
        ax.annotate(
            line.get_label(),
            _points(line)[-1],
            (BESIDE, up) if at_border else (AWAY, up),
            textcoords=("axes fraction" if at_border else "offset points", "offset points"),
            va="center",
            fontsize=size,
            color=0.7 * np.array(to_rgb(line.get_color())),
            arrowprops=joint | {"color": line.get_color()},
        )


def apart(places: np.ndarray, gap: float, lowest: float = -np.inf) -> np.ndarray:
    """The nearest places (least squares) that keep their order and stand at least a gap apart, none below the lowest.

    Args:
        places: in rising order.
    """
    steps = gap * np.arange(len(places))
    return np.maximum(isotonic_regression(places - steps).x, lowest) + steps if len(places) else places
