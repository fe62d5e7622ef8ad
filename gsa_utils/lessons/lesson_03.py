"""Checks of lesson 03: the attention module, the training loop, the score of a map, and a step of the pixel classifier.

Each returns what the lesson goes on with: the learner's answer, or the lesson's own where nobody has begun.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator
from types import SimpleNamespace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from gsa_utils.lessons.answers import WrongAnswer, compare, random, untouched

Training = Callable[..., list[float]]
Batches = Callable[[int], Iterable[tuple[Tensor, Tensor]]]


class Attention(nn.Module):
    """The lesson's own answer to exercise 3.1."""

    def __init__(self, features: Float[Tensor, "1 features height width"], hidden: int = 32):
        super().__init__()
        self.register_buffer("features", features)
        self.classifier = nn.Sequential(
            nn.Conv2d(features.shape[1], hidden, kernel_size=1), nn.ReLU(), nn.Conv2d(hidden, 1, kernel_size=1)
        )
        nn.init.zeros_(self.classifier[-1].weight)
        nn.init.zeros_(self.classifier[-1].bias)

    def map(self) -> Float[Tensor, "height width"]:
        z = self.classifier(self.features)[0, 0]
        m = torch.sigmoid(z)
        return m / m.mean()

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch channels height width"]:
        return self.map() * x


