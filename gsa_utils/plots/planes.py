"""Scores and differences over two settings at once, a square for each pair of them. Pure functions."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, TwoSlopeNorm
from matplotlib.figure import Figure

from gsa_utils.arguments import bad_value
from gsa_utils.plots.style import styled

Pair = tuple[str, str]  # of a row and a column
Interval = tuple[float, float, float]  # mean, low, high
DARK = 0.65  # of the way to the darkest colour: from there on letters are white


@styled
def planes(
    scores: Mapping[str, Mapping[Pair, float]],
    differences: Mapping[str, Mapping[Pair, Interval]],
    rows: Sequence[str],
    columns: Sequence[str],
    labels: tuple[str, str],
    unit: str,
) -> Figure:
    """Titled planes of scores, in grey from 0.5 to 1, then of differences, all on one scale with zero white.

    A difference is its mean above its interval, in bold where the interval leaves out 0. Orange is below zero, purple
    above. A square that is missing stays empty.

    Args:
        labels: of the rows and of the columns.
        unit: of the differences, beside their colour bar.

    Raises:
        ValueError: no difference to show.
    """
    highest = max((abs(mean) for plane in differences.values() for mean, _, _ in plane.values()), default=0.0)
    if not highest:
        raise bad_value("differences", dict(differences), "at least one difference that is not 0")
    titles = [*scores, *differences]
    figure = Figure(figsize=(1.15 * len(columns) * len(titles) + 2.3, 0.8 * len(rows) + 1.5))
    axes = list(figure.subplots(1, len(titles), sharey=True, squeeze=False)[0])
    for ax, title in zip(axes, titles, strict=True):
        ax.set_title(title)
        ax.set_xlabel(labels[1])
        ax.set_xticks(range(len(columns)), columns)
        ax.set_yticks(range(len(rows)), rows)
        ax.tick_params(length=0)
    axes[0].set_ylabel(labels[0])
    for ax, plane in zip(axes, scores.values(), strict=False):
        _paint(ax, _matrix(plane, rows, columns), "Greys", Normalize(0.5, 1))
        for (row, column), score in plane.items():
            ink = _ink((score - 0.5) / 0.5)
            ax.text(columns.index(column), rows.index(row), f"{score:.2f}", ha="center", va="center", color=ink)
    for ax, plane in zip(axes[len(scores) :], differences.values(), strict=True):
        means = {pair: mean for pair, (mean, _, _) in plane.items()}
        shown = _paint(ax, _matrix(means, rows, columns), "PuOr", TwoSlopeNorm(0, -highest, highest))
        for (row, column), (mean, low, high) in plane.items():
            x, y = columns.index(column), rows.index(row)
            look = {"ha": "center", "color": _ink(abs(mean) / highest)}
            weight = "bold" if low > 0 or high < 0 else "normal"
            ax.text(x, y, f"{mean:+.1f}", va="bottom", weight=weight, **look)
            ax.text(x, y + 0.08, f"{low:+.1f} to {high:+.1f}", va="top", fontsize=9, **look)
    bar = figure.colorbar(shown, ax=axes, shrink=0.85, aspect=14, pad=0.02)
    bar.set_label(unit)
    bar.outline.set_visible(False)
    return figure


@styled
def placed(
    named: Mapping[str, tuple[float, float, float]],
    others: Sequence[tuple[float, float, float]],
    labels: tuple[str, str],
    unit: str,
) -> Figure:
    """Dots at (x, y), x on a logarithmic scale, in the colour of a difference, which stands beside each.

    Args:
        named: large dots with their names.
        others: small ones.
        labels: of the two axes.
        unit: of the differences, beside their colour bar.

    Raises:
        ValueError: no dot, or no difference that is not 0.
    """
    dots = [*named.values(), *others]
    highest = max((abs(difference) for *_, difference in dots), default=0.0)
    if not highest:
        raise bad_value("named", dict(named), "at least one dot whose difference is not 0")
    figure = Figure(figsize=(8, 4.6))
    ax = figure.subplots()
    ax.set(xscale="log", xlabel=labels[0], ylabel=labels[1])
    x, y, differences = zip(*dots, strict=True)
    sizes = [170] * len(named) + [60] * len(others)
    look = {"cmap": "PuOr", "norm": TwoSlopeNorm(0, -highest, highest), "edgecolors": "black", "linewidths": 0.8}
    shown = ax.scatter(x, y, sizes, differences, zorder=2, **look)
    for number, (name, (across, up, difference)) in enumerate(named.items()):  # in turn above and below the dot
        above = number % 2 == 0
        place = {"xytext": (0, 9 if above else -9), "va": "bottom" if above else "top", "ha": "center"}
        ax.annotate(f"{name} {difference:+.1f}", (across, up), textcoords="offset points", fontsize=11, **place)
    for number, (across, up, difference) in enumerate(sorted(others, key=lambda dot: dot[1])):  # right and left in turn
        right = number % 2 == 0
        place = {"xytext": (7 if right else -7, 0), "va": "center", "ha": "left" if right else "right"}
        ax.annotate(f"{difference:+.1f}", (across, up), textcoords="offset points", fontsize=9, **place)
    ax.margins(x=0.2, y=0.12)
    bar = figure.colorbar(shown, ax=ax, shrink=0.85, aspect=14, pad=0.02)
    bar.set_label(unit)
    bar.outline.set_visible(False)
    return figure


def _matrix(plane: Mapping[Pair, float], rows: Sequence[str], columns: Sequence[str]) -> np.ndarray:
    return np.array([[plane.get((row, column), np.nan) for column in columns] for row in rows])


def _paint(ax: Axes, values: np.ndarray, colours: str, norm: Normalize) -> object:
    """Coloured squares with white lines between them."""
    shown = ax.imshow(values, cmap=colours, norm=norm, aspect="auto")
    height, width = values.shape
    ax.hlines(np.arange(1, height) - 0.5, -0.5, width - 0.5, color="white", lw=4)
    ax.vlines(np.arange(1, width) - 0.5, -0.5, height - 0.5, color="white", lw=4)
    ax.spines[:].set_visible(False)
    ax.grid(visible=False)
    return shown


def _ink(way: float) -> str:
    """The colour of letters on a square that is so far on the way to the darkest colour."""
    return "white" if way > DARK else "black"
