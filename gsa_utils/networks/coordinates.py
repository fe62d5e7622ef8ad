"""Coordinate channels: a network that is told where it looks (CoordConv, Liu et al. 2018, arXiv:1807.03247).

A convolution treats all places alike, and average pooling forgets where it found what. Two more channels that say row
and column undo that, at the price of a few weights in the first layer: a rival of the shared map, which tells a network
by weights which places count. The paper has the channels in several layers; here they enter with the image.
"""

from collections import OrderedDict

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gsa_utils.arguments import Size, bad_value, describe
from gsa_utils.networks.backbones import build_backbone


class AddCoordinates(nn.Module):
    """Two channels more: the row of each pixel, from -1 (top) to 1 (bottom), and its column, from left to right."""

    def forward(self, x: Float[Tensor, "batch channels h w"]) -> Float[Tensor, "batch channels+2 h w"]:
        if not isinstance(x, Tensor) or x.ndim != 4 or not x.is_floating_point():
            raise bad_value("x", describe(x), "floating-point images (B, C, H, W)")
        axes = [torch.linspace(-1, 1, side, dtype=x.dtype, device=x.device) for side in x.shape[-2:]]
        places = torch.stack(torch.meshgrid(*axes, indexing="ij"))  # (2, H, W)
        return torch.cat([x, places.expand(len(x), -1, -1, -1)], dim=1)


def build_with_coordinates(name: str, in_channels: int, num_classes: int, image_size: Size) -> nn.Sequential:
    """`build_backbone`, not pretrained, behind `AddCoordinates`: (B, in_channels, H, W) to (B, num_classes).

    The CNN is the submodule "backbone", so its layers are called "backbone.layer1" and so on. `fit` puts the mean and
    deviation of the training set in front of both, and `attend` a map on the input as well: they act on the image,
    never on the coordinates.

    Raises:
        ValueError: what `build_backbone` refuses.
    """
    if in_channels < 1:
        raise bad_value("in_channels", in_channels, "1 for grey images, 3 for colour")
    backbone = build_backbone(name, in_channels + 2, num_classes, image_size)
    return nn.Sequential(OrderedDict(coordinates=AddCoordinates(), backbone=backbone))