def check_attention(attempt: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    """Exercise 3.1: one weight map, 1 on average, from a classifier of pixels, and images multiplied by it."""
    features, x = random(1, 5, 4, 3) - 0.5, random(2, 1, 4, 3, seed=1)
    made = _with_other_weights(Attention(features, hidden=6))
    z = made.classifier(features)[0, 0].detach()
    m = torch.sigmoid(z)

    def answer() -> Tensor:
        module = _with_other_weights(attempt(features.clone(), hidden=6))
        weights = module.map()
        _check_map(weights, (4, 3))
        try:
            return _together(weights, module(x.clone()))
        except NotImplementedError as error:
            said = "map() is there, forward(x) is not yet" if untouched(error) else str(error)
            raise WrongAnswer(f"Exercise 3.1: {said}") from None

    def like(weights: Tensor) -> Callable[[], Tensor]:
        return lambda: _together(weights, weights * x)

    mistakes = {
        "m is not divided by its mean, so the map is not 1 on average": like(m),
        "m is divided by its sum: its mean is wanted, so that the weights are 1 on average": like(m / m.sum()),
        "m is divided by its highest weight: its mean is wanted": like(m / m.max()),
        "the sigmoid is missing: logits are not weights, some are negative": like(z / z.mean()),
        "the logits were divided by their mean; divide after the sigmoid": like(torch.sigmoid(z / z.mean())),
        "this is a softmax over all pixels: each pixel is classified by itself, by a sigmoid": like(
            z.exp() / z.exp().mean()
        ),
        "the sign: a high logit means a high weight": like((1 - m) / (1 - m).mean()),
        "the map does not follow the classifier's weights: compute it anew in map()": like(torch.ones_like(m)),
        "the map is added: it multiplies the image": lambda: _together(m / m.mean(), m / m.mean() + x),
        "forward returns the images as they were: multiply them by the map": lambda: _together(m / m.mean(), x),
        "forward multiplies by m: the map that map() returns is m / mean(m)": lambda: _together(m / m.mean(), m * x),
    }
    right = _together(m / m.mean(), m / m.mean() * x)
    return attempt if compare("3.1", answer, right, mistakes) else Attention


def _with_other_weights(module: nn.Module) -> nn.Module:
    """Away from the start, where every map is 1 and most mistakes would not show."""
    for number, weights in enumerate(module.parameters()):
        weights.data = random(*weights.shape, seed=number) - 0.4
    return module


def _together(weights: Tensor, weighted: Tensor) -> Tensor:
    return torch.cat([weights.flatten(), weighted.flatten()])


def _check_map(weights: object, size: tuple[int, int]) -> None:
    said = "Exercise 3.1: "
    if weights is None:
        raise WrongAnswer(said + "map() returns nothing: is there a return?")
    if not isinstance(weights, Tensor) or weights.shape != size:
        shape = tuple(weights.shape) if isinstance(weights, Tensor) else type(weights).__name__
        raise WrongAnswer(said + f"map() returns {shape}, (H, W) was expected: [0, 0] drops two dimensions of size 1")
    if not weights.requires_grad:
        raise WrongAnswer(said + "no gradient gets through the map: it must not be detached from the classifier")


def training(
    cnn: nn.Module, attention: nn.Module, batches: Batches, epochs: int, optimiser: Optimizer, schedule: LRScheduler
) -> list[float]:
    """The lesson's own answer to exercise 3.2."""
    losses, images = _batch_losses(cnn, attention, batches, epochs, optimiser, schedule)
    return ((losses * images).sum(1) / images.sum(1)).tolist()


def _batch_losses(
    cnn: nn.Module, attention: nn.Module, batches: Batches, epochs: int, optimiser: Optimizer, schedule: LRScheduler
) -> tuple[Float[Tensor, "epochs batches"], Float[Tensor, "epochs batches"]]:
    """The mean loss of each batch, and its number of images."""
    rows = []
    for epoch in range(epochs):
        row = []
        for x, labels in batches(epoch):
            loss = nn.functional.cross_entropy(cnn(attention(x)), labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            row.append((loss.item(), len(x)))
        schedule.step()
        rows.append(row)
    return torch.tensor(rows, dtype=torch.float64).unbind(-1)


def check_training(attempt: Training) -> Training:
    """Exercise 3.2: the loop that trains the CNN and the map together, and the mean loss of each epoch."""

    def by(loop: Callable, **changed: object) -> Tensor:
        return torch.as_tensor(loop(**_toy() | changed)).double()

    def lacking(part: str, step: str) -> Callable[[], Tensor]:
        """What comes of a loop that does not call this."""

        def losses() -> Tensor:
            toy = _toy()
            setattr(toy[part], step, lambda *_: None)
            with warnings.catch_warnings():  # torch's, that the rates change before a step was made
                warnings.simplefilter("ignore", UserWarning)
                return by(training, **toy)

        return losses

    def every_batch() -> Tensor:
        toy = _toy()
        ask, step = toy["batches"], toy["schedule"].step

        def batches(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
            for batch in ask(epoch):
                yield batch
                step()

        return by(training, **toy | {"batches": batches, "schedule": SimpleNamespace(step=lambda: None)})

    mistakes = {
        "gradients add up: optimiser.zero_grad() is missing": lacking("optimiser", "zero_grad"),
        "nothing is learned: optimiser.step() is missing": lacking("optimiser", "step"),
        "the learning rates stay as they are: schedule.step() is missing at the end of an epoch": lacking(
            "schedule", "step"
        ),
        "schedule.step() belongs at the end of an epoch, not of a batch": every_batch,
        "the map is left out: the CNN is shown attention(x)": lambda: by(training, attention=nn.Identity()),
        "cross_entropy takes logits: it does the softmax itself": lambda: by(training, **_softmaxed(_toy())),
        "batches of an epoch differ: ask batches(epoch) for them, not always the first epoch's": lambda: by(
            training, batches=lambda epoch: _toy()["batches"](0)
        ),
        "the last batch is smaller: weigh each batch's loss by its number of images": lambda: _batch_losses(**_toy())[
            0
        ].mean(1),
        "these are sums over batches: divide by the number of images": lambda: _batch_losses(**_toy())[0].sum(1),
        "these are sums over images: divide by their number": lambda: torch.mul(*_batch_losses(**_toy())).sum(1),
        "this is each epoch's last batch: the mean over all its images is wanted": lambda: _batch_losses(**_toy())[0][
            :, -1
        ],
        "this is one number a batch: one an epoch is wanted": lambda: _batch_losses(**_toy())[0].flatten(),
    }
    return attempt if compare("3.2", lambda: attempt(**_toy()), by(training), mistakes) else training


def _toy() -> dict[str, Any]:
    """Ten images and all else that the loop asks for, the same at every call; the rates are high, so mistakes show."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        cnn = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    attention = _with_other_weights(Attention(random(1, 3, 4, 4) - 0.5, hidden=4))
    images, labels = random(10, 1, 4, 4, seed=1), torch.arange(10) % 2

    def batches(epoch: int) -> list[tuple[Tensor, Tensor]]:
        order = torch.randperm(10, generator=torch.Generator().manual_seed(epoch))
        return [(images[chosen], labels[chosen]) for chosen in order.split(4)]

    optimiser = torch.optim.AdamW([*cnn.parameters(), *attention.parameters()], lr=0.1, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 3)
    toy = {"cnn": cnn, "attention": attention, "batches": batches, "epochs": 3}
    return toy | {"optimiser": optimiser, "schedule": schedule}


def _softmaxed(toy: dict[str, Any]) -> dict[str, Any]:
    return toy | {"cnn": nn.Sequential(toy["cnn"], nn.Softmax(dim=1))}


def auroc(weights: Float[Tensor, "height width"], region: Bool[Tensor, "height width"]) -> float:
    """The lesson's own answer to exercise 3.3."""
    inside, outside = weights[region][:, None], weights[~region]
    return ((inside > outside).double() + (inside == outside).double() / 2).mean().item()


def check_auroc(attempt: Callable[[Tensor, Tensor], float]) -> Callable[[Tensor, Tensor], float]:
    """Exercise 3.3: the chance that a pixel of the region outweighs one outside, ties counting half."""
    weights = torch.tensor([[0.9, 0.4, 0.4, 0.3], [0.7, 0.2, 0.6, 0.55]], dtype=torch.float64)
    weights = weights / weights.mean()
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
        "this is the accuracy of the map cut at its boundary, 1: no threshold is needed": lambda: (
            ((weights > 1) == region).double().mean()
        ),
        "this is a difference of means: compare every pixel inside with every pixel outside": lambda: (
            inside.mean() - outside.mean()
        ),
    }
    right = wins + ties / 2
    return attempt if compare("3.3", lambda: attempt(weights.clone(), region.clone()), right, mistakes) else auroc


def sgd_step(X: Float[Tensor, "pixels images"], g: Float[Tensor, " pixels"], lr: float) -> Float[Tensor, " pixels"]:
    """The lesson's own answer to exercise 3.4."""
    return -lr * X @ (X.T @ g)


def check_sgd_step(
    attempt: Callable[[Tensor, Tensor, float], Tensor],
) -> Callable[[Tensor, Tensor, float], Tensor]:
    """Exercise 3.4: what one SGD step does to the logits of logistic regression."""
    x, g, lr = random(6, 4).double() - 0.5, random(6, seed=1).double() - 0.5, 0.1
    gram = x @ x.T
    mistakes = {
        "the sign: a step goes against the gradient": lambda: lr * gram @ g,
        "the learning rate is missing": lambda: -gram @ g,
        "this is the change of the weights: the logits are X times them": lambda: -lr * x.T @ g,
        "this is the step of a free map: the pixel classifier smooths it by X X^T": lambda: -lr * g,
        "this applies X X^T twice": lambda: -lr * gram @ gram @ g,
        "divided by the number of pixels: the logits' gradient is summed over pixels, not a mean": lambda: (
            -lr * gram @ g / len(g)
        ),
    }
    right = -lr * gram @ g
    return attempt if compare("3.4", lambda: attempt(x.clone(), g.clone(), lr), right, mistakes) else sgd_step
