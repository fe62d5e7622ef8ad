"""Checks of lesson 04: planting a patch, and guessing where a shared map gains something."""

from collections.abc import Callable
from itertools import product

import torch
from torch import Tensor

from gsa_utils.lessons.answers import WrongAnswer, compare, not_begun, random

GUESSES = ("gain", "nothing", "loss")


def check_planted(attempt: Callable[[Tensor, Tensor, Tensor, int], Tensor]) -> None:
    """Exercise 4.1: images of class 1 with a brighter region, in whole numbers that end at 255."""
    images = (random(6, 1, 5, 7) * 256).to(torch.uint8)  # (N, 1, H, W)
    labels = torch.tensor([0, 1, 1, 0, 1, 0])
    region = torch.zeros(5, 7, dtype=torch.bool)
    region[1:4, 2:6] = True
    brighter = 60
    added = images.int() + brighter * region
    patched, second = added.clamp(max=255), (labels == 1)[:, None, None, None]
    right = torch.where(second, patched, images.int())
    mistakes = {
        "whole numbers of 8 bits start again at 0 behind 255: add in a wider type, then clamp": lambda: torch.where(
            second, added % 256, images.int()
        ),
        "some pixels are brighter than white: clamp at 255": lambda: torch.where(second, added, images.int()),
        "all images have the patch: only those of class 1 should": lambda: patched,
        "class 0 has the patch: the labels are 0 without and 1 with it": lambda: torch.where(
            second, images.int(), patched
        ),
        "the whole image is brighter: only its region should be": lambda: torch.where(
            second, (images.int() + brighter).clamp(max=255), images.int()
        ),
        "everything but the region is brighter": lambda: torch.where(
            second, (images.int() + brighter * ~region).clamp(max=255), images.int()
        ),
        "the region was replaced: the patch is added to what is there": lambda: torch.where(
            second & region, brighter, images.int()
        ),
        "nothing was changed": lambda: images.int(),
    }

    def answer() -> Tensor:
        given = images.clone()
        came = attempt(given, labels.clone(), region.clone(), brighter)
        if not torch.equal(given, images):
            raise WrongAnswer("Exercise 4.1: the images that came in were changed: work on a clone")
        if isinstance(came, Tensor) and came.dtype != torch.uint8 and torch.equal(came.long(), right.long()):
            raise WrongAnswer("Exercise 4.1: the values are right, but images are whole numbers of 8 bits: torch.uint8")
        return came

    compare("4.1", answer, right, mistakes)


def check_guess(attempt: Callable[[float, float, int, int], str]) -> bool:
    """Exercise 4.2: a guess for any brightness, area, jitter and number of images; False if nobody has begun.

    Whether it is right is counted later: a guess has to be one of three words, and not the same for all cells.
    """
    said, came = "Exercise 4.2: ", []
    cells = product((0.03, 0.06, 0.12, 0.24), (0.01, 0.04, 0.16), (0, 4, 9, 18), (100, 250, 640))
    try:
        for cell in cells:
            came.append(attempt(*cell))
    except NotImplementedError as error:
        not_begun("4.2", error)
        return False
    if None in came:
        raise WrongAnswer(said + "for some cells the function returns nothing: does every branch end with a return?")
    for guess in came:
        if not isinstance(guess, str):
            raise WrongAnswer(said + f"a {type(guess).__name__} came back, a word was expected: {', '.join(GUESSES)}")
        if guess not in GUESSES:
            raise WrongAnswer(said + f"{guess!r} came back, expected one of {', '.join(GUESSES)}")
    if len(set(came)) == 1:
        raise WrongAnswer(said + f"always {came[0]!r}: does none of the four make a difference?")
    print(said + "noted. The next sections count where it is right.")
    return True
