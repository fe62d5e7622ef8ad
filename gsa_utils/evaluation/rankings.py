"""Ways to rank the pixels of a set: the learned maps' competitors, from none at all to mean Grad-CAM.

A ranking is a map (H, W) of which only the order counts; ties are broken by `top_pixels`, at random but repeatably.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from sklearn.feature_selection import f_classif
from torch import Tensor, nn

from gsa_utils.arguments import bad_value
from gsa_utils.images import ImageSet
from gsa_utils.networks.backbones import PLACES
from gsa_utils.networks.local_attention import spatial_gates


def constant(image_set: ImageSet) -> Float[Tensor, "height width"]:
    """The map of nobody: every pixel as important as any other."""
    return torch.full(image_set.images.shape[-2:], 0.5)


def random(image_set: ImageSet, seed: int = 0) -> Float[Tensor, "height width"]:
    """Independent uniform weights."""
    return torch.rand(image_set.images.shape[-2:], generator=torch.Generator().manual_seed(seed))


def centre(image_set: ImageSet) -> Float[Tensor, "height width"]:
    """A Gaussian in the middle of the image, as wide as a quarter of it: photographers put things there."""
    rows, columns = (torch.linspace(-1, 1, side) for side in image_set.images.shape[-2:])
    return torch.exp(-2 * (rows[:, None] ** 2 + columns**2))


def anova(image_set: ImageSet) -> Float[Tensor, "height width"]:
    """Per pixel, the F statistic of a one-way analysis of variance between the classes (the largest over channels)."""
    pixels = image_set.images.flatten(1).double().numpy()  # (N, C * H * W)
    statistic, varies = torch.zeros(pixels.shape[1]), pixels.std(axis=0) > 0
    # A pixel that never varies has no statistic, and can't tell the classes apart: it keeps 0.
    statistic[torch.from_numpy(varies)] = torch.from_numpy(
        f_classif(pixels[:, varies], image_set.labels.numpy())[0]
    ).float()
    return statistic.view(image_set.images.shape[1:]).amax(dim=0)


def grad_cam(model: nn.Module, image_set: ImageSet, backbone: str, place: str = "pool") -> Tensor:
    """Mean Grad-CAM (Selvaraju et al., https://arxiv.org/abs/1610.02391) of the predicted classes, by captum, (H, W).

    As its authors have it, on the activations that are then averaged over the image, enlarged to the image's size and
    each image's map scaled to a highest value of 1. `model` is what `fit` returned for this backbone.
    """
    from captum.attr import LayerGradCam

    cnn = model
    while hasattr(cnn, "model"):  # under standardisation, precision and attention
        cnn = cnn.model
    layer = cnn.get_submodule(PLACES[backbone][place])
    total = torch.zeros(image_set.images.shape[-2:])
    for batch in image_set.images.split(128):
        x = (batch.float() / 255).requires_grad_()
        predicted = model(x).argmax(dim=1)
        cams = LayerGradCam(model, layer).attribute(
            x, predicted, attribute_to_layer_input=True, relu_attributions=True
        )  # (b, 1, h, w)
        cams = F.interpolate(cams.detach().float(), total.shape, mode="bilinear")[:, 0]
        total += (cams / cams.amax(dim=(1, 2), keepdim=True).clamp(min=1e-12)).sum(dim=0)
    return total / len(image_set)


@torch.no_grad()
def mean_local_map(model: nn.Module, image_set: ImageSet) -> Float[Tensor, "height width"]:
    """The spatial maps of all CBAM modules in `model`, enlarged to the image's size: their mean over the images.

    Raises:
        ValueError: a model without CBAM.
    """
    size, seen = image_set.images.shape[-2:], []
    total = torch.zeros(size)

    def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        seen.append(len(output))
        total.add_(F.interpolate(output.float(), size, mode="bilinear")[:, 0].sum(dim=0))

    hooks = [gate.register_forward_hook(add) for gate in spatial_gates(model).values()]
    if not hooks:
        raise bad_value("model", type(model).__name__, "a model with CBAM modules")
    for batch in image_set.images.split(128):
        model(batch.float() / 255)
    for hook in hooks:
        hook.remove()
    return total / sum(seen)


def moved(weights: Float[Tensor, "height width"], seed: int = 0) -> Float[Tensor, "height width"]:
    """The same map rolled by a random number of rows and columns, at least a quarter of either, around the border.

    Its top pixels have the shape of the map's own, and another place: the control that scattered pixels are not.
    """
    generator = torch.Generator().manual_seed(seed)
    offsets = [int(torch.randint(side // 4, side - side // 4 + 1, (), generator=generator)) for side in weights.shape]
    return weights.roll(offsets, dims=(0, 1))


def top_pixels(weights: Float[Tensor, "height width"], share: float, seed: int = 0) -> Bool[Tensor, "height width"]:
    """The `share` of pixels that rank highest, rounded to whole pixels; equal ones are drawn at random, by `seed`.

    By place, the first rows of a constant map would be its top: as good a guess as any other, and always the same one.

    Raises:
        ValueError: a share outside (0, 1), or one of no pixel or of all.
    """
    count = round(share * weights.numel()) if 0 < share < 1 else 0
    if not 0 < count < weights.numel():
        raise bad_value("share", share, f"a share of the {weights.numel()} pixels that is neither none nor all of them")
    order = torch.randperm(weights.numel(), generator=torch.Generator().manual_seed(seed))
    highest = weights.flatten()[order].argsort(descending=True, stable=True)[:count]
    mask = torch.zeros(weights.numel(), dtype=torch.bool)
    mask[order[highest]] = True
    return mask.view(weights.shape)
