"""What explains a trained network without a global map: mean Grad-CAM, and the mean of CBAM's own maps."""

from contextlib import ExitStack

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gsa_utils.arguments import bad_value
from gsa_utils.evaluation.scores import eval_mode, float_batches, predict
from gsa_utils.images import ImageSet
from gsa_utils.networks.local_attention import spatial_gates


def grad_cam(model: nn.Module, image_set: ImageSet, layer: str) -> Float[Tensor, "height width"]:
    """Mean Grad-CAM (Selvaraju et al., https://arxiv.org/abs/1610.02391) of the predicted classes, by captum.

    As its authors have it, on the activations that are then averaged over the image, enlarged to the image's size and
    each image's map scaled to a highest value of 1.

    Args:
        model: what `fit` returned; used in evaluation mode, on the device it is on.
        layer: the submodule of the CNN in it whose input is looked at, "pool" in `LAYERS` of its family.
    """
    from captum.attr import LayerGradCam

    cnn = model
    while hasattr(cnn, "model"):  # under standardisation, precision and attention
        cnn = cnn.model
    cam, total = LayerGradCam(model, cnn.get_submodule(layer)), torch.zeros(image_set.images.shape[-2:])
    with eval_mode(model):
        for x in float_batches(model, image_set, 128):
            predicted = model(x.requires_grad_()).argmax(dim=1)
            cams = cam.attribute(x, predicted, attribute_to_layer_input=True, relu_attributions=True)  # (b, 1, h, w)
            cams = F.interpolate(cams.detach().float(), total.shape, mode="bilinear")[:, 0]
            total += (cams / cams.amax(dim=(1, 2), keepdim=True).clamp(min=1e-12)).sum(dim=0).cpu()
    return total / len(image_set)


def mean_local_map(model: nn.Module, image_set: ImageSet) -> Float[Tensor, "height width"]:
    """The spatial maps of all CBAM modules in `model`, enlarged to the image's size: their mean over the images.

    Raises:
        ValueError: a model without CBAM.
    """
    gates, seen = spatial_gates(model).values(), 0
    total = torch.zeros(image_set.images.shape[-2:])
    if not gates:
        raise bad_value("model", type(model).__name__, "a model with CBAM modules")

    def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal seen
        seen += len(output)
        total.add_(F.interpolate(output.float(), total.shape, mode="bilinear")[:, 0].sum(dim=0).cpu())

    with ExitStack() as hooks:
        for gate in gates:
            hooks.enter_context(gate.register_forward_hook(add))
        predict(model, image_set, batch_size=128)
    return total / seen
