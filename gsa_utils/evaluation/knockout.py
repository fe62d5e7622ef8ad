"""Knock-out: what do a model's scores lose when some pixels are blanked in all images? And what would others cost?"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, UInt8
from torch import Tensor, nn

from gsa_utils.arguments import bad_value, check_seed, check_whole, describe, instance_of
from gsa_utils.evaluation.rankings import moved
from gsa_utils.evaluation.scores import evaluate
from gsa_utils.images import ImageSet

Scores = dict[str, float]


@dataclass(frozen=True)
class KnockOut:
    """Scores with all pixels, without the chosen ones, and two controls with several draws each.

    Args:
        pixels: how many were blanked, in each row of scores but `whole`.
        scattered: without as many pixels, drawn from the whole image.
        moved: without the same shape elsewhere: rolled by a random number of rows and columns, around the border.
    """

    pixels: int
    whole: Scores
    without: Scores
    scattered: list[Scores]
    moved: list[Scores]

    def rows(self) -> dict[str, list[Scores]]:
        """The four kinds of scores by a name for people."""
        return {
            "all pixels": [self.whole],
            f"without these {self.pixels}": [self.without],
            "without as many anywhere": self.scattered,
            "without this shape elsewhere": self.moved,
        }


def mean_fill(image_set: ImageSet) -> UInt8[Tensor, "channels height width"]:
    """The mean image, in bytes: what a blanked pixel shows."""
    return image_set.images.float().mean(dim=0).round().to(torch.uint8)


def blank(
    image_set: ImageSet,
    mask: Bool[Tensor, "height width"],
    fill: UInt8[Tensor, "channels height width"] | None = None,
) -> ImageSet:
    """The images with the pixels of `mask` set to those of `fill`, by default the mean over the images of the set.

    The mean, and not black: an image keeps its rough appearance there, but nothing that differs between images.

    Raises:
        ValueError: a mask that is not boolean or not of the images' size; a fill of another shape or type.
    """
    _check_mask(image_set, mask)
    if fill is None:
        fill = mean_fill(image_set)
    elif fill.shape != (wanted := image_set.images.shape[1:]) or fill.dtype != torch.uint8:
        raise bad_value("fill", describe(fill), f"uint8 pixels of shape {tuple(wanted)}, as an image has")
    return replace(image_set, images=torch.where(mask.to(fill.device), fill, image_set.images))


def knock_out(
    model: nn.Module,
    image_set: ImageSet,
    mask: Bool[Tensor, "height width"],
    draws: int = 10,
    seed: int = 0,
    on_step: Callable[[int, int], None] | None = None,
) -> KnockOut:
    """Evaluate with all pixels, without those of `mask`, and `draws` times without as many others of each kind.

    Nothing is trained again: a loss shows what this model relies on, and in part that it never saw blanked images.
    `on_step(done, of)` is called after each evaluation; an exception raised there ends the whole, to cancel it, say.

    Raises:
        ValueError: a mask of another size, one of no pixel or of all; draws below 1.
    """
    check_whole("draws", draws, 1)
    instance_of("image_set", image_set, ImageSet, "an ImageSet")
    _check_mask(image_set, mask)
    count = int(mask.sum())
    if not 0 < count < mask.numel():
        raise bad_value("mask", f"{count} of {mask.numel()} pixels", "some pixels, but not all")
    masks = [mask, *_others(mask.cpu(), draws, torch.Generator().manual_seed(check_seed(seed)))]
    scores = []
    for number in range(len(masks) + 1):
        scores.append(evaluate(model, blank(image_set, masks[number - 1]) if number else image_set))
        if on_step is not None:
            on_step(len(scores), len(masks) + 1)
    return KnockOut(count, scores[0], scores[1], scores[2 : 2 + draws], scores[2 + draws :])


def _check_mask(image_set: ImageSet, mask: object) -> None:
    size = image_set.images.shape[-2:]
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool or mask.shape != size:
        raise bad_value("mask", describe(mask), f"a boolean tensor of shape {tuple(size)}")


def _others(mask: Bool[Tensor, "height width"], draws: int, generator: torch.Generator) -> Iterator[Tensor]:
    """First `draws` masks of as many pixels anywhere, then as many of the same shape elsewhere."""
    for _ in range(draws):
        scattered = torch.zeros(mask.numel(), dtype=torch.bool)
        scattered[torch.randperm(mask.numel(), generator=generator)[: int(mask.sum())]] = True
        yield scattered.view(mask.shape)
    for _ in range(draws):
        yield moved(mask, "anywhere", generator)
