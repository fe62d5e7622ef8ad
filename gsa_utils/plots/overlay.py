"""Pictures that follow a slider, painted by NumPy into RGB arrays: a Figure takes longer to draw than a frame may."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from jaxtyping import Bool, Float, Int, Num, UInt8
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from gsa_utils.plots.style import WEIGHTS, line_colour

RGB = UInt8[np.ndarray, "_ _ 3"]  # rows and columns of screen pixels
Values = np.ndarray | Sequence[float] | float
Scale = tuple[float, float, float]  # the values that have the first, the middle and the last colour


def array(values: Tensor) -> np.ndarray:
    return values.detach().cpu().numpy()


def limits_of(maps: Iterable[Num[Tensor, "_ _"]]) -> tuple[float, float]:
    """Lowest and highest value of all."""
    ends = [(float(values.min()), float(values.max())) for values in map(array, maps)]
    return min(low for low, _ in ends), max(high for _, high in ends)


def scale_of(maps: Iterable[Float[Tensor, "_ _"]]) -> Scale:
    """One scale for all of these: the average, which is 1 for weight maps, has the middle colour.

    It goes as far down as up, but not below 0, where no weight is; and by a hundredth of the average at least, so that
    rounding does not look like structure.
    """
    maps = list(maps)
    (low, high), middle = limits_of(maps), float(np.mean([array(values).mean() for values in maps]))
    most = max(high - middle, middle - low, 0.01 * abs(middle)) or 1.0
    return middle - (min(most, middle) if low >= 0 and middle > 0 else most), middle, middle + most


def coloured(values: Float[Tensor, "height width"], scale: Scale, table: UInt8[np.ndarray, "256 3"] = WEIGHTS) -> RGB:
    """Values as colours of a lookup table, its ends and its middle at `scale`."""
    # Rounded: cut off, the highest weight would often miss the last colour by a bit.
    return table[np.rint(np.interp(array(values), scale, (0, 127.5, 255))).astype(np.uint8)]


def overlay(
    image: Num[Tensor, "channels height width"],
    weights: Float[Tensor, "height width"],
    opacity: float,
    scale: Scale,
    inside: Bool[Tensor, "height width"] | None = None,
    cross: tuple[int, int] | None = None,
    side: int = 400,
) -> RGB:
    """The image under a coloured map, with the boundary of the pixels inside.

    Args:
        image: grey or RGB, 0 to 255.
        opacity: of the map, 0 to 1.
        scale: the weights that have the first, the middle and the last colour.
        inside: the pixels whose outline is drawn, black and white, to be seen on any colour.
        cross: row and column of a pixel to frame.
        side: about the longer side of the picture in screen pixels: each pixel becomes a square, all of one size.
    """
    # Both tables are dimmed, not the pictures: 256 products in place of one a pixel and channel. One is rounded
    # down, so that no sum is over 255.
    dimmed = (np.arange(256) * (1 - opacity)).astype(np.uint8)
    table = np.rint(WEIGHTS * opacity).astype(np.uint8)
    under = np.moveaxis(array(image).astype(np.uint8), 0, -1)  # (H, W, 1 or 3)
    picture = dimmed[under] + coloured(weights, scale, table)
    zoom = zoom_of(weights.shape, side)
    picture = enlarged(picture, zoom, zoom) if zoom > 1 else picture
    if inside is not None:
        _boundary(picture, array(inside), zoom)
        _boundary(picture.swapaxes(0, 1), array(inside).T, zoom)
    if cross is not None:
        row, column = cross[0] * zoom, cross[1] * zoom
        for grow, colour in ((2, (0, 0, 0)), (1, (255, 64, 0))):
            _frame(picture, row - grow, column - grow, zoom + 2 * grow, colour)
    return picture


def zoom_of(size: tuple[int, int], side: int) -> int:
    """Screen pixels along a pixel of an image of this size, in a picture of about this side."""
    return max(1, side // max(size))


def enlarged(picture: RGB, down: int, across: int) -> RGB:
    """Each pixel as a rectangle of so many screen pixels."""
    return picture.repeat(down, axis=0).repeat(across, axis=1)


def _boundary(picture: RGB, inside: Bool[np.ndarray, "height width"], zoom: int) -> None:
    """A line along the upper side of each square that differs from the one above: white, with black over it."""
    rows, columns = np.nonzero(inside[1:] != inside[:-1])
    along = (columns[:, None] * zoom + np.arange(zoom)).ravel()
    for offset, colour in ((0, 255), (-1, 0)):
        picture[((rows + 1) * zoom + offset).repeat(zoom), along] = colour


def _frame(picture: RGB, row: int, column: int, length: int, colour: tuple[int, int, int]) -> None:
    top, left = max(row, 0), max(column, 0)
    bottom, right = min(row + length, len(picture)) - 1, min(column + length, picture.shape[1]) - 1
    picture[[top, bottom], left : right + 1] = colour
    picture[top : bottom + 1, [left, right]] = colour


@dataclass(frozen=True)
class Axis:
    """A drawn figure as pixels, where in them a value of its x and y axis lies, and the rows between its axes."""

    rgb: RGB
    x: Callable[[Values], np.ndarray]
    y: Callable[[Values], np.ndarray]
    rows: slice


def of_pixels(size: tuple[int, int]) -> tuple[Figure, Axes]:
    """An empty figure, so many screen pixels wide and high, for `drawn`."""
    figure = Figure(figsize=(size[0] / 100, size[1] / 100))
    return figure, figure.subplots()


def drawn(figure: Figure, ax: Axes) -> Axis:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    rgb = np.asarray(canvas.buffer_rgba())[..., :3].copy()
    matrix = ax.transData.get_matrix()

    def x(values: Values) -> np.ndarray:
        return np.asarray(np.rint(np.asarray(values) * matrix[0, 0] + matrix[0, 2]), dtype=int)

    def y(values: Values) -> np.ndarray:
        return np.asarray(len(rgb) - np.rint(np.asarray(values) * matrix[1, 1] + matrix[1, 2]), dtype=int)

    top, bottom = sorted(y(ax.get_ylim()))
    return Axis(rgb, x, y, slice(top, bottom))


def with_cursor(axis: Axis, x: float) -> RGB:
    """The figure with a vertical line at x."""
    rgb = axis.rgb.copy()
    at = int(axis.x(x))
    rgb[axis.rows, at - 1 : at + 1] = 0
    return rgb


def with_dots(axis: Axis, values: Num[Tensor, "images"], labels: Int[Tensor, "images"]) -> RGB:
    """One dot an image, at its value and in the row of its class; a bar at the mean of each class."""
    rgb = axis.rgb.copy()
    values, labels = array(values).astype(float), array(labels)
    # A dot keeps its height in the row while the values change: the golden ratio spreads any number of them evenly.
    heights = (np.arange(len(values)) * 0.618034 % 1 - 0.5) * 0.7
    x, y = axis.x(values), axis.y(labels + heights)
    colours = np.array([[round(255 * part) for part in to_rgb(line_colour(number))] for number in range(3)])
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            rgb[y + down, x + right] = colours[labels % 3]
    for label in np.unique(labels):
        mean, (top, bottom) = int(axis.x(values[labels == label].mean())), axis.y(label + np.array([-0.4, 0.4]))
        rgb[top:bottom, mean - 1 : mean + 2] = 0
    return rgb


def side_by_side(*pictures: RGB, gap: int = 8) -> RGB:
    """Pictures of one height in a row, with white between them."""
    white = np.full((len(pictures[0]), gap, 3), 255, np.uint8)
    return np.concatenate([part for picture in pictures for part in (picture, white)][:-1], axis=1)


def png(picture: RGB) -> bytes:
    """As a PNG file, written fast rather than small: it goes to a browser on the same machine."""
    file = BytesIO()
    Image.fromarray(picture).save(file, "png", compress_level=1)
    return file.getvalue()
