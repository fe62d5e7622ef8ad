"""Checks of lesson 09: a Gram matrix that grows batch by batch, and the bytes of an all-reduce."""

from collections.abc import Callable

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from gsa_utils.lessons.answers import WrongAnswer, compare, random, untouched

AddBatch = Callable[[Float[Tensor, "p p"], UInt8[Tensor, "b 1 h w"]], None]


def check_add_batch(attempt: AddBatch) -> AddBatch:
    """Exercise 9.1: add the products of a batch's standardised images to a Gram matrix, in place.

    Returns what the lesson goes on with: the answer, or where there is none yet the lesson's own.
    """
    batches = [(random(count, 1, 3, 4, seed=count) * 255).to(torch.uint8) for count in (3, 5)]

    def standardised(batch: Tensor, dim: int | None = 1) -> Tensor:
        x = batch.flatten(1).double()
        over = tuple(range(x.ndim)) if dim is None else dim
        return (x - x.mean(over, keepdim=True)) / x.std(over, correction=0, keepdim=True)

    def total(part: Callable[[Tensor], Tensor]) -> Tensor:
        return sum(part(batch) for batch in batches)

    def gram(x: Tensor) -> Tensor:
        return x.T @ x

    def answer() -> Tensor:
        came = torch.zeros(12, 12)
        for batch in batches:
            try:
                attempt(came, batch.clone())
            except RuntimeError as error:
                if untouched(error):
                    raise
                raise WrongAnswer(f"Exercise 9.1: {_named(str(error))}") from error
        return came

    def centred(batch: Tensor) -> Tensor:
        return batch.flatten(1).double() - batch.flatten(1).double().mean(1, keepdim=True)

    mistakes = {
        "gram is as it was: `gram = gram + ...` makes a new matrix, `gram += ...` adds to this one": lambda: (
            torch.zeros(12, 12)
        ),
        "the images are not standardised": lambda: total(lambda batch: gram(batch.flatten(1).double())),
        "the mean is taken out, the deviation is not divided out": lambda: total(lambda batch: gram(centred(batch))),
        "each pixel was standardised over the batch: every image over its own pixels": lambda: total(
            lambda batch: gram(standardised(batch, 0))
        ),
        "the batch has one mean and one deviation: every image has its own": lambda: total(
            lambda batch: gram(standardised(batch, None))
        ),
        "divided by the size of the batch: then batches of different sizes do not add up": lambda: total(
            lambda batch: gram(standardised(batch)) / len(batch)
        ),
        "only the last batch is there: add to gram, don't overwrite it": lambda: gram(standardised(batches[-1])),
        "std divides by P - 1 here: the variance over all P pixels should be 1 (correction=0)": lambda: (
            total(lambda batch: gram(standardised(batch))) * 11 / 12
        ),
    }
    done = compare("9.1", answer, total(lambda batch: gram(standardised(batch))), mistakes)
    return attempt if done else _add_batch


def _add_batch(gram: Float[Tensor, "p p"], batch: UInt8[Tensor, "b 1 h w"]) -> None:
    x = batch.flatten(1).float()
    x = x - x.mean(dim=1, keepdim=True)
    x = x / x.std(dim=1, correction=0, keepdim=True)
    gram += x.T @ x


def _named(error: str) -> str:
    """The likely mistake behind an error of torch."""
    if "must match" in error or "broadcast" in error or "doesn't match" in error:
        return "the sizes don't fit: x @ x.T multiplies images with images, x.T @ x pixels with pixels"
    if "floating point" in error or "dtype" in error:
        return "bytes have no mean and can't hold one: call .float() first"
    return error


def check_network_seconds(attempt: Callable[[int, int, float], float]) -> None:
    """Exercise 9.2: seconds of a ring all-reduce of a P x P matrix of 4-byte numbers."""
    cases = [(784, 2, 1e6), (4096, 8, 1e9), (784, 1, 1e6)]

    def all_of(seconds: Callable[[int, int, float], float]) -> Tensor:
        return torch.tensor([float(seconds(*case)) for case in cases], dtype=torch.float64)

    mistakes = {
        "half of it: the sums have to be handed out as well": lambda: all_of(
            lambda p, k, r: (k - 1) / k * 4 * p**2 / r
        ),
        "bytes, not numbers: each takes 4": lambda: all_of(lambda p, k, r: 2 * (k - 1) / k * p**2 / r),
        "P numbers: the matrix has P x P": lambda: all_of(lambda p, k, r: 2 * (k - 1) / k * 4 * p / r),
        "the whole matrix each time, or the bytes of all: each sends one piece of k, all at once": lambda: all_of(
            lambda p, k, r: 2 * (k - 1) * 4 * p**2 / r
        ),
        "k rounds each way: k - 1 are enough, a process has its own piece already": lambda: all_of(
            lambda p, k, r: 2 * 4 * p**2 / r
        ),
        "these are the bytes: divide by the rate": lambda: all_of(lambda p, k, r: 2 * (k - 1) / k * 4 * p**2),
    }
    right = all_of(lambda p, k, r: 2 * (k - 1) / k * 4 * p**2 / r)

    def answer() -> Tensor | None:
        came = [attempt(*case) for case in cases]
        return None if any(one is None for one in came) else torch.tensor([float(one) for one in came]).double()

    compare("9.2", answer, right, mistakes)
