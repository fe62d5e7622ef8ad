"""Figures of numbers: curves over epochs, seeds, and comparisons of many runs with their spread. Pure functions."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator, MaxNLocator

from gsa_utils.plots.ends import name_ends
from gsa_utils.plots.overlay import Axis, drawn, of_pixels
from gsa_utils.plots.style import line_colour, small, styled

MARKERS = "osD^vP"
LOSSES = {"training": "train_loss", "validation": "valid_loss"}  # by the names that figures give them


@styled
def curves(lines: Mapping[str, Sequence[float]], ylabel: str, mark: float | None = None) -> Figure:
    """One line for each name over the epochs; `mark` draws a dotted vertical line, at the kept epoch, say."""
    figure = Figure(figsize=(7.5, 3.6))
    draw_curves(figure.subplots(), lines, ylabel, mark)
    return figure


def draw_curves(
    ax: Axes,
    lines: Mapping[str, Sequence[float]],
    ylabel: str = "loss",
    mark: float | None = None,
    ticks: int = 10,
    look: str = "-",
) -> None:
    """Lines over the epochs, counted from 1, into axes: how every figure draws its loss curves."""
    for name, values in lines.items():
        ax.plot(range(1, len(values) + 1), values, look, label=name)
    if mark is not None:
        ax.axvline(mark, color="0.5", linestyle=":")
    ax.xaxis.set_major_locator(MaxNLocator(ticks, integer=True))
    ax.set(xlabel="epoch", ylabel=ylabel)
    name_ends([ax])


def losses(history: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    """The loss curves of a run's history, which has one row an epoch."""
    return {name: [row[key] for row in history] for name, key in LOSSES.items()}


@small
def loss_axis(lines: Mapping[str, Sequence[float]], size: tuple[int, int] = (440, 190)) -> Axis:
    """Loss over the epochs, to be marked by `with_cursor`; `size` in pixels."""
    figure, ax = of_pixels(size)
    draw_curves(ax, lines, ticks=6)
    ax.yaxis.set_major_locator(MaxNLocator(4))
    return drawn(figure, ax)


@styled
def seeds(
    values: Mapping[str, Sequence[float]], label: str, chance: float | None = None, each: str = "seeds"
) -> Figure:
    """One row an arm: a dot for each seed and a line at their mean, so that the spread is seen beside the gain."""
    figure = Figure(figsize=(7.5, 0.55 * len(values) + 1.3))
    ax = figure.subplots()
    for row, scores in enumerate(values.values()):
        ax.plot(scores, [row] * len(scores), "o", color=line_colour(row), alpha=0.6, markersize=9)
        mean = float(np.mean(scores))
        ax.plot([mean, mean], [row - 0.3, row + 0.3], color=line_colour(row), linewidth=3)
        ax.annotate(f"{mean:.3f}", (1.01, row), xycoords=("axes fraction", "data"), va="center")
    if chance is not None:
        ax.axvline(chance, color="0.6", linestyle=":", zorder=0)
    name_rows(ax, list(values), below=0.6)
    ax.set_xlabel(f"{label} (dots: {each}, bar and number: mean)")
    return figure


@styled
def bands(
    panels: Mapping[str, Mapping[str, Float[np.ndarray, "seeds points"]]],
    x: Sequence[float] | Mapping[str, Sequence[float]],
    xlabel: str,
    ylabel: str,
    level: float | None = None,
    log: bool = False,
) -> Figure:
    """Lines with the spread over seeds (lowest to highest) as a band, one panel a set; a dotted `level` for reference.

    The first line is drawn heavy, the last grey: ours, and chance. `x` is one for all panels, or one for each.
    """
    names = _names(panels)
    figure, axes = _side_by_side(panels, (4.3 * len(panels) + 2.6, 4.1), xlabel, ylabel)
    for ax, (title, lines) in zip(axes, panels.items(), strict=True):
        places = list(x[title] if isinstance(x, Mapping) else x)
        for name, values in lines.items():
            place = names.index(name)
            colour = "0.55" if place == len(names) - 1 > 1 else line_colour(place)
            look = {"color": colour, "marker": MARKERS[place % 6], "lw": 1.6 + 1.6 * (not place)}
            ax.plot(places, values.mean(axis=0), label=name, **look)
            ax.fill_between(places, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.12, linewidth=0)
        if level is not None:
            ax.axhline(level, color="0.5", linestyle=":", zorder=0)
        ax.set_xscale("log" if log else "linear")
        ax.minorticks_off()
        ax.set_xticks(places, [f"{value:g}" for value in places])
    name_ends(axes)
    return figure


