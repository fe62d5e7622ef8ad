"""The scores of a model on an image set: accuracy, AUROC and loss."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy, MulticlassAUROC

from gsa_utils.arguments import bad_value
from gsa_utils.images import ImageSet


def evaluate(model: nn.Module, image_set: ImageSet, batch_size: int = 256) -> dict[str, float]:
    """Accuracy, AUROC (for more than two classes the mean of one against the rest) and mean cross-entropy loss.

    The model is used in evaluation mode, on the device it is on, and left in the mode it came in.

    Raises:
        ValueError: a set without images of every class, for which AUROC is not defined.
    """
    if not isinstance(image_set, ImageSet) or min(image_set.class_counts) == 0:
        raise bad_value(
            "image_set", f"{image_set!r:.80}", "an ImageSet with images of every class; AUROC is not defined otherwise"
        )
    device = next((value.device for value in [*model.parameters(), *model.buffers()]), torch.device("cpu"))
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.inference_mode():
            outputs = [model(images.to(device).float() / 255) for images in image_set.images.split(batch_size)]
    finally:
        for module, training in modes:
            module.training = training
    labels, classes = image_set.labels.cpu(), len(image_set.class_names)
    for output, batch in zip(outputs, labels.split(batch_size), strict=True):
        check_logits(output, len(batch), classes)
    logits = torch.cat(outputs).float().cpu()
    return {
        "accuracy": MulticlassAccuracy(classes, average="micro")(logits, labels).item(),
        "auroc": MulticlassAUROC(classes)(_ranks(logits), labels).item(),
        "loss": F.cross_entropy(logits, labels).item(),
    }


def _ranks(logits: Float[Tensor, "n classes"]) -> Float[Tensor, "n classes"]:
    """The order of the images by the odds of each class against the rest, as numbers from 0 to 1.

    Probabilities would do for AUROC, were they not rounded to 1 for all images that a confident model is sure of.
    """
    columns = []
    for one in range(logits.shape[1]):
        rest = torch.cat([logits[:, :one], logits[:, one + 1 :]], dim=1).double().logsumexp(dim=1)
        columns.append(torch.unique(logits[:, one] - rest, return_inverse=True)[1])
    return torch.stack(columns, dim=1).double() / len(logits)


def check_logits(logits: object, count: int, classes: int) -> None:
    """Raise a ValueError unless these are `count` rows of one logit a class."""
    if not isinstance(logits, Tensor) or logits.shape != (count, classes):
        came = f"shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else f"type {type(logits).__name__}"
        raise bad_value("model", f"outputs of {came}", f"logits ({count}, {classes})")
