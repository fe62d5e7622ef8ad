"""What the notebooks share: the set-up line, figures with alternative text, and the checks of the exercises.

A check compares an answer with the right one on small made-up data; answers.py says how. Those of lessons 01 to 04 are
here, a later lesson's in a file of its own.
"""

import io
import os
import platform
from collections.abc import Callable

import joblib
import torch
from jaxtyping import Float, UInt8
from matplotlib.figure import Figure
from threadpoolctl import threadpool_limits
from torch import Tensor

from gsa_utils.lessons.answers import WrongAnswer, compare, random


def set_up() -> None:
    """Compute with one thread, and print versions, the device, and what it means for the waiting time.

    Two threads that wait for each other pay for every neighbour on their cores, and in a container with fewer CPUs than
    its machine for ever; the networks of the lessons are too small to gain from them (results/threads.csv).
    OMP_NUM_THREADS in the environment asks for more, up to the CPUs that this process may use.
    """
    import gsa_utils

    usable = joblib.cpu_count()  # knows affinity and cgroup quotas
    asked = os.environ.get("OMP_NUM_THREADS", "1")
    threads = min(int(asked), usable) if asked.isdecimal() and int(asked) else 1
    torch.set_num_threads(threads)
    threadpool_limits(threads)  # NumPy's and SciPy's
    # Not accelerate's Accelerator: once there is one, notebook_launcher can start no processes in this notebook.
    device = torch.accelerator.current_accelerator().type if torch.accelerator.is_available() else "cpu"
    waiting = {
        "cpu": "the times at the top of each lesson were measured on two CPU cores",
        "cuda": "no lesson was timed on a GPU: expect fewer minutes than stated",
        "mps": "no lesson was timed on Apple's GPU: expect other minutes than stated",
    }
    print(f"gsa_utils {gsa_utils.__version__}, torch {torch.__version__}, Python {platform.python_version()}")
    print(f"device: {device}; {waiting.get(device, 'not timed')}")
    print(f"CPU threads: {threads} (of {usable} CPUs)")


def show(figure: Figure, alt: str) -> None:
    """Display a figure as a PNG, with the text that stands in for it where it cannot be seen."""
    from IPython.display import Image, display

    png = io.BytesIO()
    figure.savefig(png, format="png", bbox_inches="tight")
    display(Image(png.getvalue(), alt=alt))


# Lesson 01: one map for all images


def check_alignment(attempt: Callable[[Float[Tensor, "n channels height width"]], float]) -> None:
    """Exercise 1.1: mean correlation of an image with the mean of all the others."""
    images = random(6, 1, 5, 5) + random(1, 1, 5, 5, seed=1)
    images[0] = images[0] * 7 + 3  # an overexposed one, so that it matters that exposure is taken out
    x = images.flatten(1).double()
    z = x - x.mean(dim=1, keepdim=True)
    z = z / z.norm(dim=1, keepdim=True)
    others = z.sum(dim=0) - z

    def mean_correlation(a: Tensor, b: Tensor) -> Tensor:
        a, b = a - a.mean(dim=1, keepdim=True), b - b.mean(dim=1, keepdim=True)
        return torch.cosine_similarity(a, b).mean()

    mistakes = {
        "each image is compared with a mean that it is part of itself: leave it out": lambda: mean_correlation(
            z, z.sum(dim=0).expand_as(z)
        ),
        "raw images are averaged, so that one overexposed image decides the mean: standardise each first": lambda: (
            mean_correlation(x, x.sum(dim=0) - x)
        ),
        "the correlations are summed over the images: take their mean": lambda: 6 * mean_correlation(z, others),
        "one value an image came back: take the mean over the images": lambda: torch.cosine_similarity(z, others),
        "a product that is not divided by the length of the mean: a correlation divides by both lengths": lambda: (
            (z * others / 5).sum(dim=1).mean()
        ),
    }
    compare("1.1", lambda: attempt(images.clone()), mean_correlation(z, others), mistakes)