@styled
def intervals(
    panels: Mapping[str, Mapping[str, Mapping[str, tuple[float, float, float]]]],
    label: str,
    heavy: str,
    limit: float | None = None,
) -> Figure:
    """(mean, low, high) as a dot with a bar, rows by arm, one colour for each kind; the kind `heavy` in black.

    With a limit all panels reach from -limit to limit, and what lies beyond is an arrowhead at the border, a mean there
    with its number; else each panel has its own scale.
    """
    arms = _names(panels)
    kinds = list(dict.fromkeys(kind for rows in panels.values() for row in rows.values() for kind in row))
    inches = 4.2 if len(panels) < 3 else 3.0  # a wide figure is shown smaller, and its letters with it
    figure, axes = _side_by_side(panels, (inches * len(panels) + 2.2, 0.62 * len(arms) + 1.9))
    below = figure.supxlabel(label, fontsize=axes[0].xaxis.label.get_fontsize())
    for ax, rows in zip(axes, panels.values(), strict=True):
        for number, kind in enumerate(kinds):
            found = {place: rows[arm][kind] for place, arm in enumerate(arms) if kind in rows.get(arm, {})}
            y = np.array(list(found)) + 0.7 * ((number + 0.5) / len(kinds) - 0.5)
            mean, low, high = np.array(list(found.values())).reshape(-1, 3).T
            colour, width, size = ("black", 3, 8) if kind == heavy else (line_colour(number), 2, 5)
            look = {"color": colour, "elinewidth": width, "markersize": size}
            dots, _, (bars,) = ax.errorbar(mean, y, xerr=(mean - low, high - mean), fmt="o", **look)
            dots.set_label(kind)  # and not the whole: the legend has room for dots only
            bars.set_capstyle("projecting")
            if limit is not None:
                _beyond(ax, limit, y, found.values(), colour)
        if limit is not None:
            ax.set_xlim(-limit, limit)
        ax.locator_params(axis="x", nbins=5)
        ax.axvline(0, color="0.5", linestyle=":", zorder=0)
    name_rows(axes[0], arms)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper left", ncols=len(kinds))
    figure.draw_without_rendering()  # the layout: where the panels are
    below.set_x((axes[0].get_position().x0 + axes[-1].get_position().x1) / 2)
    return figure


@styled
def differences(
    panels: Mapping[str, Mapping[str, Mapping[str, tuple[float, float, float]]]],
    x: Sequence[str],
    xlabel: str,
    ylabel: str,
) -> Figure:
    """(mean, low, high) over a few ordered values: a dot with a bar, a line through the dots, and a line at zero.

    One panel a set, one colour a name, beside each other so that bars are told apart. `x` names the values in their
    order, each as far from the next; a panel that lacks one leaves its place empty, and the line goes past it.
    """
    names = _names(panels)
    letters = 0.11 * max(map(len, names))  # inches
    figure, axes = _side_by_side(panels, (max(3.2 * len(panels), 6.0) + letters, 4.1), xlabel, ylabel)
    for ax, lines in zip(axes, panels.values(), strict=True):
        ax.axhline(0, color="0.3", lw=1.2, zorder=0)
        for name, points in lines.items():
            number, found = names.index(name), [value for value in x if value in points]
            places = np.array([x.index(value) for value in found]) + 0.6 * ((number + 0.5) / len(names) - 0.5)
            mean, low, high = np.array([points[value] for value in found]).reshape(-1, 3).T
            colour, marker = line_colour(number), MARKERS[number % 6]
            ax.plot(places, mean, color=colour, lw=1.2, alpha=0.6)
            look = {"color": colour, "elinewidth": 2, "markersize": 6}
            dots = ax.errorbar(places, mean, yerr=(mean - low, high - mean), fmt=marker, **look)[0]
            dots.set_label(name)
        ax.set_xticks(range(len(x)), x)
        ax.set_xlim(-0.5, len(x) - 0.5)
    name_ends(axes, at_border=True)
    return figure


