"""What can stand where a network averages its last activations over places: maps that all images share, or queries."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gsa_utils.arguments import check_name, check_whole
from gsa_utils.networks.backbones import FAMILIES


class AttentivePooling(nn.Module):
    """K queries, each of which averages the places of an image by how well they answer it: (B, C, h, w) -> (B, K * C).

    The simplest form of attentive probing: keys and values are the activations themselves. Efficient probing
    (https://arxiv.org/abs/2506.10178) projects the values too and lets each query read its share of them. Queries
    start at zero, and the pooling with them as the plain average, as global maps do.
    """

    def __init__(self, channels: int, queries: int = 1):
        super().__init__()
        check_whole("queries", queries, 1)
        self.query = nn.Parameter(torch.zeros(queries, channels))

    def forward(self, x: Float[Tensor, "batch channels h w"]) -> Float[Tensor, "batch pooled"]:
        places = x.flatten(2)  # (B, C, P)
        return torch.einsum("bkp,bcp->bkc", self._shares(places), places).flatten(1)

    def maps(self, x: Float[Tensor, "batch channels h w"]) -> Float[Tensor, "batch queries h w"]:
        """The weights of an image's places, 1 on average as those of a global map: one map a query and image."""
        height, width = x.shape[2:]
        return self._shares(x.flatten(2)).unflatten(2, (height, width)) * (height * width)

    def _shares(self, places: Float[Tensor, "batch channels places"]) -> Float[Tensor, "batch queries places"]:
        answers = torch.einsum("kc,bcp->bkp", self.query, places) / places.shape[1] ** 0.5
        return answers.softmax(dim=2)


def replace_pooling(model: nn.Module, backbone: str, pooling: nn.Module, times: int) -> nn.Module:
    """Put a pooling in place of the average in a network that `build_backbone(backbone, ...)` made, and return it.

    Args:
        pooling: (B, C, h, w) -> (B, times * C).
        times: how many averages it gives of each channel; the last linear layer is made anew for so many.

    Raises:
        ValueError: an unknown backbone.
    """
    check_name("backbone", backbone, FAMILIES)
    average, linear = FAMILIES[backbone].head
    if backbone == "densenet":  # averages in its own forward pass, which does nothing to a grid of one place
        last = nn.Sequential(nn.ReLU(), pooling, nn.Unflatten(1, (-1, 1, 1)))
        model.features.add_module(average.rpartition(".")[2], last)
    else:
        model.set_submodule(average, pooling)
    model.built_as = getattr(model, "built_as", {}) | {"pooling_times": times}
    before = model.get_submodule(linear)
    model.set_submodule(linear, nn.Linear(times * before.in_features, before.out_features))
    return model
