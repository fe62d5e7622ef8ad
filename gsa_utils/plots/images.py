"""Figures of images and maps, as pure functions that take tensors and return a Figure; none of them knows a model.

Images are grey; weight maps are viridis, with a colour bar, whose middle is the average: 1 for a map of weights.
What has a sign is orange to purple, with zero in the middle.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int, Num, Shaped
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import TwoSlopeNorm, to_rgb
from matplotlib.figure import Figure, FigureBase
from matplotlib.image import AxesImage
from torch import Tensor

from gsa_utils.arguments import bad_value
from gsa_utils.plots.overlay import RGB, Axis, Scale, array, drawn, limits_of, of_pixels, overlay, scale_of
from gsa_utils.plots.scores import draw_curves, name_rows
from gsa_utils.plots.style import line_colour, small, styled


@styled
def image_rows(
    rows: Mapping[str, Sequence[Shaped[Tensor, "_ _"]] | Shaped[Tensor, "_ _ _"]],
    titles: Sequence[str] = (),
    limits: tuple[float, float] | None = None,
) -> Figure:
    """Grey images in named rows, `titles` above the columns; `limits` (black, white) for all, or each its own."""
    if not rows or not all(len(row) for row in rows.values()):
        raise bad_value("rows", {name: len(row) for name, row in rows.items()}, "at least one image in each row")
    columns = max(len(row) for row in rows.values())
    figure = Figure(figsize=(1.75 * columns + 1, 1.85 * len(rows) + (0.3 if titles else 0)))
    axes, (low, high) = figure.subplots(len(rows), columns, squeeze=False), limits or (None, None)
    for row, (name, images) in zip(axes, rows.items(), strict=True):
        for ax, image in zip(row, images, strict=False):
            _show(ax, array(image), cmap="gray", vmin=low, vmax=high)
        for ax in row[len(images) :]:
            ax.set_axis_off()
        _name_beside(row[0], name)
    for ax, title in zip(axes[0], titles, strict=False):
        ax.set_title(title, loc="center")
    return figure


@styled
def weight_maps(
    maps: Mapping[str, Float[Tensor, "height width"]],
    image: Num[Tensor, "height width"] | None = None,
    region: Bool[Tensor, "height width"] | None = None,
    shared_scale: bool = True,
    unit: str = "weight",
    scale: Scale | None = None,
) -> Figure:
    """Maps side by side, after the image where one is given, with the outline of the region.

    With `shared_scale` one colour bar for all maps; else one for each. `scale`: the values that have the first, the
    middle and the last colour, for what is no weight; (0, 0.5, 1) for probabilities.
    """
    if not maps:
        raise bad_value("maps", "none", "at least one weight map")
    figure, axes = _panels(maps, image, region, 0.6 if shared_scale else 0.9 * len(maps))
    for ax, (name, weights) in zip(axes, maps.items(), strict=True):
        colours = scale or scale_of(maps.values() if shared_scale else [weights])
        shown = _show(ax, array(weights), region, norm=_norm(colours))
        ax.set_title(name)
        if not shared_scale:
            _colour_bar(figure, shown, [ax], unit)
    if shared_scale:
        _colour_bar(figure, shown, axes, unit)
    return figure


@styled
def map_rows(
    rows: Mapping[str, Sequence[tuple[str, Num[Tensor, "height width"]]]],
    highest: float | None = None,
    region: Bool[Tensor, "height width"] | None = None,
) -> Figure:
    """Named rows of titled pictures: maps, of floats, all on one scale, and grey images, of whole numbers, between.

    The scale ends at `highest`, where that is given: what is higher has the colour of that.
    """
    maps = [values for row in rows.values() for _, values in row if values.is_floating_point()]
    if not maps:
        raise bad_value("rows", {name: len(row) for name, row in rows.items()}, "at least one map, of floats")
    low, middle, high = scale_of(maps)
    norm, columns = _norm((low, middle, highest or high)), max(map(len, rows.values()))
    figure = Figure(figsize=(1.75 * columns + 2, 2.1 * len(rows)))
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for line, (name, row) in zip(axes, rows.items(), strict=True):
        for ax, (title, values) in zip(line, row, strict=False):
            look = {"norm": norm} if values.is_floating_point() else {"cmap": "gray"}
            _show(ax, array(values), region, **look)
            ax.set_title(title, loc="center")
        for ax in line[len(row) :]:
            ax.set_axis_off()
        _name_beside(line[0], name)
    _colour_bar(figure, ScalarMappable(norm), list(axes.flat))
    return figure


@styled
def signed_maps(
    maps: Mapping[str, Float[Tensor, "height width"]],
    image: Num[Tensor, "height width"] | None = None,
    region: Bool[Tensor, "height width"] | None = None,
    unit: str = "",
) -> Figure:
    """What has a sign, side by side, each on its own scale with zero in the middle; after the image where one is given.

    Orange is below zero, purple above.
    """
    if not maps:
        raise bad_value("maps", "none", "at least one map")
    figure, axes = _panels(maps, image, region, 0.9 * len(maps))
    for ax, (name, values) in zip(axes, maps.items(), strict=True):
        most = float(values.abs().max()) or 1.0
        shown = _show(ax, array(values), region, norm=_norm((-most, 0.0, most)), cmap="PuOr")
        ax.set_title(name)
        _colour_bar(figure, shown, [ax], unit)
    return figure


@styled
def data_matrix(groups: Mapping[str, Num[Tensor, "_ columns"]], columns: str) -> Figure:
    """Rows of a matrix as a grey picture, in named groups with a gap between them, all on one scale."""
    if not groups:
        raise bad_value("groups", "none", "at least one group of rows")
    heights = [len(rows) for rows in groups.values()]
    figure = Figure(figsize=(9, 0.13 * sum(heights) + 0.9))
    axes = figure.subplots(len(groups), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    low, high = limits_of(groups.values())
    for ax, (name, rows) in zip(axes, groups.items(), strict=True):
        ax.imshow(array(rows), cmap="gray", aspect="auto", vmin=low, vmax=high)
        _name_beside(ax, name)
        ax.set_yticks([])
    axes[-1].set_xlabel(columns)
    return figure


@styled
def pixel_scatter(
    points: Float[Tensor, "pixels 2"],
    groups: Int[Tensor, "height width"],
    names: Sequence[str],
    axes: tuple[str, str],
    image: Num[Tensor, "height width"] | None = None,
) -> Figure:
    """Pixels as points of a plane, coloured by the group they belong to, beside the image with the same colours."""
    figure = Figure(figsize=(11, 4.6))
    left, right = figure.subplots(1, 2, width_ratios=[1, 1.5])
    colours = ["0.6", *map(line_colour, range(len(names) - 1))]  # the first group is the rest
    flat, points = array(groups).flatten(), array(points)
    painted = np.array([to_rgb(colour) for colour in colours])[array(groups)]
    if image is not None:
        grey = array(image).astype(float)
        grey = (grey - grey.min()) / (np.ptp(grey) or 1)
        painted = 0.35 * painted + 0.65 * grey[..., None]
    _show(left, painted)
    left.set_title("where the pixel lies")
    for number, name in enumerate(names):
        chosen = points[flat == number]
        right.plot(chosen[:, 0], chosen[:, 1], "o", color=colours[number], alpha=0.5, markersize=4, label=name)
    right.set(xlabel=axes[0], ylabel=axes[1], title="what it does across images", aspect="equal")
    right.legend(markerscale=2.5, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


@styled
def contact_sheet(
    image: Num[Tensor, "channels height width"],
    maps: Mapping[str, Float[Tensor, "height width"]],
    thresholds: Sequence[float],
    opacity: float = 0.6,
) -> Figure:
    """Thresholds down, maps across, on one scale of colours: what the inspector shows, for paper."""
    scale = scale_of(maps.values())
    figure = Figure(figsize=(2.1 * len(maps) + 2.3, 2.2 * len(thresholds) + 0.3))
    axes = figure.subplots(len(thresholds), len(maps), squeeze=False)
    for row, threshold in zip(axes, thresholds, strict=True):
        for ax, weights in zip(row, maps.values(), strict=True):
            inside = weights >= threshold
            _show(ax, overlay(image, weights, opacity, scale, inside, side=170))
            ax.set_xlabel(f"{inside.float().mean():.0%} inside", fontsize=12)
        _name_beside(row[0], f"threshold\n{threshold:.2f}")
    for ax, name in zip(axes[0], maps, strict=True):
        ax.set_title(name, loc="center")
    _colour_bar(figure, ScalarMappable(_norm(scale)), list(axes.flat))
    return figure


@styled
def inspector_report(
    picture: RGB,
    scale: Scale,
    losses: Mapping[str, Sequence[float]],
    epoch: int,
    intensities: Mapping[str, Num[Tensor, "_"]],
    pixel: str,
    caption: str,
) -> Figure:
    """One view of the inspector for a report: the picture, the loss curves, and the intensities at the framed pixel.

    `scale` is that of the map in the picture. Without losses, no curves.
    """
    figure = Figure(figsize=(11.5, 5.2))
    left, right = figure.subfigures(1, 2, width_ratios=[1.15, 1.05])
    ax = left.subplots()
    _show(ax, picture)
    _colour_bar(left, ScalarMappable(_norm(scale)), [ax])
    upper, lower = right.subplots(2, 1)
    if losses:
        draw_curves(upper, losses, mark=epoch, ticks=6)
    upper.set_visible(bool(losses))
    for row, values in enumerate(intensities.values()):
        lower.plot(array(values), row + np.linspace(-0.3, 0.3, len(values)), ".", color=line_colour(row), markersize=4)
    lower.set(xlim=(-4, 259), xlabel=f"intensity at {pixel}")
    name_rows(lower, list(intensities))
    figure.suptitle(caption, fontsize=11)
    return figure


@small
def intensity_axis(class_names: Sequence[str], size: tuple[int, int] = (440, 190)) -> Axis:
    """One row a class and intensities from 0 to 255, to be filled by `with_dots`; `size` in pixels."""
    figure, ax = of_pixels(size)
    ax.set(xlim=(-4, 259), xticks=range(0, 256, 51), xlabel="intensity (dot: an image, bar: mean)")
    name_rows(ax, [name if len(name) < 15 else name[:13] + "…" for name in class_names])
    return drawn(figure, ax)


@styled
def training_progress(
    losses: Mapping[str, Sequence[float]], epochs: int, weights: Float[Tensor, "height width"] | None, caption: str
) -> Figure:
    """Loss curves on the way to `epochs`, beside the map of the last epoch where there is one."""
    figure = Figure(figsize=(8.5, 3.2))
    left, right = figure.subplots(1, 2, width_ratios=[1.6, 1])
    draw_curves(left, losses, ticks=8, look=".-")
    left.set_xlim(0.5, epochs + 0.5)
    right.set_visible(weights is not None)
    if weights is not None:
        _colour_bar(figure, _show(right, array(weights), norm=_norm(scale_of([weights]))), [right])
    figure.suptitle(caption, fontsize=12)
    return figure


def _panels(
    maps: Mapping[str, Float[Tensor, "height width"]],
    image: Num[Tensor, "height width"] | None,
    region: Bool[Tensor, "height width"] | None,
    for_bars: float,
) -> tuple[Figure, list[Axes]]:
    """A figure with axes in a row, one a map, with inches for colour bars, behind the image where there is one."""
    panels = len(maps) + (image is not None)
    figure = Figure(figsize=(2.7 * panels + for_bars, 2.75))
    axes = list(figure.subplots(1, panels, squeeze=False)[0])
    if image is not None:
        ax = axes.pop(0)
        _show(ax, array(image), region, cmap="gray")
        ax.set_title("mean image")
    return figure, axes


def _show(
    ax: Axes, values: np.ndarray, region: Bool[Tensor, "height width"] | None = None, **look: object
) -> AxesImage:
    """Values as a picture without ticks and box, with the outline of the region."""
    shown = ax.imshow(values, **look)
    for colour, width in (("white", 2), ("black", 0.8)) if region is not None else ():
        ax.contour(array(region).astype(float), levels=[0.5], colors=colour, linewidths=width)
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    return shown


def _name_beside(ax: Axes, name: str) -> None:
    ax.set_ylabel(name, rotation=0, ha="right", va="center")


def _norm(scale: Scale) -> TwoSlopeNorm:
    low, middle, high = scale
    return TwoSlopeNorm(middle, low, high)


def _colour_bar(figure: FigureBase, shown: ScalarMappable, axes: Sequence[Axes], unit: str = "weight") -> None:
    bar = figure.colorbar(shown, ax=axes, shrink=0.85, aspect=14, pad=0.02)
    bar.set_label(unit)
    ends = (shown.norm.vmin, shown.norm.vcenter, shown.norm.vmax)  # between them the colours change evenly
    bar.set_ticks(ends, labels=[f"{value:.3g}" for value in ends])
    bar.outline.set_visible(False)