def _beyond(
    ax: Axes, limit: float, rows: Iterable[float], found: Iterable[tuple[float, float, float]], colour: str
) -> None:
    """Arrowheads at the border for what lies beyond, and the number of a mean there."""
    for y, (mean, low, high) in zip(rows, found, strict=True):
        for end, side, head in ((low, -1, "<"), (high, 1, ">")):
            if side * end > limit:
                ax.plot([side * limit], [y], head, color=colour, markersize=7, clip_on=False)
            if side * mean > limit:
                place = {"xytext": (-8 * side, 0), "textcoords": "offset points", "ha": "right" if side > 0 else "left"}
                ax.annotate(f"{mean:+.1f}", (side * limit, y), va="center", fontsize=10, color=colour, **place)


@styled
def costs(
    panels: Mapping[str, Mapping[str, Mapping[float, tuple[float, float, float]]]], xlabel: str, ylabel: str
) -> Figure:
    """(median, low, high) over x, which is logarithmic, and so is y where a median is above 2."""
    names = _names(panels)
    highest = max(middle for lines in panels.values() for points in lines.values() for middle, *_ in points.values())
    figure, axes = _side_by_side(panels, (4.3 * len(panels) + 2.6, 4.1), xlabel, ylabel)
    for ax, lines in zip(axes, panels.values(), strict=True):
        for name, points in lines.items():
            x, (middle, low, high) = list(points), zip(*points.values(), strict=True)
            colour, marker = line_colour(names.index(name)), MARKERS[names.index(name) % 6]
            ax.plot(x, middle, color=colour, marker=marker, label=name, lw=2.4)
            ax.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
        ax.set_xscale("log")
        if highest > 2:
            ax.set_yscale("log")
            ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if highest > 10 else (1, 1.2, 1.5, 2, 3, 5)))
            ax.yaxis.set_major_formatter(FormatStrFormatter("%g"))
        ax.minorticks_off()
        for power in ax.get_xticklabels():
            power.set_parse_math(True)  # 10 with an exponent, which no other text of the figures needs
    name_ends(axes)
    return figure


def _names(panels: Mapping[str, Mapping[str, object]]) -> list[str]:
    """What any of the panels shows, each once, in the order of its first."""
    return list(dict.fromkeys(name for shown in panels.values() for name in shown))


def _side_by_side(
    titles: Iterable[str], size: tuple[float, float], xlabel: str = "", ylabel: str = ""
) -> tuple[Figure, list[Axes]]:
    """A figure of this size in inches with titled panels in a row, of one y axis."""
    figure, titles = Figure(figsize=size), list(titles)
    axes = list(figure.subplots(1, len(titles), sharey=True, squeeze=False)[0])
    for ax, title in zip(axes, titles, strict=True):
        ax.set(xlabel=xlabel)
        ax.set_title(title)
    axes[0].set_ylabel(ylabel)
    return figure, axes


def name_rows(ax: Axes, names: Sequence[str], below: float = 0.5) -> None:
    """Rows at y = 0, 1, ... from the top, by name."""
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 1 + below, -below)
