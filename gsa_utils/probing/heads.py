"""What a linear classifier may read from the activations of a frozen network, (B, C, h, w) -> logits.

    average    the mean over places: C numbers an image, and the places are gone
    shared     K means over places, weighted by maps that all images share (GlobalPooling): K C numbers
    attentive  K means over places, weighted by K queries that ask each image anew: K C numbers
    places     every activation at every place: C h w numbers, so as many weights more as there are places

Behind each sits BatchNorm without weights, as in the linear probes of MAE (https://arxiv.org/abs/2111.06377): what is
read has variance 1 whatever the pooling, so that one learning rate of the linear layer suits all.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gsa_utils.arguments import Size, bad_value, height_and_width
from gsa_utils.attention import GlobalPooling, WeightMap
from gsa_utils.networks.pooling import AttentivePooling


class Head(nn.Module):
    """Standardised activations, pooled, standardised again, and one linear layer.

    Args:
        pooling: (B, C, h, w) -> (B, F).
        features: F.
        mean, deviation: (C,) of the training activations, over images and places.
    """

    def __init__(
        self,
        pooling: nn.Module,
        features: int,
        num_classes: int,
        mean: Float[Tensor, " channels"],
        deviation: Float[Tensor, " channels"],
    ):
        super().__init__()
        self.register_buffer("mean", mean[:, None, None])
        self.register_buffer("deviation", deviation[:, None, None])
        self.pooling = pooling
        self.norm = nn.BatchNorm1d(features, affine=False)
        self.linear = nn.Linear(features, num_classes)
        nn.init.zeros_(self.linear.bias)

    def standardise(self, x: Float[Tensor, "batch channels h w"]) -> Float[Tensor, "batch channels h w"]:
        """In full precision, whatever the activations were kept in."""
        return (x.float() - self.mean) / self.deviation

    def classify(self, pooled: Float[Tensor, "batch features"]) -> Float[Tensor, "batch classes"]:
        """The logits of what the pooling gives for standardised activations."""
        return self.linear(self.norm(pooled))

    def forward(self, x: Float[Tensor, "batch channels h w"]) -> Float[Tensor, "batch classes"]:
        return self.classify(self.pooling(self.standardise(x)))


def as_linear(head: Head, size: Size) -> nn.Sequential:
    """The head as one linear layer on activations (B, C, h, w) of `size`: the same logits to rounding.

    Under constant maps every step of a head is linear: standardising, weighting the places, dividing by the deviation
    that training has seen, and classifying. With queries it is not, for they ask each image anew.

    Raises:
        ValueError: a head that pools by queries.
    """
    height, width = height_and_width("size", size)
    places, channels = height * width, head.mean.numel()
    pooling = head.pooling
    if isinstance(pooling, GlobalPooling):
        maps = pooling.attention.resized((height, width)).flatten(1)
        weight = maps / maps.sum(dim=1, keepdim=True)  # (K, P)
    elif isinstance(pooling, AttentivePooling):
        raise bad_value(
            "head", "one that pools by queries", "one that averages, under global maps or none, or none of it"
        )
    elif isinstance(pooling, nn.Flatten):
        weight = None
    else:
        weight = head.mean.new_full((1, places), 1 / places)
    with torch.no_grad():
        scale = (head.norm.running_var + head.norm.eps).rsqrt()
        linear = head.linear.weight * scale  # (classes, F)
        bias = head.linear.bias - linear @ head.norm.running_mean
        if weight is None:
            on_places = linear.view(-1, channels, places)
        else:
            on_places = torch.einsum("nkc,kp->ncp", linear.view(len(linear), len(weight), channels), weight)
        on_places = on_places / head.deviation.view(channels, 1)
        bias = bias - (on_places * head.mean.view(channels, 1)).sum(dim=(1, 2))
        linear_on_places = nn.Linear(channels * places, len(linear)).to(on_places)
        linear_on_places.weight.copy_(on_places.flatten(1))
        linear_on_places.bias.copy_(bias)
    return nn.Sequential(nn.Flatten(), linear_on_places)


def build_head(
    activations: Float[Tensor, "n channels h w"],
    num_classes: int,
    pooling: WeightMap | int | str = "average",
) -> Head:
    """A head for activations such as these, on their device; it keeps their mean and deviation.

    Args:
        activations: of the training images; any float type, (N, C, h, w).
        pooling: "average", "places", a number of queries, or the global maps to be shared.

    Raises:
        ValueError: no activations, or an unknown pooling.
    """
    if activations.ndim != 4 or not activations.is_floating_point():
        raise bad_value("activations", f"shape {tuple(activations.shape)}", "floating-point activations (N, C, h, w)")
    channels, places = activations.shape[1], activations.shape[2] * activations.shape[3]
    deviation, mean = torch.std_mean(activations.float(), dim=(0, 2, 3))
    if isinstance(pooling, WeightMap):
        module, features = GlobalPooling(pooling), channels * len(pooling.resized(tuple(activations.shape[-2:])))
    elif pooling == "average":
        module, features = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), channels
    elif pooling == "places":
        module, features = nn.Flatten(), channels * places
    elif isinstance(pooling, int) and not isinstance(pooling, bool):
        module, features = AttentivePooling(channels, pooling), channels * pooling
    else:
        raise bad_value("pooling", repr(pooling), '"average", "places", a number of queries, or a global map')
    # Drawn on the CPU, so that a seed gives the same weights on any device.
    return Head(module, features, num_classes, mean, deviation.clamp(min=1e-6)).to(activations.device)
