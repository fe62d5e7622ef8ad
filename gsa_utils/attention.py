"""Global spatial attention: one weight map for all images, the decision boundary of a classifier over pixels.

Paper: L. Xu, J. Huang, A. Nitanda, R. Asaoka, K. Yamanishi, "A Novel Global Spatial Attention Mechanism in
Convolutional Neural Network for Medical Image Classification", https://arxiv.org/abs/2007.15897 (2020).

    z = classifier(features)     (H, W)   logit of "this pixel is important"
    m = sigmoid(z)               (H, W)   the weight map, in (0, 1)
    y = CNN(m * x)                        every image is weighted by the same m; the image loss trains both

From the paper's abstract: one map for all images, realised by a binary classifier over pixels whose features are the
intensities of all images, optimised together with the CNN. Ours: the architecture of the classifier, where the map is
applied, and a fixed set of training images as features. (A third party remarks that the original stacks the images of
a batch, also at test time; a prediction would then depend on the other images of its batch.)
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gsa_utils.arguments import Size, bad_value, describe, height_and_width, unknown_name, whole_number


class WeightMap(nn.Module):
    """What every global map does, wherever its logits come from: weight activations, be read, be frozen."""

    frozen_map: Float[Tensor, "height width"] | None

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("frozen_map", None)

    def logits(self) -> Float[Tensor, "height width"]:
        raise NotImplementedError

    @property
    def frozen(self) -> bool:
        """Whether the map is a constant and what made it is gone."""
        return self.frozen_map is not None

    def map(self) -> Float[Tensor, "height width"]:
        """The weight of every pixel, in (0, 1); differentiable until frozen."""
        return torch.sigmoid(self.logits()) if self.frozen_map is None else self.frozen_map

    def forward(self, x: Float[Tensor, "batch channels h w"]) -> Float[Tensor, "batch channels h w"]:
        """The activations, each multiplied by the weight of its place.

        A map of another size is resized: averaged where x is coarser, interpolated where it is finer.
        """
        if not isinstance(x, Tensor) or x.ndim != 4 or not x.is_floating_point():
            raise bad_value("x", describe(x), "floating-point activations (B, C, h, w)")
        weight = self.map()[None, None]  # (1, 1, H, W)
        if weight.shape[-2:] != x.shape[-2:]:
            coarser = x.shape[-2] <= weight.shape[-2] and x.shape[-1] <= weight.shape[-1]
            weight = F.interpolate(weight, x.shape[-2:], mode="area" if coarser else "bilinear")
        return weight.to(x.dtype) * x

    def freeze(self) -> "WeightMap":
        """Keep the map as a constant, drop what computed it, and return self; inference then costs one product."""
        if not self.frozen:
            constant = self.map().detach().clone()
            self._drop_source()
            self.frozen_map = constant
        return self

    def _drop_source(self) -> None:
        raise NotImplementedError

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, strict, missing, unexpected, errors):
        # A frozen map loads into either kind. The other way round the classifier can't be brought back, and
        # strict=False would pass over that in silence, so it is reported as an error of its own.
        saved, size = state_dict.get(prefix + "frozen_map"), self.map().shape
        if saved is not None and saved.shape != size:
            errors.append(f"size mismatch for {prefix}frozen_map: saved {tuple(saved.shape)}, here {tuple(size)}")
            return
        if saved is not None:
            self.freeze()
        elif self.frozen and any(key.startswith(prefix) for key in state_dict):
            errors.append(
                f"{prefix.rstrip('.') or type(self).__name__}: the saved map is still trainable, but this module was "
                "frozen and holds no classifier any more; load into a new, unfrozen module"
            )
            return
        super()._load_from_state_dict(state_dict, prefix, local_metadata, strict, missing, unexpected, errors)


class GlobalSpatialAttention(WeightMap):
    """The map as the decision boundary of a pixel classifier.

    The classifier is written as a convolution over the (1, K, H, W) image of features: with `kernel_size=1` each pixel
    is one sample and a 1x1 convolution is a linear layer over its features. The last layer starts at zero, so every
    map starts uniform at 0.5 and whatever structure it ends with was learned.

    Args:
        features: (1, K, H, W) from `pixel_features`; a buffer, it moves and is saved with the module.
        hidden: width of the hidden layer; 0 for logistic regression, without an intercept: an SGD step then changes the
            logits by exactly -lr * X X^T g, and a constant added to all logits is little more than a rescaling.
        kernel_size: 1, or an odd number for a pixel CNN whose (first) layer also sees the neighbours.

    Raises:
        ValueError: features of another shape or not finite, a negative width, an even kernel.
    """

    def __init__(self, features: Float[Tensor, "1 features height width"], hidden: int = 32, kernel_size: int = 1):
        super().__init__()
        if not isinstance(features, Tensor) or features.ndim != 4 or len(features) != 1 or not features.numel():
            raise bad_value("features", describe(features), "a tensor (1, K, H, W), as pixel_features returns it")
        if not features.is_floating_point() or not (features.is_meta or torch.isfinite(features).all()):
            raise bad_value("features", f"{features.dtype} values, not all of them finite numbers", "finite floats")
        if not whole_number(hidden, 0):
            raise bad_value("hidden", hidden, "0 for logistic regression, or the width of the hidden layer")
        if not whole_number(kernel_size, 1) or kernel_size % 2 == 0:
            raise bad_value("kernel_size", kernel_size, "an odd number, 1 for pixels on their own")
        # A copy: load_state_dict writes into it, and the caller may use the same features for another map.
        self.register_buffer("features", features.detach().to(torch.get_default_dtype(), copy=True))
        count, place = features.shape[1], {"device": features.device}
        # Zeros around the features would mark the border as something special.
        around = {"padding": kernel_size // 2, "padding_mode": "replicate" if kernel_size > 1 else "zeros"}
        if hidden:
            first = nn.Conv2d(count, hidden, kernel_size, **around, **place)
            last = nn.Conv2d(hidden, 1, kernel_size=1, **place)
            self.classifier = nn.Sequential(first, nn.ReLU(), last)
        else:
            last = nn.Conv2d(count, 1, kernel_size, **around, **place, bias=False)
            self.classifier = nn.Sequential(last)
        for start in last.parameters():
            nn.init.zeros_(start)

    def logits(self) -> Float[Tensor, "height width"]:
        """The pixel classifier's logits; in full precision also under autocast, for a map of 256 levels is no map."""
        device = self.features.device.type
        if not torch.amp.is_autocast_available(device):  # there is none to turn off on "meta"
            return self.classifier(self.features)[0, 0]
        with torch.autocast(device, enabled=False):
            return self.classifier(self.features)[0, 0]

    def _drop_source(self) -> None:
        del self.features, self.classifier


