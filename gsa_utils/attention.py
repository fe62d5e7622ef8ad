"""Global spatial attention: one weight map for all images, the decision boundary of a classifier over pixels.

Paper: L. Xu, J. Huang, A. Nitanda, R. Asaoka, K. Yamanishi, "A Novel Global Spatial Attention Mechanism in
Convolutional Neural Network for Medical Image Classification", https://arxiv.org/abs/2007.15897 (2020).

    z = classifier(features)     (H, W)   logit of "this pixel is important"
    m = sigmoid(z)               (H, W)   in (0, 1)
    w = m / mean(m)              (H, W)   the weight map: relative importance, 1 on average; the boundary is w = 1
    y = CNN(w * x)                        every image is weighted by the same w; the image loss trains both

From the paper's abstract: one map for all images, relative importances, realised by a binary classifier over pixels
whose features are the intensities of all images, optimised together with the CNN. Ours: the architecture of the
classifier, where the map is applied, the division by the mean, and a fixed set of training images as features. (A third
party remarks that the original stacks the images of a batch, also at test time: a prediction would depend on them.)

Why divided: convolution and BatchNorm behind the map undo a uniform rescaling, so absolute weights say nothing.
Divided, a map starts as the identity, "important" means weighted above the average, and two maps can be compared.
"""

from contextlib import nullcontext

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gsa_utils.arguments import Size, bad_value, check_whole, describe, height_and_width, instance_of, whole_number


class WeightMap(nn.Module):
    """What a global map, or K of them, does wherever its logits come from: weight activations, be read, be frozen."""

    _version = 2  # of state dicts, PyTorch's own attribute: in those of version 1 no map is divided by its mean
    frozen_map: Float[Tensor, "*maps height width"] | None

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("frozen_map", None)

    def logits(self) -> Float[Tensor, "*maps height width"]:
        raise NotImplementedError

    @property
    def frozen(self) -> bool:
        """Whether the map is a constant and what made it is gone."""
        return self.frozen_map is not None

    def map(self) -> Float[Tensor, "*maps height width"]:
        """The weight of every pixel, above 0 and 1 on average, important where above 1; differentiable until frozen."""
        if self.frozen_map is not None:
            return self.frozen_map
        importance = torch.sigmoid(self.logits())
        return importance / importance.mean(dim=(-2, -1), keepdim=True)

    def resized(self, size: tuple[int, int]) -> Float[Tensor, "maps h w"]:
        """The maps on another grid: averaged where it is coarser, interpolated where it is finer."""
        maps = self.map()
        maps = maps.reshape(1, -1, *maps.shape[-2:])
        if maps.shape[-2:] != size:
            coarser = size[0] <= maps.shape[-2] and size[1] <= maps.shape[-1]
            maps = F.interpolate(maps, size, mode="area" if coarser else "bilinear")
        return maps[0]

    def forward(self, x: Float[Tensor, "batch channels h w"]) -> Float[Tensor, "batch channels h w"]:
        """The activations, each multiplied by the weight of its place; of K maps the first weights the first C / K."""
        weight = self.resized(_grid(x))
        share, left = divmod(x.shape[1], len(weight))
        if left:
            raise bad_value("x", f"{x.shape[1]} channels", f"a multiple of {len(weight)}, the number of maps")
        return weight.repeat_interleave(share, dim=0).to(x.dtype) * x if len(weight) > 1 else weight.to(x.dtype) * x

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
        if local_metadata.get("version") == 1:
            errors.append(
                f"{prefix.rstrip('.') or type(self).__name__}: saved by an earlier version, whose maps were not "
                "divided by their mean; a network trained behind such a map answers otherwise here: train it anew"
            )
            return
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

    The classifier is written as a convolution over the (1, r, H, W) image of features: with `kernel_size=1` each pixel
    is one sample and a 1x1 convolution is a linear layer over its features. The last layer starts at zero, so every
    map starts as 1 everywhere, a network with it as the one without, and whatever structure it ends with was learned.

    Args:
        features: (1, r, H, W) from `pixel_features`; a buffer, it moves and is saved with the module.
        hidden: width of the hidden layer; 0 for logistic regression, without an intercept: an SGD step then changes the
            logits by exactly -lr * X X^T g, and a constant added to all logits is little more than a rescaling.
        kernel_size: 1, or an odd number for a pixel CNN whose (first) layer also sees the neighbours.
        maps: K classifiers of the same pixels, which share the hidden layer.

    Raises:
        ValueError: features of another shape or not finite, a negative width, an even kernel, no map.
    """

    def __init__(
        self, features: Float[Tensor, "1 features height width"], hidden: int = 32, kernel_size: int = 1, maps: int = 1
    ):
        super().__init__()
        if not isinstance(features, Tensor) or features.ndim != 4 or len(features) != 1 or not features.numel():
            raise bad_value("features", describe(features), "a tensor (1, r, H, W), as pixel_features returns it")
        # A copy: load_state_dict writes into it, and the caller may use the same features for another map.
        kept = features.detach().to(torch.get_default_dtype(), copy=True)
        if not features.is_floating_point() or not (kept.is_meta or torch.isfinite(kept).all()):
            raise bad_value("features", f"{features.dtype} values, not all of them finite numbers", "finite floats")
        if not whole_number(hidden, 0):
            raise bad_value("hidden", hidden, "0 for logistic regression, or the width of the hidden layer")
        if not whole_number(kernel_size, 1) or kernel_size % 2 == 0:
            raise bad_value("kernel_size", kernel_size, "an odd number, 1 for pixels on their own")
        check_whole("maps", maps, 1)
        self.register_buffer("features", kept)
        count, place = features.shape[1], {"device": features.device}
        # Zeros around the features would mark the border as something special.
        around = {"padding": kernel_size // 2, "padding_mode": "replicate" if kernel_size > 1 else "zeros"}
        if hidden:
            first = nn.Conv2d(count, hidden, kernel_size, **around, **place)
            last = nn.Conv2d(hidden, maps, kernel_size=1, **place)
            self.classifier = nn.Sequential(first, nn.ReLU(), last)
        else:
            last = nn.Conv2d(count, maps, kernel_size, **around, **place, bias=False)
            self.classifier = nn.Sequential(last)
        for start in last.parameters():
            nn.init.zeros_(start)

    def logits(self) -> Float[Tensor, "*maps height width"]:
        """The pixel classifier's logits; in full precision also under autocast, for a map of 256 levels is no map."""
        device = self.features.device.type
        with nullcontext() if device == "meta" else torch.autocast(device, enabled=False):  # "meta" has no autocast
            logits = self.classifier(self.features)[0]  # (K, H, W)
        return logits[0] if len(logits) == 1 else logits

    def _drop_source(self) -> None:
        del self.features, self.classifier


