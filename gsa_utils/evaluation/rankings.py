"""Ways to rank the pixels of a set without a network: the learned maps' competitors, and the same map elsewhere.

A ranking is a map (H, W) of which only the order counts; ties are broken by `top_pixels`, at random but repeatably.
"""

import torch
from jaxtyping import Bool, Float, Shaped
from sklearn.feature_selection import f_classif
from torch import Tensor

from gsa_utils.arguments import bad_value, unknown_name
from gsa_utils.images import ImageSet


def constant(image_set: ImageSet) -> Float[Tensor, "height width"]:
    """The map of nobody: every pixel as important as any other."""
    return torch.ones(image_set.images.shape[-2:])


def random(image_set: ImageSet, seed: int = 0) -> Float[Tensor, "height width"]:
    """Independent uniform weights."""
    return torch.rand(image_set.images.shape[-2:], generator=torch.Generator().manual_seed(seed))


def centre(image_set: ImageSet) -> Float[Tensor, "height width"]:
    """A Gaussian in the middle of the image, as wide as a quarter of it: photographers put things there."""
    rows, columns = (torch.linspace(-1, 1, side) for side in image_set.images.shape[-2:])
    return torch.exp(-2 * (rows[:, None] ** 2 + columns**2))


def rectangle(image_set: ImageSet, ends: tuple[float, float, float, float]) -> Float[Tensor, "height width"]:
    """1 in a rectangle and 0 elsewhere; `ends` are its first and last row and column, as shares of height and width."""
    height, width = image_set.images.shape[-2:]
    top, bottom, left, right = ends
    weights = torch.zeros(height, width)
    weights[round(top * height) : round(bottom * height), round(left * width) : round(right * width)] = 1
    return weights


def anova(image_set: ImageSet) -> Float[Tensor, "height width"]:
    """Per pixel, the F statistic of a one-way analysis of variance between the classes (the largest over channels)."""
    pixels = image_set.images.cpu().flatten(1).double().numpy()  # (N, C * H * W)
    statistic, varies = torch.zeros(pixels.shape[1]), pixels.std(axis=0) > 0
    # A pixel that never varies has no statistic, and can't tell the classes apart: it keeps 0.
    statistic[torch.from_numpy(varies)] = torch.from_numpy(
        f_classif(pixels[:, varies], image_set.labels.cpu().numpy())[0]
    ).float()
    return statistic.view(image_set.images.shape[1:]).amax(dim=0)


def moved(
    weights: Shaped[Tensor, "height width"], rule: str, seed: int | torch.Generator = 0
) -> Shaped[Tensor, "height width"]:
    """The same shape elsewhere: a map or a mask rolled by a random number of rows and columns, around the border.

    Its top pixels have the shape of the map's own, and another place: the control that scattered pixels are not.

    Args:
        rule: "far" for at least a quarter of the image in either direction; "anywhere" for any roll that changes
            something (a band that is moved along itself does not).

    Raises:
        ValueError: another rule, or a constant map, which is the same anywhere.
    """
    generator = seed if isinstance(seed, torch.Generator) else torch.Generator().manual_seed(seed)
    if rule == "far":
        far = [torch.randint(side // 4, side - side // 4 + 1, (), generator=generator).item() for side in weights.shape]
        return weights.roll(far, dims=(0, 1))
    if rule != "anywhere":
        raise unknown_name("rule", rule, ("far", "anywhere"))
    if weights.unique().numel() < 2:
        raise bad_value("weights", "a constant map", "one that differs from place to place")
    elsewhere = weights
    while torch.equal(elsewhere, weights):
        place = torch.randint(1, weights.numel(), (), generator=generator).item()
        elsewhere = weights.roll(divmod(place, weights.shape[1]), dims=(0, 1))
    return elsewhere


def top_pixels(weights: Float[Tensor, "height width"], share: float, seed: int = 0) -> Bool[Tensor, "height width"]:
    """The `share` of pixels that rank highest, rounded to whole pixels; equal ones are drawn at random, by `seed`.

    By place, the first rows of a constant map would be its top: as good a guess as any other, and always the same one.

    Raises:
        ValueError: a share outside (0, 1), or one of no pixel or of all.
    """
    count = round(share * weights.numel()) if 0 < share < 1 else 0
    if not 0 < count < weights.numel():
        raise bad_value("share", share, f"a share of the {weights.numel()} pixels that is neither none nor all of them")
    order = torch.randperm(weights.numel(), generator=torch.Generator().manual_seed(seed))
    highest = weights.flatten().cpu()[order].argsort(descending=True, stable=True)[:count]
    mask = torch.zeros(weights.numel(), dtype=torch.bool)
    mask[order[highest]] = True
    return mask.view(weights.shape)
