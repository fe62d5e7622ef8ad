"""Real images in which the difference between the classes is planted: a faint patch whose place is known.

A phantom's truth is known, but it is a drawing; a real set is real, but nobody knows what separates its classes. Here
the images are real and only the class is made: the labels are dealt anew at random, and a patch is added to the images
of one class. Nothing else can tell the classes apart, and its strength, area, place and jitter are ours to choose.
"""

from dataclasses import replace
from itertools import product

import numpy as np
import torch
from jaxtyping import Bool, UInt8
from numpy.random import RandomState
from torch import Tensor

from gsa_utils.arguments import (
    Size,
    bad_value,
    check_seed,
    check_whole,
    height_and_width,
    instance_of,
    is_share,
)
from gsa_utils.images import ImageSet


def patch_region(size: Size, area: float, centre: tuple[float, float] = (0.5, 0.5)) -> Bool[Tensor, "height width"]:
    """The `area` of the image that is nearest to `centre`: a disc, cut where it meets the border; the share is exact.

    Args:
        size: height and width in pixels, or one number for both.
        area: share of the image, rounded to whole pixels.
        centre: (row, column) as shares of the height and the width, from (0, 0), top left, to (1, 1).

    Raises:
        ValueError: an area of no pixel or of all, a centre outside the image.
    """
    height, width = height_and_width("size", size)
    if not is_share(area):
        raise bad_value("area", repr(area), "a share of the image, between 0 and 1")
    count = round(area * height * width)
    if not 0 < count < height * width:
        raise bad_value("area", area, f"a share of the {height * width} pixels that is neither none nor all of them")
    if not isinstance(centre, tuple | list) or len(centre) != 2 or not all(map(is_share, centre)):
        raise bad_value("centre", centre, "(row, column), each from 0 to 1")
    rows, columns = torch.arange(height) + 0.5 - centre[0] * height, torch.arange(width) + 0.5 - centre[1] * width
    distance = rows[:, None] ** 2 + columns**2
    region = torch.zeros(height * width, dtype=torch.bool)
    region[distance.flatten().argsort(stable=True)[:count]] = True
    return region.view(height, width)


def plant_patch(
    image_set: ImageSet,
    region: Bool[Tensor, "height width"],
    strength: float,
    jitter: int = 0,
    decoys: bool = False,
    seed: int = 0,
) -> ImageSet:
    """The same images in two new classes, of which the second has a patch: each pixel of `region` made brighter.

    The old classes are forgotten: the new labels are dealt at random, half and half, image by image, so that a person
    may have images of both, and neither a face nor a disease tells the class. Hand over the `subset` of one real class,
    healthy people say, and split before planting: each split with a seed of its own.

    With `decoys` the images of the first class have the same patch as well, each at a random place that no patch of the
    second class ever covers. Then nothing but the place tells the classes apart. Without, a patch wherever it is tells
    them, which leaves something to learn when jitter moves it over the whole image; a patch also raises the mean of
    its image then, by strength x area. (Darkening the rest to make up for that is no way out: it would be less than
    one grey level a pixel, which bytes cannot hold, and a large area would take from what it gives.)

    The same call gives the same bytes on any machine; the labels follow from the seed and the number of images alone.

    Args:
        image_set: any; its labels are not looked at, its groups are kept.
        region: (H, W), where the patch is; `patch_region` makes one.
        strength: brightness that is added, as a share of the range from black to white: 0 plants nothing, 1/255 is one
            grey level, which strengths are rounded to. A pixel that would be brighter than white is white.
        jitter: in each image the patch is moved by up to so many pixels up or down, and left or right.
        decoys: whether the images of the first class have a patch too, somewhere else.
        seed: of the labels, of the jitter and of the places of the decoys.

    Returns:
        An ImageSet of the classes "without" ("elsewhere" with decoys) and "patch"; its `region` is the one given, where
        the patch is before jitter moves it.

    Raises:
        ValueError: fewer than two images; a region of another size, of no pixel or of all; a strength outside [0, 1]; a
            jitter that would push the patch over the border; decoys that find no room.
    """
    if len(instance_of("image_set", image_set, ImageSet, "an ImageSet")) < 2:
        raise bad_value("image_set", f"{len(image_set)} image", "at least two, one for each class")
    planted = _with_region(image_set, region, strength)
    check_whole("jitter", jitter, 0)
    up, down, left, right = _room(region)
    if jitter > (most := min(up, down, left, right)):
        raise bad_value("jitter", jitter, f"at most {most}, which keeps this region within the image")

    random, count = RandomState(check_seed(seed)), len(image_set)
    labels = random.permutation(np.arange(count, dtype=np.int64) % 2)
    moves = random.randint(-jitter, jitter + 1, (count, 2), dtype=np.int64)
    if decoys:
        free, first = _free_moves(region, jitter), labels == 0
        moves[first] = free[random.randint(0, len(free), first.sum(), dtype=np.int64)]
    images, brighter = image_set.images.clone(), round(strength * 255)
    for image, label, move in zip(images, labels, moves.tolist(), strict=True):
        if label == 1 or decoys:
            patch = region.roll(move, (0, 1))  # it keeps within the image, so nothing comes in on the other side
            _brighten(image, patch, brighter)
    names = ("elsewhere" if decoys else "without", "patch")
    return replace(planted, images=images, labels=torch.from_numpy(labels), class_names=names)


