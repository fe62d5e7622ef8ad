"""The scores of a model on an image set, and the one loop that every prediction goes through."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from gsa_utils.arguments import bad_value, describe, instance_of
from gsa_utils.evaluation.persons import warn_of_known
from gsa_utils.images import ImageSet


class NoNumbers(ValueError):
    """A model's logits give no probabilities: they are NaN or infinite."""


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[nn.Module]:
    """Within it `model` is in evaluation mode; afterwards each of its modules is in the mode that it came in."""
    instance_of("model", model, nn.Module, "an nn.Module")
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield model
    finally:
        for module, training in modes:
            module.training = training


def device_of(model: nn.Module) -> torch.device:
    """Where its weights are, or its buffers; the CPU where it has none."""
    return next((value.device for value in [*model.parameters(), *model.buffers()]), torch.device("cpu"))


def float_batches(model: nn.Module, image_set: ImageSet, size: int) -> Iterator[Float[Tensor, "batch channels h w"]]:
    """The images in [0, 1], `size` at a time, on the device that the model is on."""
    device = device_of(model)
    for images in image_set.images.split(size):
        yield images.to(device).float() / 255


def predict(model: nn.Module, image_set: ImageSet, batch_size: int = 256) -> Float[Tensor, "n classes"]:
    """The probability of every class for every image, on the CPU; the model is left in the mode it came in.

    Raises:
        ValueError: a model that does not return a logit for each class, or one that is no number.
    """
    instance_of("image_set", image_set, ImageSet, "an ImageSet")
    return _logits(model, image_set, batch_size).softmax(dim=1)


def evaluate(model: nn.Module, image_set: ImageSet, batch_size: int = 256) -> dict[str, float]:
    """Accuracy, AUROC (for more than two classes the mean of one against the rest) and mean cross-entropy loss.

    The model is used in evaluation mode, on the device it is on, and left in the mode it came in. Where `fit` trained
    it on people who are in this set too, by `groups`, a warning says so.

    Raises:
        ValueError: a set without images of every class, for which AUROC is not defined; logits that are no numbers.
    """
    if min(instance_of("image_set", image_set, ImageSet, "an ImageSet").class_counts) == 0:
        expected = "an ImageSet with images of every class; AUROC is not defined otherwise"
        raise bad_value("image_set", f"{image_set!r:.80}", expected)
    if met := getattr(model, "met", ()):
        warn_of_known("image_set", image_set, met, stacklevel=2)
    return scores(_logits(model, image_set, batch_size), image_set.labels.cpu())


def scores(logits: Float[Tensor, "n classes"], labels: Int[Tensor, " n"]) -> dict[str, float]:
    """Accuracy, AUROC and mean cross-entropy loss, as `evaluate` gives them, of logits and labels on the CPU."""
    right = (logits.argmax(dim=1) == labels).float().where(~logits.isnan().any(dim=1), torch.nan)
    return {
        "accuracy": right.mean().item(),
        "auroc": _auroc(logits, labels),
        "loss": F.cross_entropy(logits, labels).item(),
    }


def check_logits(logits: object, count: int, classes: int) -> None:
    """Raise a ValueError unless these are `count` rows of one logit a class."""
    if not isinstance(logits, Tensor) or logits.shape != (count, classes):
        came = f"outputs of shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else describe(logits)
        raise bad_value("model", came, f"logits ({count}, {classes})")


def _logits(model: nn.Module, image_set: ImageSet, batch_size: int) -> Float[Tensor, "n classes"]:
    found = []
    with eval_mode(model), torch.inference_mode():
        for images in float_batches(model, image_set, batch_size):
            found.append(model(images))
            check_logits(found[-1], len(images), len(image_set.class_names))
    logits = torch.cat(found).float().cpu()
    if wrong := int(logits.softmax(dim=1).isnan().any(dim=1).sum()):
        raise NoNumbers(
            f"model: got logits that are NaN or infinite for {wrong} of {len(logits)} images, expected numbers"
        )
    return logits


def _auroc(logits: Float[Tensor, "n classes"], labels: Tensor) -> float:
    """By the odds of each class against the rest: probabilities are rounded to 1 where a confident model is sure.

    NaN where a logit is NaN, like the loss: the caller says what that means.
    """
    if torch.isnan(logits).any():
        return float("nan")
    found = []
    for one in range(logits.shape[1]):
        rest = torch.cat([logits[:, :one], logits[:, one + 1 :]], dim=1).double().logsumexp(dim=1)
        order = torch.unique(logits[:, one] - rest, return_inverse=True)[1]  # an infinite logit has a place in it too
        found.append(roc_auc_score(labels == one, order))
    return float(sum(found) / len(found))
