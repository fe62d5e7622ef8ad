"""Three generated sets of aligned images whose important region is known: a chest, a retina and a face.

Each is a drawing made of soft ellipses and curves with person-to-person variation, exposure, and noise. Every part of
the drawing also varies in brightness on its own, by more than the class changes one of them: what separates the classes
is *where* the brightness changes, not that it does. The class enters one line only, times the region, so outside the
region two images that differ in class alone are equal byte for byte.

The same call gives the same bytes on any machine: NumPy's RandomState stream is frozen by its compatibility promise,
and only + - * / of doubles are applied to it, which IEEE 754 fixes to the last bit.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import RandomState

from gsa_utils.arguments import Size, bad_value, check_name, check_seed, check_whole, describe, height_and_width
from gsa_utils.images import ImageSet

Array = np.ndarray


@dataclass(frozen=True)
class _Frame:
    """Pixel coordinates in [-1, 1], rows then columns, and the random numbers of each image."""

    y: Array  # (1, H, 1)
    x: Array  # (1, 1, W)
    random: RandomState
    count: int

    def uniform(self, low: float, high: float) -> Array:
        """One number an image, (N, 1, 1)."""
        return low + (high - low) * self.random.random_sample((self.count, 1, 1))

    def ellipse(self, cy: float | Array, cx: float | Array, ry: float | Array, rx: float | Array, soft: float) -> Array:
        """1 inside, 0 outside, a linear edge of width `soft` in squared radius: (N or 1, H, W)."""
        dy, dx = (self.y - cy) / ry, (self.x - cx) / rx
        return np.clip((1 - dy * dy - dx * dx) / soft + 0.5, 0, 1)

    def curve(self, cy: float | Array, cx: float | Array, bend: float | Array, half: float, width: float) -> Array:
        """A stroke along y = cy + bend * (x - cx)^2, from cx - half to cx + half."""
        dx = self.x - cx
        distance = np.abs(self.y - cy - bend * dx * dx)
        return np.clip(1 - distance / width, 0, 1) * np.clip((half - np.abs(dx)) / width, 0, 1)


Ellipse = tuple[float, float, float, float]  # centre (row, column) and radii (rows, columns)


@dataclass(frozen=True)
class _Phantom:
    """A drawing, the parts whose brightness the class changes, and the parts that look alike but say nothing."""

    class_names: tuple[str, str]
    draw: Callable[[_Frame], Array]
    telling: list[Ellipse]
    silent: list[Ellipse]


def _draw_chest(f: _Frame) -> Array:
    wide, tall, lift = f.uniform(0.94, 1.06), f.uniform(0.94, 1.06), f.uniform(-0.03, 0.03)
    picture = 0.55 * f.ellipse(0.25, 0, 1.3, 0.98 * wide, 0.25)
    lungs = np.maximum(
        f.ellipse(-0.05 + lift, -0.45 * wide, 0.72 * tall, 0.34 * wide, 0.35),
        f.ellipse(-0.05 + lift, 0.45 * wide, 0.72 * tall, 0.34 * wide, 0.35),
    )
    picture = picture - 0.36 * lungs
    ribs = sum(f.curve(-0.75 + 0.24 * k + lift, side * 0.1, 0.5, 0.8, 0.05) for k in range(6) for side in (-1, 1))
    picture = picture + 0.07 * np.minimum(ribs, 1) * lungs
    spine = f.ellipse(0, 0, 1.4, 0.1 * wide, 0.8)
    heart = f.ellipse(0.28 + lift, 0.14, 0.34 * tall, 0.3 * wide * f.uniform(0.9, 1.15), 0.35)
    domes = f.ellipse(0.95 + lift, -0.45, 0.33, 0.5, 0.4) + f.ellipse(1.0 + lift, 0.45, 0.33, 0.5, 0.4)
    collar = f.curve(-0.72 + lift, -0.45, 0.25, 0.42, 0.05) + f.curve(-0.72 + lift, 0.45, 0.25, 0.42, 0.05)
    return picture + 0.16 * spine + 0.22 * heart + 0.2 * np.minimum(domes, 1) + 0.12 * collar


def _draw_retina(f: _Frame) -> Array:
    field = f.ellipse(0, 0, 0.95, 0.95, 0.06)
    lit = 1 - 0.3 * ((f.x - f.uniform(-0.3, 0.3)) * (f.x - 0.1) + f.y * f.y)
    disc_y, disc_x = f.uniform(-0.03, 0.03), 0.55 + f.uniform(-0.03, 0.03)
    vessels = 0
    for bend, width in ((0.55, 0.05), (0.95, 0.035), (0.25, 0.03)):
        for side in (-1, 1):
            reach = side * bend * f.uniform(0.9, 1.1)
            dx = np.clip(disc_x - f.x, 0, 2)
            # An arcade leaves the disc steeply and flattens: dx / (dx + c) needs no transcendental function.
            path = disc_y + 1.5 * reach * dx / (dx + 0.5)
            vessels = vessels + np.clip(1 - np.abs(f.y - path) / width, 0, 1) * (f.x < disc_x)
    macula = f.ellipse(0, -0.12, 0.24, 0.24, 1.2)
    disc = f.ellipse(disc_y, disc_x, 0.17, 0.14, 0.4)
    picture = 0.45 * lit - 0.12 * macula + 0.3 * disc - 0.14 * np.minimum(vessels, 1)
    return field * picture + 0.03


def _draw_face(f: _Frame) -> Array:
    wide, tall, lift = f.uniform(0.96, 1.04), f.uniform(0.97, 1.03), f.uniform(-0.02, 0.02)
    hair = f.ellipse(-0.25, 0, 0.75, 0.78 * wide, 0.15)
    head = f.ellipse(0.08, 0, 0.86 * tall, 0.62 * wide, 0.12)
    neck = f.ellipse(1.0, 0, 0.5, 0.34, 0.2)
    tone = f.uniform(0.53, 0.59)
    picture = 0.1 + f.uniform(0.08, 0.3) * hair
    picture = picture + (0.85 * tone - picture) * neck
    picture = picture + (tone - picture) * head
    for side in (-1, 1):
        eye = f.ellipse(-0.12 + lift, side * 0.26 * wide, 0.07, 0.13, 0.3)
        pupil = f.ellipse(-0.12 + lift, side * 0.26 * wide, 0.06, 0.055, 0.5)
        brow = f.curve(-0.3 + lift, side * 0.27 * wide, 0.6, 0.17, 0.05)
        picture = picture + 0.2 * eye - 0.4 * pupil - 0.25 * brow
    nose = f.ellipse(0.18 + lift, 0, 0.06, 0.12, 0.8) + 0.5 * f.ellipse(0.02 + lift, 0.05, 0.2, 0.03, 0.8)
    mouth = f.curve(0.5 + lift, 0, -0.15, 0.3, 0.06)
    return picture - 0.12 * nose - 0.25 * mouth


def _places(centres: list[tuple[float, float]], ry: float, rx: float) -> list[Ellipse]:
    return [(cy, cx, ry, rx) for cy, cx in centres]


PHANTOMS = {
    "phantom-chest": _Phantom(
        ("clear", "opacity"),
        _draw_chest,
        _places([(0.46, -0.45)], 0.22, 0.24),
        _places(
            [(-0.42, -0.45), (0.02, -0.45), (-0.42, 0.45), (0.02, 0.45), (0.46, 0.45), (-0.1, 0), (0.4, 0), (-0.85, 0)],
            0.22,
            0.24,
        ),
    ),
    "phantom-retina": _Phantom(
        ("healthy", "oedema"),
        _draw_retina,
        _places([(0, -0.12)], 0.22, 0.22),
        _places(
            [(0, 0.55), (-0.5, -0.1), (0.5, -0.1), (-0.45, 0.4), (0.45, 0.4), (-0.4, -0.6), (0.4, -0.6), (0.03, -0.65)],
            0.22,
            0.22,
        ),
    ),
    "phantom-face": _Phantom(
        ("neutral", "smiling"),
        _draw_face,
        [(0.5, 0, 0.17, 0.3)],  # the mouth: a smile shows the teeth
        _places(
            [(-0.5, 0), (-0.14, -0.27), (-0.14, 0.27), (0.8, 0), (0.1, 0), (0.25, -0.4), (0.25, 0.4), (-0.8, 0)],
            0.17,
            0.24,
        ),
    ),
}
_SPOTS = 14  # more silent parts, in other places in each image
_SPREAD, _OWN_SPREAD, _NOISE = 0.2, 0.05, 0.06  # of silent parts and of telling ones (uniform), of a pixel (deviation)
# By how much the class brightens or darkens the telling parts; white is 1. One number for all three, set so that a CNN
# that is shown the telling parts alone is right about 80 times in 100, and on the whole picture clearly less often.
_SHIFT = 0.04
_SPLITS = {"train": (300, 0), "val": (150, 1), "test": (600, 2)}  # images and seed


def make_phantom(name: str, count: int, size: Size = 32, seed: int = 0, labels: torch.Tensor | None = None) -> ImageSet:
    """`count` grey images of a phantom, both classes equally often, with the true region.

    Args:
        name: "phantom-chest", "phantom-retina" or "phantom-face".
        count: images, at least 2.
        size: height and width in pixels, or one number for both; at least 16.
        seed: the same seed gives the same bytes, on any machine.
        labels: (count,) to draw these classes instead; everything but the class stays as the seed has it.

    Raises:
        ValueError: unknown name, too few images or pixels, labels of another length or outside 0 and 1.
    """
    check_name("name", name, PHANTOMS)
    height, width = height_and_width("size", size)
    if min(height, width) < 16:
        raise bad_value("size", size, "at least 16 pixels a side")
    check_whole("count", count, 2)
    random, phantom = RandomState(check_seed(seed)), PHANTOMS[name]
    balanced = np.arange(count) % 2
    random.shuffle(balanced)
    if labels is None:
        labels = torch.from_numpy(balanced.astype(np.int64))
    if not isinstance(labels, torch.Tensor) or labels.shape != (count,) or labels.min() < 0 or labels.max() > 1:
        raise bad_value("labels", describe(labels), f"a tensor of {count} labels, each 0 or 1")

    y = (np.arange(height) * 2 + 1) / height - 1
    x = (np.arange(width) * 2 + 1) / width - 1
    frame = _Frame(y[None, :, None], x[None, None, :], random, count)
    telling = np.minimum(sum(frame.ellipse(*place, soft=0.5) for place in phantom.telling), 1)  # (1, H, W)
    region = telling >= 0.5
    spots = [(frame.uniform(-0.9, 0.9), frame.uniform(-0.9, 0.9), 0.2, 0.2) for _ in range(_SPOTS)]
    picture = phantom.draw(frame)  # (N, H, W)
    for place in phantom.silent + spots:
        picture = picture + _SPREAD * frame.uniform(-1, 1) * frame.ellipse(*place, soft=0.5) * ~region
    sign = 2 * labels.numpy()[:, None, None] - 1
    picture = picture + (_OWN_SPREAD * frame.uniform(-1, 1) + _SHIFT * sign) * telling * region
    picture = picture * frame.uniform(0.92, 1.08) + frame.uniform(-0.03, 0.03)  # exposure
    # Four uniform numbers add up to nearly a normal one, of variance 1/3 and mean 2.
    noise = sum(random.random_sample(picture.shape) for _ in range(4)) - 2
    pixels = np.clip(np.floor((picture + _NOISE * noise * 1.732) * 255 + 0.5), 0, 255).astype(np.uint8)
    truth = torch.from_numpy(region[0])
    return ImageSet(torch.from_numpy(pixels)[:, None], labels, phantom.class_names, region=truth, name=name)


def load_phantom(name: str, split: str = "train", size: int | None = None) -> ImageSet:
    """The split that the lessons use: 300 training, 150 validation and 600 test images, 32 x 32 unless told."""
    check_name("split", split, _SPLITS)
    count, seed = _SPLITS[split]
    return make_phantom(name, count, 32 if size is None else size, seed)
