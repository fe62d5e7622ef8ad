"""How the answer to an exercise is checked.

An exercise that nobody has touched raises NotImplementedError, which is reported and lets the notebook run on; a wrong
answer raises WrongAnswer with the likely mistake by name.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor


class WrongAnswer(AssertionError):
    """The answer to an exercise is wrong; the message names the likely mistake."""


def compare(
    exercise: str, answer: Callable[[], object], right: Tensor, mistakes: Mapping[str, Callable[[], Tensor]]
) -> bool:
    """Compare the answer with the right one, then with what known mistakes would give; False if nobody has begun."""
    try:
        came = answer()
    except NotImplementedError as error:
        not_begun(exercise, error)
        return False
    said = f"Exercise {exercise}: "
    if came is None:
        raise WrongAnswer(said + "the function returns nothing: is there a return?")
    if not isinstance(came, Tensor):
        try:
            came = torch.as_tensor(came)
        except (TypeError, ValueError, RuntimeError) as error:
            raise WrongAnswer(said + f"a {type(came).__name__} came back, a tensor was expected") from error
    came = came.detach().double()
    if came.shape == right.shape and torch.allclose(came, right.double(), rtol=1e-3, atol=1e-4):
        print(said + "right.")
        return True
    for mistake, wrong in mistakes.items():
        value = wrong().double()
        if came.shape == value.shape and torch.allclose(came, value, rtol=1e-3, atol=1e-4, equal_nan=True):
            raise WrongAnswer(said + mistake)
    raise WrongAnswer(said + _unlike(came, right.double(), answer))


def not_begun(exercise: str, error: NotImplementedError) -> None:
    """Say so, and that the notebook runs on.

    Raises:
        WrongAnswer: the answer was begun, and this is an error of torch's in it.
    """
    if not untouched(error):
        raise WrongAnswer(f"Exercise {exercise}: {error}") from error
    print(f"Exercise {exercise}: not started yet. The notebook runs on.")


def untouched(error: Exception) -> bool:
    """Whether it is a stub's own error: torch refuses some types of numbers by a NotImplementedError, too."""
    return isinstance(error, NotImplementedError) and error.args in ((), ("your turn",))


def _unlike(came: Tensor, right: Tensor, answer: Callable[[], object]) -> str:
    """In words how they differ, where no known mistake explains it."""
    if came.shape != right.shape:
        return f"shape {tuple(came.shape)} came back, {tuple(right.shape)} was expected"
    if not torch.isfinite(came).all():
        return "the answer holds NaN or infinity: is something divided by zero?"
    if not torch.equal(came, torch.as_tensor(answer()).detach().double()):
        return "another answer at each call: nothing in it may be drawn by chance"
    return f"the shape is right, the values are off by up to {(came - right).abs().max():.3g}"


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))