# (hidden, kernel_size) of the pixel classifiers that the lessons and studies call by a name
CLASSIFIERS = {"logistic": (0, 1), "mlp": (32, 1), "pixel-cnn": (32, 3)}


class FreeMap(WeightMap):
    """The ablation: the same map without a pixel classifier, one free logit a pixel, (height, width) of them."""

    def __init__(self, size: Size, maps: int = 1):
        super().__init__()
        check_whole("maps", maps, 1)
        several = () if maps == 1 else (maps,)
        self.logit = nn.Parameter(torch.zeros(*several, *height_and_width("size", size)))

    def logits(self) -> Float[Tensor, "*maps height width"]:
        return self.logit

    def _drop_source(self) -> None:
        del self.logit


class GlobalPooling(nn.Module):
    """Averages over places, weighted by global maps, where a network has its average pooling.

    The shared counterpart of attentive probing (arXiv:2506.10178), whose queries weight the places of each image anew.
    A uniform map makes it the plain average, so that a network starts as what it was.
    """

    def __init__(self, attention: WeightMap):
        super().__init__()
        self.attention = instance_of("attention", attention, WeightMap, "a global map: GlobalSpatialAttention, FreeMap")

    def forward(self, x: Float[Tensor, "batch channels h w"]) -> Float[Tensor, "batch pooled"]:
        """(B, C, h, w) -> (B, K * C): the C averages under the first map, then under the second, and so on."""
        weight = self.attention.resized(_grid(x))
        weight = weight / weight.sum(dim=(1, 2), keepdim=True)  # resizing moves the mean a little
        means = x.flatten(2) @ weight.to(x.dtype).flatten(1).T  # (B, C, K)
        return means.transpose(1, 2).flatten(1)


def _grid(x: object) -> tuple[int, int]:
    if not isinstance(x, Tensor) or x.ndim != 4 or not x.is_floating_point():
        raise bad_value("x", describe(x), "floating-point activations (B, C, h, w)")
    return tuple(x.shape[-2:])
