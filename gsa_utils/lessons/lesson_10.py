"""Checks of lesson 10: by how much an image is off, and what an interval says."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from gsa_utils.lessons.answers import WrongAnswer, compare, not_begun, random

WORDS = ("helps", "hurts", "no difference shown")


def check_best_offset(attempt: Callable[[Float[Tensor, "h w"], Float[Tensor, "h w"], int], tuple[int, int]]) -> None:
    """Exercise 10.1: (down, across) by which an image has to be rolled to fit another best, by correlation."""
    mean = random(12, 14) + 3 * torch.exp(-((torch.arange(12)[:, None] - 5) ** 2 + (torch.arange(14) - 6) ** 2) / 6)
    cases = [(mean.roll((-2, 1), (0, 1)), 3), (mean.roll((3, -1), (0, 1)) * 0.2 + 40, 3), (mean.clone(), 2)]

    def all_of(measure: Callable[[Tensor, Tensor, int], tuple[int, int]]) -> Tensor:
        return torch.tensor([list(measure(image.clone(), mean.clone(), furthest)) for image, furthest in cases])

    def offset(image: Tensor, to: Tensor, furthest: int, best: Callable = max) -> tuple[int, int]:
        steps = [(down, across) for down in range(-furthest, furthest + 1) for across in range(-furthest, furthest + 1)]
        return best(steps, key=lambda step: _correlation(image.roll(step, (0, 1)), to))

    def in_rows(image: Tensor, to: Tensor, furthest: int) -> tuple[int, int]:
        return max(range(-furthest, furthest + 1), key=lambda down: _correlation(image.roll(down, 0), to)), 0

    mistakes = {
        "the signs are turned: by how much must the image be moved to fit the mean, not the mean to fit the image": (
            lambda: -all_of(offset)
        ),
        "rows and columns are exchanged: first down, then across": lambda: all_of(offset).flip(1),
        "these are the offsets of the worst fit": lambda: all_of(lambda *case: offset(*case, best=min)),
        "only moves up and down were tried": lambda: all_of(in_rows),
        "these count from 0: an offset counts from -furthest": lambda: (
            all_of(offset) + torch.tensor([[furthest, furthest] for _, furthest in cases])
        ),
        "only moves to one side were tried: from -furthest on": lambda: all_of(
            lambda image, to, furthest: max(
                ((down, across) for down in range(furthest + 1) for across in range(furthest + 1)),
                key=lambda step: _correlation(image.roll(step, (0, 1)), to),
            )
        ),
    }

    def answer() -> Tensor:
        came = [attempt(image.clone(), mean.clone(), furthest) for image, furthest in cases]
        if any(one is None for one in came):
            return None
        if any(not isinstance(one, tuple | list) or len(one) != 2 for one in came):
            raise WrongAnswer(f"Exercise 10.1: {came[0]!r} came back, two numbers were expected: (down, across)")
        return torch.tensor([[int(number) for number in one] for one in came])

    compare("10.1", answer, all_of(offset), mistakes)


def _correlation(first: Tensor, second: Tensor) -> float:
    first, second = first.flatten() - first.mean(), second.flatten() - second.mean()
    return torch.cosine_similarity(first, second, dim=0).item()


def check_verdict(attempt: Callable[[float, float, float], str]) -> None:
    """Exercise 10.2: the word for a mean difference with its interval."""
    said = "Exercise 10.2: "
    cases = {
        (0.02, 0.01, 0.03): "helps",
        (-0.02, -0.03, -0.01): "hurts",
        (0.05, -0.01, 0.11): "no difference shown",
        (-0.05, -0.11, 0.01): "no difference shown",
        (0.0, -0.001, 0.001): "no difference shown",
        (0.001, 0.0005, 0.0015): "helps",
    }
    try:
        came = {case: attempt(*case) for case in cases}
    except NotImplementedError as error:
        not_begun("10.2", error)
        return
    for word in came.values():
        if word not in WORDS:
            raise WrongAnswer(said + f"{word!r} came back, one of {', '.join(WORDS)} was expected")
    if came[0.05, -0.01, 0.11] == "helps" or came[-0.05, -0.11, 0.01] == "hurts":
        raise WrongAnswer(said + "a mean on one side of 0 is no verdict while the interval reaches to the other")
    if came[0.02, 0.01, 0.03] == "hurts" or came[-0.02, -0.03, -0.01] == "helps":
        raise WrongAnswer(said + "the words are exchanged: the difference is shared maps minus the average")
    if came[0.001, 0.0005, 0.0015] != "helps":
        raise WrongAnswer(
            said + "a small gain is a gain, if its interval leaves out 0; whether it is worth it, you decide"
        )
    if came[0.02, 0.01, 0.03] != "helps" or came[-0.02, -0.03, -0.01] != "hurts":
        raise WrongAnswer(said + "an interval that leaves out 0 shows a difference")
    if came != cases:
        raise WrongAnswer(said + "an interval that holds 0 shows no difference")
    print(said + "right.")
