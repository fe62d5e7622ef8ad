"""Checks of lesson 08: a measure that ties must not fool, and a region that is taken out of all images."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gsa_utils.lessons.answers import WrongAnswer, compare, random


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


def check_without(attempt: Callable[[Tensor, Tensor, Bool[Tensor, "h w"]], tuple[Tensor, Tensor]]) -> bool:
    """Exercise 8.2: the region shows the training images' mean, in the test images too; False if untouched."""
    train, test = _of_whole_means(0, 5), _of_whole_means(1, 3)  # (N, C, h, w)
    region = torch.zeros(4, 5, dtype=torch.bool)
    region[1:3, 2:4] = True

    def blanked(fill: object, of_test: object = None, where: Tensor = region) -> Tensor:
        fills = fill, fill if of_test is None else of_test
        return torch.cat(
            [
                torch.where(where, torch.as_tensor(f).float(), s.float()).round()
                for s, f in zip((train, test), fills, strict=True)
            ]
        )

    mean, mean_of_test = train.float().mean(dim=0), test.float().mean(dim=0)  # (C, h, w)
    mistakes = {
        "the test images show their own mean: all that is known before the test is the training images": lambda: (
            blanked(mean, mean_of_test)
        ),
        "the training images show the mean of the test images": lambda: blanked(mean_of_test),
        "one grey level for all pixels leaves the outline of the region to see: a mean for each pixel": lambda: blanked(
            train.float().mean()
        ),
        "black is no neutral colour, it tells where the region was: put the mean there": lambda: blanked(0),
        "everything but the region was blanked": lambda: blanked(mean, where=~region),
        "the whole image was blanked": lambda: blanked(mean, where=torch.ones_like(region)),
        "the training images came back as they were: a network would learn from what the test lacks": lambda: torch.cat(
            [train.float(), blanked(mean)[len(train) :]]
        ),
        "the test images came back as they were": lambda: torch.cat([blanked(mean)[: len(train)], test.float()]),
        "nothing was changed": lambda: torch.cat([train, test]).float(),
    }

    def answer() -> Tensor:
        given = train.clone(), test.clone()
        came = attempt(*given, region.clone())
        if not (torch.equal(given[0], train) and torch.equal(given[1], test)):
            raise WrongAnswer("Exercise 8.2: the images that came in were changed: work on a copy")
        if not isinstance(came, tuple | list) or [getattr(one, "shape", None) for one in came] != [
            train.shape,
            test.shape,
        ]:
            raise WrongAnswer(
                "Exercise 8.2: expected the training and the test images, in this order and of their shapes"
            )
        if any(one.dtype != torch.uint8 for one in came):
            raise WrongAnswer("Exercise 8.2: images are whole numbers of 8 bits: round, then .to(torch.uint8)")
        return torch.cat(list(came))

    return compare("8.2", answer, blanked(mean), mistakes)


def _of_whole_means(seed: int, count: int) -> Tensor:
    """Images whose mean is whole at each pixel and over all of them, so that it is no matter how it is rounded."""
    one = (random(1, 4, 5, seed=seed) * 200).int() + 10  # (C, h, w)
    one[0, 0, 0] += one.numel() - one.sum() % one.numel()
    steps = 3 * (torch.arange(count) - count // 2)
    return (one + steps.view(-1, 1, 1, 1)).to(torch.uint8)