# (hidden, kernel_size) of the pixel classifiers that the lessons and studies call by a name
CLASSIFIERS = {"logistic": (0, 1), "mlp": (32, 1), "pixel-cnn": (32, 3)}


class FreeMap(WeightMap):
    """The ablation: the same map without a pixel classifier, one free logit a pixel, (height, width) of them."""

    def __init__(self, size: Size):
        super().__init__()
        self.logit = nn.Parameter(torch.zeros(height_and_width("size", size)))

    def logits(self) -> Float[Tensor, "height width"]:
        return self.logit

    def _drop_source(self) -> None:
        del self.logit


class Attended(nn.Module):
    """A model and the map that weights its input, or the activations entering one of its submodules."""

    def __init__(self, model: nn.Module, attention: nn.Module, at: str | None):
        super().__init__()
        self.model = model
        self.attention = attention
        self.at = at
        if at is not None:
            # A bound method, so that deepcopy and pickle re-bind the hook to the copy.
            model.get_submodule(at).register_forward_pre_hook(self._weigh)

    def _weigh(self, module: nn.Module, args: tuple[object, ...]) -> tuple[object, ...]:
        if not args:
            raise RuntimeError(f"at={self.at!r}: the model hands this submodule its activations by keyword")
        return (self.attention(args[0]), *args[1:])

    def detach(self) -> nn.Module:
        """Undo `attend`: take the map out and return the model without it, as it is now."""
        if self.at is not None:
            hooks = self.model.get_submodule(self.at)._forward_pre_hooks
            for key in [key for key, hook in hooks.items() if getattr(hook, "__self__", None) is self]:
                del hooks[key]
        return self.model

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Tensor:
        return self.model(self.attention(x) if self.at is None else x)


def attend(model: nn.Module, attention: nn.Module, at: str | None = None) -> nn.Module:
    """`model` with its input, or the activations entering the submodule `at`, weighted by `attention`.

    Works on any nn.Module. With `at` the given model itself is changed (a forward pre-hook on that submodule): use the
    returned module from then on; its `detach()` takes the map out again and returns the plain model.

    Args:
        model: takes (B, C, H, W) images.
        attention: GlobalSpatialAttention, FreeMap, or any module from activations to activations.
        at: name of a submodule as in `model.named_modules()`, or None for the input.

    Raises:
        ValueError: `model` has no submodule `at` (the nearest names come with it), or another map sits there already.
    """
    names = [name for name, _ in model.named_modules() if name]
    if at is not None and at not in names:
        raise unknown_name("at", at, names)
    hooks = model.get_submodule(at)._forward_pre_hooks.values() if at is not None else ()
    if any(isinstance(getattr(hook, "__self__", None), Attended) for hook in hooks):
        # Both would act, but the first would belong to no model any more: not trained, not saved, not frozen.
        raise bad_value("at", repr(at), "a submodule without a map; this one has one: detach() that first")
    return Attended(model, attention, at)
