"""Checks of lesson 08: two measures that ties must not fool."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gsa_utils.lessons.answers import WrongAnswer, compare


def check_pointing_game(attempt: Callable[[Float[Tensor, "h w"], Bool[Tensor, "h w"]], float]) -> None:
    """Exercise 8.1: the share of the highest pixels that lies in the region."""
    region = torch.zeros(4, 5, dtype=torch.bool)
    region[:2, :3] = True  # 6 of 20 pixels
    flat, tied, clear = torch.full((4, 5), 0.5), torch.full((4, 5), 0.3), torch.full((4, 5), 0.2)
    tied[0, 4] = tied[1, 1] = tied[3, 1] = tied[3, 2] = 0.9  # one of the four highest is inside
    clear[1, 2] = 0.7
    maps = [flat, tied, clear]

    def all_of(measure: Callable[[Tensor], object]) -> Tensor:
        return torch.stack([torch.as_tensor(measure(weights)).double() for weights in maps])

    def inside(weights: Tensor) -> Tensor:
        return region[weights == weights.max()]

    mistakes = {
        "a hit as soon as any of the highest pixels is inside: a constant map wins every game": lambda: all_of(
            lambda m: inside(m).any()
        ),
        "argmax takes the first of the highest pixels, so that their place in memory decides": lambda: all_of(
            lambda m: region.flatten()[m.argmax()]
        ),
        "divided by the pixels of the region: by the number of highest pixels": lambda: all_of(
            lambda m: inside(m).sum() / region.sum()
        ),
        "this counts the hits: divide by the number of highest pixels": lambda: all_of(lambda m: inside(m).sum()),
        "this is the region's share of the weight: only the highest pixels play": lambda: all_of(
            lambda m: m[region].sum() / m.sum()
        ),
        "divided by all pixels of the map: by the number of highest pixels": lambda: all_of(
            lambda m: inside(m).sum() / m.numel()
        ),
        "a hit only if all of the highest pixels are inside: count the share of them": lambda: all_of(
            lambda m: inside(m).all()
        ),
    }
    right = all_of(lambda m: inside(m).double().mean())

    def answer() -> Tensor:
        came = [attempt(weights.clone(), region.clone()) for weights in maps]
        return (
            None if any(one is None for one in came) else torch.stack([torch.as_tensor(one).double() for one in came])
        )

    compare("8.1", answer, right, mistakes)


def check_top_pixels(attempt: Callable[[Float[Tensor, "h w"], float], Bool[Tensor, "h w"]]) -> None:
    """Exercise 8.2: a mask of exactly the share that ranks highest, equal pixels drawn at random."""
    said, weights = "Exercise 8.2: ", torch.full((10, 10), 0.5)
    weights[9] = 0.9  # ten clear winners at the end
    weights[8] = 0.1
    torch.manual_seed(0)
    try:
        masks = [attempt(weights.clone(), 0.3) for _ in range(40)]
    except NotImplementedError:
        print(said + "not started yet. The notebook runs on.")
        return
    for mask in masks:
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool or mask.shape != weights.shape:
            came = f"{mask.dtype} of shape {tuple(mask.shape)}" if isinstance(mask, Tensor) else type(mask).__name__
            raise WrongAnswer(said + f"{came} came back, a mask was expected: bool, of the shape of the map")
    counts = sorted({int(mask.sum()) for mask in masks})
    miscounted = {
        (90,): "a threshold takes all pixels that are equal to it: 90 of 100 here, 30 were asked for",
        (10,): "only the clear winners came back: of the equal pixels at the edge 20 have to be drawn",
    }
    if counts != [30]:
        raise WrongAnswer(said + miscounted.get(tuple(counts), f"{counts} pixels came back, 30 were asked for"))
    if all(mask[8].all() for mask in masks):
        raise WrongAnswer(said + "these are the lowest pixels: sort in descending order")
    if any(mask[8].any() for mask in masks) or not all(mask[9].all() for mask in masks):
        raise WrongAnswer(
            said
            + "some of the highest pixels are missing, or lowest ones are in: are places in the shuffled order used "
            "as places in the map? order[...] leads from the one to the other"
        )
    if all(torch.equal(mask, masks[0]) for mask in masks):
        raise WrongAnswer(said + "equal pixels are taken by their place, or by a fixed seed: the same ones every time")
    upper = sum(mask[:4].sum().item() for mask in masks) / len(masks)  # 10 of the 20 that are drawn, on average
    if not 8.5 < upper < 11.5:
        raise WrongAnswer(
            said + f"of the equal pixels the upper half gets {upper:.1f} places of 20: each the same chance"
        )
    print(said + "right.")
