"""The local peers: attention per image, timm's modules at the places where their authors put them.

CBAM (Woo et al. 2018, https://arxiv.org/abs/1807.06521) gives each image its own map, of channels and then of places;
squeeze-and-excitation (Hu et al. 2018, https://arxiv.org/abs/1709.01507) and ECA (Wang et al. 2020,
https://arxiv.org/abs/1910.03151) weight channels only; global context (Cao et al. 2019,
https://arxiv.org/abs/1904.11492) pools the channels where each image's own map is high. In a residual network all sit
at the end of every block's branch, before the addition; in GoogLeNet behind every inception module. VGG (behind every
rectified convolution) and DenseNet (behind every dense block) are our reading of "behind a transform".
"""

import re

import torch
from torch import Tensor, nn

from gsa_utils.arguments import unknown_name

PEERS = ("cbam", "se", "eca", "global-context")
# The submodules behind which one is put, by name.
BEHIND = {
    "small": r"\d\.2",
    "googlenet": r"inception\d\w",
    "vgg": r"features\.\d+",
    "resnet": r"layer\d\.\d\.bn2",
    "densenet": r"features\.denseblock\d",
}


def add_local_attention(model: nn.Module, backbone: str, peer: str) -> nn.Module:
    """Put a peer into a network that `build_backbone(backbone, ...)` made; the network itself is changed and returned.

    Raises:
        ValueError: an unknown peer or backbone.
    """
    from timm.layers.cbam import CbamModule
    from timm.layers.eca import EcaModule
    from timm.layers.global_context import GlobalContext
    from timm.layers.squeeze_excite import SEModule

    modules = {"cbam": CbamModule, "se": SEModule, "eca": EcaModule, "global-context": GlobalContext}
    if peer not in PEERS:
        raise unknown_name("peer", peer, PEERS)
    if backbone not in BEHIND:
        raise unknown_name("backbone", backbone, BEHIND)
    for name, channels in _places(model, BEHIND[backbone]).items():
        before, attention = model.get_submodule(name), modules[peer](channels)
        model.set_submodule(name, nn.Sequential(before, attention))
    return model


def spatial_gates(model: nn.Module) -> dict[str, nn.Module]:
    """Of each CBAM module in `model` the submodule that returns the local map (B, 1, h, w) of every image."""
    return {name: module for name, module in model.named_modules() if name.endswith("spatial.gate")}


def _places(model: nn.Module, pattern: str) -> dict[str, int]:
    """Name -> channels of what leaves it, in the order in which a trial image passes."""
    channels: dict[str, int] = {}

    def record(name: str):
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            channels[name] = output.shape[1]

        return hook

    fits = {name: module for name, module in model.named_modules() if re.fullmatch(pattern, name)}
    if any(isinstance(module, nn.ReLU) for module in fits.values()):  # numbered layers: behind the rectified ones
        fits = {name: module for name, module in fits.items() if isinstance(module, nn.ReLU)}
    hooks = [module.register_forward_hook(record(name)) for name, module in fits.items()]
    first = next(weight for weight in model.parameters() if weight.ndim == 4)
    training = model.training
    model.eval()  # a trial image must not count in the batch statistics
    with torch.no_grad():
        model(torch.zeros(1, first.shape[1], 32, 32))
    model.train(training)
    for hook in hooks:
        hook.remove()
    return channels
