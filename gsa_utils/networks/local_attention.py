"""The local peers: attention per image, timm's modules at the places where their authors put them.

CBAM (Woo et al. 2018, https://arxiv.org/abs/1807.06521) gives each image its own map, of channels and then of places;
squeeze-and-excitation (Hu et al. 2018, https://arxiv.org/abs/1709.01507) and ECA (Wang et al. 2020,
https://arxiv.org/abs/1910.03151) weight channels only; global context (Cao et al. 2019,
https://arxiv.org/abs/1904.11492) pools the channels where each image's own map is high. In a residual network all sit
at the end of every block's branch, before the addition; in GoogLeNet behind every inception module. VGG (behind every
rectified convolution) and DenseNet (behind every dense block) are our reading of "behind a transform".
"""

import re
from contextlib import ExitStack

import torch
from torch import Tensor, nn

from gsa_utils.arguments import check_name
from gsa_utils.networks.backbones import FAMILIES

PEERS = ("cbam", "se", "eca", "global-context")


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
    check_name("peer", peer, PEERS)
    check_name("backbone", backbone, FAMILIES)
    for name, channels in _channels(model, FAMILIES[backbone].transforms).items():
        before, device = model.get_submodule(name), next(model.parameters()).device
        model.set_submodule(name, nn.Sequential(before, modules[peer](channels).to(device)))
    return model


def spatial_gates(model: nn.Module) -> dict[str, nn.Module]:
    """Of each CBAM module in `model` the submodule that returns the local map (B, 1, h, w) of every image."""
    return {name: module for name, module in model.named_modules() if name.endswith("spatial.gate")}


def _channels(model: nn.Module, transforms: str) -> dict[str, int]:
    """Name -> channels of what leaves it, in the order in which a trial image passes."""
    fits = {name: module for name, module in model.named_modules() if re.fullmatch(transforms, name)}
    if any(isinstance(module, nn.ReLU) for module in fits.values()):  # numbered layers: behind the rectified ones
        fits = {name: module for name, module in fits.items() if isinstance(module, nn.ReLU)}
    names, channels = {module: name for name, module in fits.items()}, {}

    def record(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        channels[names[module]] = output.shape[1]

    first, training = next(weight for weight in model.parameters() if weight.ndim == 4), model.training
    with ExitStack() as hooks, torch.no_grad():
        for module in fits.values():
            hooks.enter_context(module.register_forward_hook(record))
        hooks.callback(model.train, training)
        model.eval()  # a trial image must not count in the batch statistics
        model(first.new_zeros(1, first.shape[1], 32, 32))
    return channels
