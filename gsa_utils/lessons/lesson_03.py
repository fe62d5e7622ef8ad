"""Checks of lesson 03: how well a map finds a region, and what a step does to its logits."""

from collections.abc import Callable

import torch
from torch import Tensor

from gsa_utils.lessons.answers import compare, random


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
