"""Checks of lesson 06: two questions to the inspector, two functions to write."""

import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, SupportsIndex

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from gsa_utils.lessons.answers import WrongAnswer, compare, random

if TYPE_CHECKING:
    from gsa_utils.widgets.inspector import MapInspector

SETTLED = 0.9  # rank correlation with the kept map


def _number(exercise: str, answer: object, end: int, first: int = 0) -> int | None:
    """The answer as an int, whatever kind of whole number it is; None if nobody has begun."""
    if answer is None:
        print(f"Exercise {exercise}: not started yet. The notebook runs on.")
        return None
    try:
        number = None if isinstance(answer, bool) else operator.index(answer)
    except TypeError:
        number = None
    if number is None or not first <= number < end:
        raise WrongAnswer(f"Exercise {exercise}: expected a whole number, {first} to {end - 1}, got {answer!r}")
    return number


def check_surest_mistake(panel: "MapInspector", answer: SupportsIndex | None) -> None:
    """Exercise 6.1: the number of the wrong prediction with the highest probability."""
    scene = panel.scene
    chosen = _number("6.1", answer, len(scene.right))
    if chosen is None:
        return
    said, sure, wrong = "Exercise 6.1: ", scene.probabilities.max(dim=1).values, scene.passing(None, right=False)
    if not wrong:
        raise WrongAnswer(said + "no prediction is wrong here: train for fewer epochs")
    surest = max(wrong, key=lambda number: sure[number].item())
    if sure[chosen] == sure[surest] and not scene.right[chosen]:
        print(said + "right.")
    elif chosen < len(wrong) and wrong[chosen] == surest:
        raise WrongAnswer(said + "this is its place among the mistakes, from 0: the caption has its number")
    elif chosen == wrong.index(surest) + 1:
        raise WrongAnswer(said + "this is its place among the mistakes, from 1: the caption has its number")
    elif scene.right[chosen]:
        raise WrongAnswer(said + f"the prediction of image {chosen} is right: set `predicted` to wrong")
    else:
        raise WrongAnswer(said + f"image {chosen} is a mistake, of probability {sure[chosen]:.3f}; one is surer")


def check_settled(panel: "MapInspector", answer: SupportsIndex | None) -> None:
    """Exercise 6.2: the first epoch, from 1, whose map has a rank correlation of 0.9 or more with the kept one."""
    from gsa_utils.evaluation.maps import stability  # with scikit-learn: 70 MB that some lessons never need

    maps = panel.scene.maps
    chosen = _number("6.2", answer, len(maps) + 1, first=1)
    if chosen is None:
        return
    kept = maps[panel.scene.kept_epoch]
    alike = [stability([weights, kept]) for weights in maps]
    first = next(epoch for epoch, value in enumerate(alike, 1) if value >= SETTLED)
    said = f"Exercise 6.2: after epoch {chosen} the rank correlation is {alike[chosen - 1]:.3f}, "
    if chosen == first:
        print("Exercise 6.2: right.")
    elif chosen == first - 1:
        raise WrongAnswer(said + "not yet there; the next epoch is. Does the slider count from 1?")
    elif alike[chosen - 1] < SETTLED:
        raise WrongAnswer(said + f"below {SETTLED}")
    else:
        raise WrongAnswer(said + f"but an earlier epoch has {SETTLED} or more as well")


def check_blank(attempt: Callable[[UInt8[Tensor, "n c h w"], Bool[Tensor, "h w"]], Tensor]) -> None:
    """Exercise 6.3: the pixels of the mask set to their mean over all images."""
    images, mask = (random(4, 1, 3, 5) * 255).round(), random(3, 5, seed=1) > 0.5
    before, mean = images.clone(), images.mean(dim=0)

    def answer() -> Tensor:
        came = attempt(images, mask)
        if not torch.equal(images, before):
            raise WrongAnswer("Exercise 6.3: the images themselves were changed: return new ones")
        return came

    mistakes = {
        "the pixels were made black: black is a value that lungs have, and others don't": lambda: images * ~mask,
        "each image was filled with its own mean: that still differs from image to image": lambda: torch.where(
            mask, images.mean(dim=(1, 2, 3), keepdim=True), images
        ),
        "one number for all pixels: each pixel has its own mean over the images": lambda: torch.where(
            mask, images.mean(), images
        ),
        "the pixels of the mask were kept and the others blanked": lambda: torch.where(mask, images, mean),
        "the images came back as they were": lambda: images,
    }
    compare("6.3", answer, torch.where(mask, mean, images), mistakes)


def check_chance(attempt: Callable[[float, Float[Tensor, "draws"]], float]) -> None:
    """Exercise 6.4: the chance that a score at least as low is drawn, our own draw counted."""
    low, draws = 0.80, torch.tensor([0.90, 0.80, 0.78, 0.80, 0.85, 0.88, 0.91, 0.79, 0.93])
    as_low = (draws <= low).double().sum()
    mistakes = {
        "this counts them: divide by the number of all draws, our own too": lambda: as_low + 1,
        "our own result is a draw too: count it above and below the line": lambda: as_low / len(draws),
        "our own result belongs above the line as well": lambda: as_low / (len(draws) + 1),
        "our own result belongs below the line as well": lambda: (as_low + 1) / len(draws),
        "a draw as low as ours counts too: <= and not <": lambda: ((draws < low).sum() + 1) / (len(draws) + 1),
        "these are the draws that are higher: count those as low as ours, or lower": lambda: (
            ((draws >= low).sum() + 1) / (len(draws) + 1)
        ),
    }
    compare("6.4", lambda: attempt(low, draws.clone()), (as_low + 1) / (len(draws) + 1), mistakes)