def check_one_map(attempt: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Exercise 1.2: the same weight map for every image and channel of a batch."""
    x, m = random(3, 2, 4, 4), random(4, 4, seed=1)
    before = x.clone()

    def answer() -> Tensor:
        came = attempt(x, m)
        if not torch.equal(x, before):
            raise WrongAnswer("Exercise 1.2: the images themselves were changed: return a new tensor")
        return came

    mistakes = {
        "the map was added: a weight multiplies": lambda: x + m,
        "rows and columns of the map are swapped": lambda: x * m.T,
        "each image got a map of its own size: the weights must not depend on the image": lambda: (
            x * m / x.mean(dim=(1, 2, 3), keepdim=True)
        ),
        "the map was made to sum to 1: weights are used as they are": lambda: x * m / m.sum(),
        "the channels were averaged: weight each of them": lambda: (x * m).mean(dim=1, keepdim=True),
    }
    compare("1.2", answer, x * m, mistakes)


# Lesson 02: pixels as samples


def check_data_matrix(attempt: Callable[[UInt8[Tensor, "n 1 height width"]], Tensor]) -> None:
    """Exercise 2.1: the data matrix X (P, N), every image standardised over its pixels."""
    images = (random(5, 1, 3, 4) * 255).to(torch.uint8)
    x = images.flatten(1).double()

    def standardised(values: Tensor, dim: int) -> Tensor:
        return (values - values.mean(dim, keepdim=True)) / values.std(dim, correction=0, keepdim=True)

    right = standardised(x, 1).T
    mistakes = {
        "the matrix lies on its other side: rows are pixels, columns are images": lambda: standardised(x, 1),
        "reshape tears the images apart: flatten each, then transpose": lambda: standardised(x, 1).reshape(12, 5),
        "the images are not standardised": lambda: x.T,
        "each pixel was standardised across images: standardise each image over its pixels": lambda: (
            standardised(x, 0).T
        ),
        "all images were standardised together: each has its own mean and deviation": lambda: (
            ((x - x.mean()) / x.std(correction=0)).T
        ),
        "the mean is taken out, the deviation is not divided out": lambda: (x - x.mean(1, keepdim=True)).T,
    }
    compare("2.1", lambda: attempt(images.clone()), right, mistakes)


def check_compress(attempt: Callable[[Tensor, int], Tensor]) -> None:
    """Exercise 2.2: rank features a pixel whose inner products are those of the rows of X, as nearly as can be."""
    x, rank = random(8, 30).double() - 0.3, 3
    u, s, _ = torch.linalg.svd(x, full_matrices=False)

    def gram(features: Tensor) -> Tensor:
        return features @ features.T

    def answer() -> Tensor:
        came = attempt(x.clone(), rank)
        if isinstance(came, Tensor) and came.shape != (8, rank):
            raise WrongAnswer(
                f"Exercise 2.2: shape {tuple(came.shape)} came back, (8, {rank}) was expected: one row a pixel"
            )
        return gram(came.double()) if isinstance(came, Tensor) else came

    mistakes = {
        "the eigenvectors are not scaled: each needs the root of its eigenvalue": lambda: gram(u[:, :rank]),
        "scaled by the eigenvalue itself: its root is enough, for F F^T takes it twice": lambda: gram(
            u[:, :rank] * s[:rank] ** 2
        ),
        "these are the eigenvectors of the smallest eigenvalues: eigh returns them in ascending order": lambda: gram(
            u[:, -rank:] * s[-rank:]
        ),
        "the first columns of X are just some images: every image should have its say": lambda: gram(x[:, :rank]),
        "the eigenvalues belong to other eigenvectors: reverse both or neither": lambda: gram(
            u[:, :rank] * s[-rank:].flip(0)
        ),
    }
    compare("2.2", answer, gram(u[:, :rank] * s[:rank]), mistakes)


# Lesson 03: from the boundary to attention


def check_auroc(attempt: Callable[[Tensor, Tensor], float]) -> None:
    """Exercise 3.1: the chance that a pixel of the region outweighs one outside, ties counting half."""
    weights = torch.tensor([[0.9, 0.4, 0.4, 0.3], [0.7, 0.2, 0.6, 0.55]], dtype=torch.float64)
    region = torch.tensor([[True, True, False, False], [False, False, True, False]])
    inside, outside = weights[region], weights[~region]
    wins = (inside[:, None] > outside).double().mean()
    ties = (inside[:, None] == outside).double().mean()
    mistakes = {
        "a tie counts as half a win, not as a loss": lambda: wins,
        "a tie counts as half a win, not as a whole one": lambda: wins + ties,
        "inside and outside are swapped": lambda: 1 - wins - ties / 2,
        "this is the region's share of the weight: only the order of the weights should matter": lambda: (
            inside.sum() / weights.sum()
        ),
        "this is the accuracy of the map cut at 0.5: no threshold is needed": lambda: (
            ((weights > 0.5) == region).double().mean()
        ),
        "this is a difference of means: compare every pixel inside with every pixel outside": lambda: (
            inside.mean() - outside.mean()
        ),
    }
    compare("3.1", lambda: attempt(weights.clone(), region.clone()), wins + ties / 2, mistakes)


def check_sgd_step(attempt: Callable[[Tensor, Tensor, float], Tensor]) -> None:
    """Exercise 3.2: what one SGD step does to the logits of logistic regression."""
    x, g, lr = random(6, 4).double() - 0.5, random(6, seed=1).double() - 0.5, 0.1
    gram = x @ x.T
    mistakes = {
        "the sign: a step goes against the gradient": lambda: lr * gram @ g,
        "the learning rate is missing": lambda: -gram @ g,
        "this is the change of the weights: the logits are X times them": lambda: -lr * x.T @ g,
        "this is the step of a free map: the pixel classifier smooths it by X X^T": lambda: -lr * g,
        "this applies X X^T twice": lambda: -lr * gram @ gram @ g,
    }
    compare("3.2", lambda: attempt(x.clone(), g.clone(), lr), -lr * gram @ g, mistakes)


# Lesson 04: real images


def check_standardise(attempt: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Exercise 4.1: test images by the one mean and the one deviation of the training images."""
    train, test = random(4, 1, 3, 3), random(3, 1, 3, 3, seed=1) * 0.5 + 0.4
    right = (test - train.mean()) / train.std()
    mistakes = {
        "the test images' own mean and deviation were used: a prediction would depend on what else is tested": lambda: (
            (test - test.mean()) / test.std()
        ),
        "each image was standardised by itself: use one mean and one deviation of the training set": lambda: (
            (test - test.mean((1, 2, 3), keepdim=True)) / test.std((1, 2, 3), keepdim=True)
        ),
        "each pixel got its own mean and deviation: one of each is enough": lambda: (
            (test - train.mean(dim=0)) / train.std(dim=0)
        ),
        "divided by the variance: divide by its root": lambda: (test - train.mean()) / train.var(),
        "the training images came back: return the test images": lambda: (train - train.mean()) / train.std(),
        "the mean is taken out, the deviation is not divided out": lambda: test - train.mean(),
    }
    compare("4.1", lambda: attempt(train.clone(), test.clone()), right, mistakes)


def check_paired(attempt: Callable[[Tensor, Tensor], tuple[float, float]]) -> None:
    """Exercise 4.2: mean of the paired differences over seeds, and its standard error."""
    ours = torch.tensor([0.84, 0.80, 0.88, 0.83, 0.90], dtype=torch.float64)
    none = torch.tensor([0.82, 0.79, 0.85, 0.83, 0.86], dtype=torch.float64)
    d, n = ours - none, len(ours)

    def pair(mean: Tensor, error: Tensor) -> Tensor:
        return torch.stack([mean, error])

    mistakes = {
        "this is the deviation of the differences: the error of their mean is smaller by the root of n": lambda: pair(
            d.mean(), d.std()
        ),
        "the seeds are not paired: take the difference seed by seed, then its deviation": lambda: pair(
            d.mean(), ((ours.var() + none.var()) / n).sqrt()
        ),
        "the deviation divides by n: five differences have four degrees of freedom": lambda: pair(
            d.mean(), d.std(correction=0) / n**0.5
        ),
        "the sign: with attention minus without": lambda: pair(-d.mean(), d.std() / n**0.5),
        "divided by n: divide by its root": lambda: pair(d.mean(), d.std() / n),
    }
    compare("4.2", lambda: attempt(ours, none), pair(d.mean(), d.std() / n**0.5), mistakes)
