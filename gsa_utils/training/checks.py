"""What has to hold before and while a model is trained: settings, image sets, losses, gradients."""

import math
from os import PathLike

from torch import nn

from gsa_utils.arguments import (
    bad_value,
    check_path,
    check_positive,
    check_seed,
    check_whole,
    describe,
    instance_of,
    real_number,
)
from gsa_utils.evaluation.persons import group_keys, warn_of_known
from gsa_utils.evaluation.scores import NoNumbers, evaluate
from gsa_utils.images import ImageSet
from gsa_utils.training.state import weight_maps

LARGEST_RATE = 1e6  # far beyond what trains anything, and within what 32 bits hold


def check_settings(**settings: object) -> dict[str, int | float]:
    """The settings of a run as Python's own numbers: NumPy's seed no generator and can't be read from a checkpoint.

    Raises:
        ValueError: one out of range; the message names it.
    """
    for argument, least in {"epochs": 1, "batch_size": 2}.items():
        check_whole(argument, settings[argument], least)
    check_seed(settings["seed"])
    for argument in ("lr", "attention_lr"):
        check_positive(argument, settings[argument])
        if settings[argument] > LARGEST_RATE:
            raise bad_value(argument, repr(settings[argument]), f"at most {LARGEST_RATE:g}")
    decay = settings["weight_decay"]
    if not real_number(decay) or not 0 <= decay <= LARGEST_RATE:
        raise bad_value("weight_decay", repr(decay), f"0 or a positive number, at most {LARGEST_RATE:g}")
    return {name: value.item() if hasattr(value, "item") else value for name, value in settings.items()}


def check_given(model: nn.Module, train: ImageSet, valid: ImageSet, folder: str | PathLike | None) -> None:
    """Raise a ValueError unless these are a model, two sets that it can be trained and scored on, and a path if any.

    A warning says whom both sets show.
    """
    instance_of("model", model, nn.Module, "an nn.Module")
    if folder is not None:
        check_path("checkpoint_dir", folder)
    for argument, image_set in (("train", train), ("valid", valid)):
        if not isinstance(image_set, ImageSet):
            raise bad_value(argument, describe(image_set), "an ImageSet")
        if min(image_set.class_counts) == 0 or len(image_set.class_names) < 2:
            raise bad_value(argument, f"{image_set!r}", "images of every class, and at least two classes")
    if train.images.shape[1:] != valid.images.shape[1:] or list(train.class_names) != list(valid.class_names):
        raise bad_value("valid", f"{valid!r}", f"the image shape and classes of train, {train!r}")
    warn_of_known(
        "valid",
        valid,
        group_keys(train),
        stacklevel=3,
    )


def check_finite(epoch: int, **losses: float) -> None:
    """Raise a RuntimeError where a loss, by its kind, is no finite number."""
    for kind, loss in losses.items():
        if not math.isfinite(loss):
            raise RuntimeError(f"the {kind} loss is not a number in epoch {epoch}; a lower lr may help")


def validated(model: nn.Module, valid: ImageSet, epoch: int) -> dict[str, float]:
    """The scores of an epoch; the loss of a model whose logits are no numbers is none, which is an error."""
    try:
        scores = evaluate(model, valid, batch_size=256)
    except NoNumbers:
        scores = {"loss": float("nan")}
    check_finite(epoch, validation=scores["loss"])
    return {f"valid_{name}": score for name, score in scores.items()}


def check_reached(model: nn.Module) -> None:
    """Raise a RuntimeError where no gradient came to a map.

    One hooked to a submodule that the model never calls would train to nothing without a word.
    """
    for weight_map in weight_maps(model):
        if any(weight.requires_grad and weight.grad is None for weight in weight_map.parameters()):
            raise RuntimeError("no gradient reaches the weight map: the submodule it is attached `at` is never called")
