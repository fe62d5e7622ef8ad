"""The paper's four CNN families for small images, and a small CNN that trains in seconds.

The families are torchvision's, with two changes that small images need (both common for CIFAR-sized images, neither
from the paper): a 3x3 stem of stride 1 in place of the wide strided one, and no pooling before the first stage.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torchvision.models as zoo
from torch import nn

from gsa_utils.arguments import Size, bad_value, check_name, check_switch, check_whole, height_and_width
from gsa_utils.networks.pretrained import PUBLISHED, build_pretrained


class Family(NamedTuple):
    """A family of CNNs: all that the package knows of it.

    Attributes:
        build: (in_channels, num_classes) -> the network.
        layers: the submodules whose input a map can weight, by what enters them: it comes from the stem ("early"), from
            about half of the network ("middle"), from its second last stage ("late"), or is averaged next ("pool").
        transforms: a regular expression for the submodules behind which local attention is put, by name
            (local_attention.py says why there).
        head: the submodules that average over places (of DenseNet the one that can be put before) and that classify.
    """

    build: Callable[[int, int], nn.Module]
    layers: Mapping[str, str]
    transforms: str
    head: tuple[str, str]


def build_backbone(
    name: str, in_channels: int, num_classes: int, image_size: Size, pretrained: bool = False
) -> nn.Module:
    """A CNN from (B, in_channels, H, W) to logits (B, num_classes), randomly initialised or pretrained.

    Args:
        name: "googlenet", "vgg" (11 layers, batch norm), "resnet" (18), "densenet" (three blocks), or "small", three
            convolutions, not from the paper.
        image_size: height and width of the images, or one number for both; each network halves it two or three times.
        pretrained: with torchvision's ImageNet weights and a new last layer, as published (VGG with its wide head,
            DenseNet with 121 layers), fed with grey or colour images in [0, 1], which it resizes and normalises itself.
            The weights, 30 to 500 MB, are downloaded once, into torch.hub's folder.

    Raises:
        ValueError: an unknown name, a size below 16 pixels, fewer than two classes, or nothing pretrained to be had.
        DataUnavailable: pretrained weights that are neither on disk nor downloadable.
    """
    check_name("name", name, FAMILIES)
    if min(height_and_width("image_size", image_size)) < 16:
        raise bad_value("image_size", image_size, "at least 16 pixels a side")
    check_whole("in_channels", in_channels, 1)
    check_whole("num_classes", num_classes, 2)
    check_switch("pretrained", pretrained)
    if pretrained and name not in PUBLISHED:
        raise bad_value("pretrained", f"True for {name!r}", f"False, or one of {', '.join(PUBLISHED)}")
    if pretrained and in_channels not in (1, 3):
        raise bad_value("in_channels", in_channels, "1 or 3, as the weights are for colour")
    model = build_pretrained(name, num_classes) if pretrained else FAMILIES[name].build(in_channels, num_classes)
    # What a saved model needs to be built again.
    model.built_as = {"name": name, "in_channels": in_channels, "num_classes": num_classes, "pretrained": pretrained}
    return model


def _stem(in_channels: int, out_channels: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=False)


def _small(in_channels: int, num_classes: int) -> nn.Module:
    def block(inputs: int, outputs: int) -> nn.Module:
        return nn.Sequential(_stem(inputs, outputs), nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2))

    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, num_classes))
    return nn.Sequential(block(in_channels, 16), block(16, 32), block(32, 64), head)


def _resnet(in_channels: int, num_classes: int) -> nn.Module:
    net = zoo.resnet18(num_classes=num_classes)
    net.conv1, net.maxpool = _stem(in_channels, 64), nn.Identity()
    return net


def _vgg(in_channels: int, num_classes: int) -> nn.Module:
    # Eleven layers with batch norm (configuration A of arXiv:1409.1556), without the last two halvings and with one
    # linear layer: the original head of 120 million weights is made for 224 pixels.
    layers = zoo.vgg.make_layers([64, "M", 128, "M", 256, 256, "M", 512, 512, 512, 512], batch_norm=True)
    layers[0] = nn.Conv2d(in_channels, 64, kernel_size=3, padding=1)
    head = {"avgpool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(), "classifier": nn.Linear(512, num_classes)}
    return nn.Sequential(OrderedDict(features=layers, **head))


def _densenet(in_channels: int, num_classes: int) -> nn.Module:
    # DenseNet-BC for small images as in its paper (arXiv:1608.06993): three blocks, growth 12, no pooling in the stem.
    net = zoo.DenseNet(growth_rate=12, block_config=(8, 8, 8), num_init_features=24, num_classes=num_classes)
    net.features.conv0, net.features.pool0 = _stem(in_channels, 24), nn.Identity()
    return net


def _googlenet(in_channels: int, num_classes: int) -> nn.Module:
    net = zoo.GoogLeNet(num_classes=num_classes, aux_logits=False, init_weights=False)
    net.conv1.conv, net.maxpool1 = _stem(in_channels, 64), nn.Identity()
    return net


FAMILIES = {
    "small": Family(_small, {"early": "0.1", "middle": "1", "late": "2", "pool": "3"}, r"\d\.2", ("3.0", "3.2")),
    "googlenet": Family(
        _googlenet,
        {"early": "conv2", "middle": "inception4a", "late": "inception5a", "pool": "avgpool"},
        r"inception\d\w",
        ("avgpool", "fc"),
    ),
    "vgg": Family(
        _vgg,
        {"early": "features.3", "middle": "features.8", "late": "features.15", "pool": "avgpool"},
        r"features\.\d+",
        ("avgpool", "classifier"),
    ),
    "resnet": Family(
        _resnet,
        {"early": "layer1", "middle": "layer3", "late": "layer4", "pool": "avgpool"},
        r"layer\d\.\d\.bn2",
        ("avgpool", "fc"),
    ),
    # What enters norm5 is normalised and rectified before it is averaged.
    "densenet": Family(
        _densenet,
        {
            "early": "features.denseblock1",
            "middle": "features.denseblock2",
            "late": "features.denseblock3",
            "pool": "features.norm5",
        },
        r"features\.denseblock\d",
        ("features.pooled", "classifier"),
    ),
}
LAYERS = {name: family.layers for name, family in FAMILIES.items()}
PRETRAINED_LAYERS = {name: published.layers for name, published in PUBLISHED.items()}  # the same places with weights
MIDDLE_LAYER = {name: layers["middle"] for name, layers in LAYERS.items()}
