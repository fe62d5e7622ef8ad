"""How concentrated is what separates the classes? Asked of the training images alone, before anything is trained.

Beside `alignment` it places a set on a plane: do the images share one frame, and do the classes differ in a few places
of it? Where both hold, one shared map has something to find.
"""

from collections.abc import Iterator
from dataclasses import replace

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from gsa_utils.arguments import bad_value, check_seed, check_whole, instance_of
from gsa_utils.evaluation.rankings import anova
from gsa_utils.images import ImageSet

_GRID = 32  # cells a side at most: sets of other sizes are compared on one grid, and the noise of pixels is averaged


def concentration(image_set: ImageSet, shuffles: int = 100, seed: int = 0) -> dict[str, float]:
    """The share of the image that separates the classes by its brightness, and whether chance would do as much.

    The images are averaged in a grid of at most 32 x 32 cells. How well a cell separates the classes is its F statistic
    (`anova`) less what F is on average with labels dealt anew; by this measure

        area = mean over the cells / the best cell

    which is k / P where k of P cells separate the classes equally well and the others not at all, and 1 where all do.
    (`effective_area` of the same map orders strong differences alike. Where the classes differ little it tends to a
    third of the image whatever the truth: F is squared noise there, and squares of noise have that effective area.)

    In real images cells differ in how much they vary anyway, so a patch that is equally bright everywhere separates
    better in some cells than in others, and `area` is smaller than the patch: an order, not a size. It is smaller still
    where p is hardly small, for the best of many cells was lucky, too.

    It sees what it measures: a difference in mean brightness, at a fixed place. Classes that differ in texture, or in
    a spot that is somewhere else in every image, may show a large p here and yet be told apart by a network.

    Args:
        image_set: the training images; those of a person stay together when labels are dealt anew.
        shuffles: how often they are.

    Returns:
        Four numbers by name.

        - area: from 1 / P, one cell, to 1.
        - low, high: the area if the mean over the cells owed as much to chance as in the highest and in the lowest
          twentieth of the shuffles (the brightness of whole images differs, so chance makes the classes differ
          everywhere at once). Wide where the classes differ little; no confidence interval: the best cell is taken
          as it is.
        - p: how often labels dealt anew have as good a best cell. Where p is not small, nothing was found that
          separates the classes, and the area means nothing.

    Raises:
        ValueError: a class without images, fewer than 20 shuffles, images that are all the same.
    """
    check_whole("shuffles", shuffles, 20)
    check_seed(seed)
    if min(instance_of("image_set", image_set, ImageSet, "an ImageSet").class_counts) == 0:
        raise bad_value("image_set", f"{image_set!r:.80}", "an ImageSet with images of every class")
    size = tuple(min(_GRID, side) for side in image_set.images.shape[-2:])
    cells = F.adaptive_avg_pool2d(image_set.images.float(), size).round().to(torch.uint8)
    cells = replace(image_set, images=cells, region=None)
    if torch.equal(cells.images, cells.images[:1].expand_as(cells.images)):
        raise bad_value("image_set", "images that are all the same", "images that differ")
    found = _finite(anova(cells))
    chance = torch.stack([_finite(anova(replace(cells, labels=labels))) for labels in _dealt(cells, shuffles, seed)])
    means, expected = chance.mean(dim=(1, 2)), chance.mean()
    best = (found.max() - expected).clamp(min=1e-6)  # nowhere more than chance: one cell, and p is 1
    low, area, high = (
        ((found.mean() - owed) / best).clamp(1 / found.numel(), 1).item()
        for owed in (means.quantile(0.95), expected, means.quantile(0.05))
    )
    as_good = (chance.amax(dim=(1, 2)) >= found.max()).sum().item()
    return {"area": area, "low": low, "high": high, "p": (as_good + 1) / (shuffles + 1)}


def _finite(statistic: Float[Tensor, "height width"]) -> Float[Tensor, "height width"]:
    """A cell that tells the classes apart without fail, by a mark that was burnt in, has an infinite F."""
    return statistic.double().nan_to_num(posinf=1e30)


def _dealt(image_set: ImageSet, times: int, seed: int) -> Iterator[Int[Tensor, " n"]]:
    """The same labels dealt anew. People are lined up twice, each with all images: labels go from one row to the other.

    So a person has the labels of another, or of two neighbours where they have other numbers of images.
    """
    generator = torch.Generator().manual_seed(seed)
    count = len(image_set)
    people = torch.arange(count) if image_set.groups is None else image_set.groups.unique(return_inverse=True)[1]

    def lined_up() -> Int[Tensor, " n"]:
        images = torch.randperm(count, generator=generator)
        turns = torch.randperm(int(people.max()) + 1, generator=generator)
        return images[turns[people[images]].argsort(stable=True)]

    for _ in range(times):
        labels = torch.empty_like(image_set.labels)
        labels[lined_up()] = image_set.labels[lined_up()]
        yield labels