def plant_marker(
    image_set: ImageSet, region: Bool[Tensor, "height width"], strength: float, agreement: float, seed: int = 0
) -> ImageSet:
    """The same images and labels, with a marker in most images of the second class and in few of the first.

    What a clinic's habit does to a set of images (which side a letter is laid on, say), with known truth: each pixel of
    `region` is made brighter in a share `agreement` of the second class and 1 - agreement of the first, so that who
    looks at nothing else is right in a share `agreement` of the images; 0.5 tells nothing. Which images, is drawn image
    by image; the numbers are exact, to rounding.

    Args:
        image_set: of two classes.
        region: (H, W), where the marker is.
        strength: brightness that is added, as `plant_patch` adds it.
        agreement: from 0 to 1.
        seed: of which images have the marker.

    Returns:
        the set with `region` as its region.

    Raises:
        ValueError: a set of other than two classes, or a region, strength or agreement that is none.
    """
    if len(instance_of("image_set", image_set, ImageSet, "an ImageSet").class_names) != 2:
        raise bad_value("image_set", f"{len(image_set.class_names)} classes", "two")
    marked = _with_region(image_set, region, strength)
    if not is_share(agreement):
        raise bad_value("agreement", repr(agreement), "a share of the images, 0 to 1")
    random, images, labels = RandomState(check_seed(seed)), image_set.images.clone(), image_set.labels.cpu().numpy()
    for label, share in enumerate((1 - agreement, agreement)):
        of_class = random.permutation(np.flatnonzero(labels == label))
        for number in of_class[: round(share * len(of_class))]:
            _brighten(images[number], region, round(strength * 255))
    return replace(marked, images=images)


def _with_region(image_set: ImageSet, region: Bool[Tensor, "height width"], strength: float) -> ImageSet:
    """The set with this region, which checks its type and size; then what is planted there is checked."""
    planted = replace(image_set, region=region)
    if region is None or region.all() or not region.any():
        raise bad_value(
            "region",
            "None" if region is None else f"{int(region.sum())} of {region.numel()} pixels",
            "some pixels, but not all",
        )
    if not is_share(strength):
        raise bad_value("strength", repr(strength), "a share of the range from black to white, 0 to 1")
    return planted


def _brighten(image: UInt8[Tensor, "channels height width"], region: Bool[Tensor, "height width"], levels: int) -> None:
    """Add so many grey levels in the region, in place; nothing gets brighter than white."""
    image[:, region] = (image[:, region].int() + levels).clamp(max=255).to(torch.uint8)


def _room(region: Bool[Tensor, "height width"]) -> tuple[int, int, int, int]:
    """By how many pixels the region can be moved up, down, left and right before it meets the border."""
    (rows,), (columns,) = region.any(dim=1).nonzero(as_tuple=True), region.any(dim=0).nonzero(as_tuple=True)
    height, width = region.shape
    return int(rows[0]), height - 1 - int(rows[-1]), int(columns[0]), width - 1 - int(columns[-1])


def _free_moves(region: Bool[Tensor, "height width"], jitter: int) -> np.ndarray:
    """(M, 2): the moves in rows and columns with which the patch covers no pixel that a jittered one ever does."""
    taken = torch.zeros_like(region)
    for move in product(range(-jitter, jitter + 1), repeat=2):
        taken |= region.roll(move, (0, 1))
    up, down, left, right = _room(region)
    moves = product(range(-up, down + 1), range(-left, right + 1))
    free = [move for move in moves if not (region.roll(move, (0, 1)) & taken).any()]
    if not free:
        raise bad_value("decoys", "True", "False, or a region and a jitter that leave room for a patch elsewhere")
    return np.array(free)
