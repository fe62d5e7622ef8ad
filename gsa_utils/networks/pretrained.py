"""The four CNNs with torchvision's ImageNet weights: each as it was published, but for its last linear layer.

Such weights expect images of one size, mean and deviation. That is a part of them, so the network takes images in
[0, 1] and prepares them itself, and computes the same before training and after. `fit` sees that and puts no mean and
deviation of the training set in front: the weights would be shown what they were not trained on. (A map on the input
weights intensities then, and weight 0 is black, not the mean.)
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gsa_utils.arguments import bad_value, describe
from gsa_utils.files import DataUnavailable


class Published(NamedTuple):
    """A network's name in torchvision, its last linear layer, and the `layers` of backbones.Family."""

    model: str
    head: str
    layers: Mapping[str, str]


def _published(model: str, head: str, *layers: str) -> Published:
    return Published(model, head, dict(zip(("early", "middle", "late", "pool"), layers, strict=True)))


# What enters these layers has the same grids in every network: 56, 28, 14 and 7 places a side.
PUBLISHED = {
    "googlenet": _published("googlenet", "fc", "conv2", "maxpool3", "maxpool4", "avgpool"),
    "vgg": _published("vgg11_bn", "classifier.6", "features.8", "features.15", "features.22", "avgpool"),
    "resnet": _published("resnet18", "fc", "layer1", "layer3", "layer4", "avgpool"),
    "densenet": _published(
        "densenet121", "classifier", *(f"features.{s}" for s in ("denseblock1", "transition2", "transition3", "norm5"))
    ),
}


class Preparation(nn.Module):
    """Images in [0, 1] of any size, grey or in colour, as a pretrained network expects them: resized, never cropped."""

    def __init__(self, size: int, mean: Sequence[float], deviation: Sequence[float]):
        super().__init__()
        self.size = size
        # Not persistent: a state dict has the published names and no others.
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("deviation", torch.tensor(deviation)[:, None, None], persistent=False)

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch 3 size size"]:
        if not isinstance(x, Tensor) or x.ndim != 4 or x.shape[1] not in (1, 3) or not x.is_floating_point():
            raise bad_value("x", describe(x), "floating-point images (B, 1 or 3, H, W) in [0, 1]")
        x = F.interpolate(x, (self.size, self.size), mode="bilinear", antialias=True)
        return (x - self.mean) / self.deviation  # this repeats a grey channel, too

    def extra_repr(self) -> str:
        return f"{self.size}, mean={self.mean.flatten().tolist()}, deviation={self.deviation.flatten().tolist()}"


def build_pretrained(name: str, num_classes: int, download: bool = True) -> nn.Module:
    """The network of `PUBLISHED[name]`, its submodules under their own names; `build_backbone` says the rest.

    Args:
        download: False leaves the weights random, for those that a file brings.
    """
    import torchvision.models as zoo

    model, head, _ = PUBLISHED[name]
    weights, folder = zoo.get_model_weights(model).DEFAULT, f"{torch.hub.get_dir()}/checkpoints"
    try:
        network = zoo.get_model(model, weights=weights) if download else _without_weights(model)
    except Exception as error:  # a network or a damaged file fails in many ways
        raise DataUnavailable(
            f"{weights} could neither be read from {folder} nor downloaded from {weights.url} ({error}). Put that file "
            f"into {folder}, or set TORCH_HOME to a folder with it in hub/checkpoints; pretrained=False needs no file."
        ) from error
    network.set_submodule(head, nn.Linear(network.get_submodule(head).in_features, num_classes))
    # All four are normalised alike: GoogLeNet's weights are from elsewhere, and torchvision's network goes from this
    # mean and deviation to theirs by itself (transform_input).
    expected = weights.transforms()
    network.prepare = Preparation(*expected.crop_size, expected.mean, expected.std)
    network.register_forward_pre_hook(_prepare)
    return network


def _without_weights(model: str) -> nn.Module:
    import torchvision.models as zoo

    # GoogLeNet as its weights make it: with their own scaling of images, without the heads that only training needs.
    settings = {"transform_input": True, "aux_logits": False, "init_weights": False} if model == "googlenet" else {}
    return zoo.get_model(model, weights=None, **settings)


def _prepare(network: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """A plain function that is handed its network, so that a copy prepares its own images."""
    return (network.prepare(args[0]), *args[1:])
