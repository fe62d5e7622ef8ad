"""How good is a map: against a known region, over seeds, how concentrated; and are the images aligned at all?"""

from collections.abc import Iterable
from itertools import combinations

import torch
from jaxtyping import Bool, Float, Num
from scipy.stats import spearmanr
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import Tensor

from gsa_utils.arguments import as_map, bad_value, describe
from gsa_utils.images import ImageSet


def localisation(weight_map: Float[Tensor, "height width"], region: Bool[Tensor, "height width"]) -> dict[str, float]:
    """How well a map finds a known region, each pixel being one sample of a two-class problem.

    Returns:
        auroc: chance that a pixel of the region outweighs one outside, ties counting half; 0.5 for a constant map.
        auprc: average precision; the region's share of the image for a constant map.
        energy: share of the map's total weight that lies in the region, of a map that is nowhere negative.

    The first two depend on the order of the weights only. A CNN can undo a uniform rescaling of its input, so order and
    contrast mean something, absolute weights do not; read `energy` beside the region's share of the image.

    Raises:
        ValueError: sizes that differ, a region that is empty or everything, weights that are negative or not finite.
    """
    weights = as_map("weight_map", weight_map)
    if not isinstance(region, Tensor) or region.shape != weights.shape or region.dtype != torch.bool:
        raise bad_value("region", describe(region), f"a bool tensor of the map's shape {tuple(weights.shape)}")
    inside = region.cpu()
    if not torch.isfinite(weights).all() or weights.min() < 0:
        raise bad_value(
            "weight_map", f"values from {weights.min():g} to {weights.max():g}", "finite weights, none negative"
        )
    if inside.all() or not inside.any():
        raise bad_value(
            "region", f"{int(inside.sum())} of {inside.numel()} pixels", "some pixels inside and some outside"
        )
    truth, score, total = inside.flatten().numpy(), weights.flatten().numpy(), in_range(weights.flatten())
    return {
        "auroc": float(roc_auc_score(truth, score)),
        "auprc": float(average_precision_score(truth, score)),
        "energy": float(total[inside.flatten()].sum() / total.sum()) if score.any() else 0.0,
    }


def effective_area(weight_map: Float[Tensor, "height width"]) -> float:
    """How much of the image a map weights, from 1 (all of it alike) down to 1 / P (one pixel alone).

    1 / mean(w^2) of the weights divided by their mean, the effective sample size of Kish (1965) as a share: k pixels
    of equal weight among P, and nothing elsewhere, have k / P. A uniform rescaling changes nothing.

    Raises:
        ValueError: weights that are negative, not finite, or all zero.
    """
    weights = as_map("weight_map", weight_map)
    if not torch.isfinite(weights).all() or weights.min() < 0 or not weights.any():
        raise bad_value(
            "weight_map", describe(weight_map), "a map (H, W) of finite weights, none negative, not all zero"
        )
    weights = in_range(weights.flatten())
    return float(weights.mean() ** 2 / weights.square().mean())


def stability(maps: Iterable[Float[Tensor, "height width"]]) -> float:
    """Mean Spearman rank correlation over all pairs of maps, of other seeds, say; 1 when all order the pixels alike.

    NaN if a map is constant: it has no order to agree with.

    Raises:
        ValueError: fewer than two maps, or maps of different sizes, NaN or infinity.
    """
    if not isinstance(maps, Iterable) or not getattr(maps, "ndim", 1):
        raise bad_value("maps", describe(maps), "a list of maps (H, W)")
    maps = [as_map("maps", m) for m in maps]
    if len(maps) < 2:
        raise bad_value("maps", f"{len(maps)} map(s)", "at least two")
    if any(m.shape != maps[0].shape for m in maps):
        raise bad_value("maps", f"shapes {sorted({tuple(m.shape) for m in maps})}", "maps of one size")
    if not all(torch.isfinite(m).all() for m in maps):
        raise bad_value("maps", "NaN or infinite weights", "finite weights")
    if any(m.min() == m.max() for m in maps):
        return float("nan")
    pairs = [spearmanr(a.flatten().numpy(), b.flatten().numpy()).statistic for a, b in combinations(maps, 2)]
    return float(sum(pairs) / len(pairs))


def alignment(images: ImageSet | Num[Tensor, "n channels height width"]) -> float:
    """How far the images share one frame: the mean correlation of an image with the mean of all the others.

    1 for copies of one image, about 0 for images that have nothing in common place by place. The measure is this
    repository's choice. Each image is standardised first; a constant image counts as 0.

    Raises:
        ValueError: fewer than two images, images without pixels, NaN or infinity.
    """
    images = images.images if isinstance(images, ImageSet) else images
    if not isinstance(images, Tensor) or images.ndim != 4 or len(images) < 2 or not images.numel():
        raise bad_value("images", describe(images), "at least two images (N, C, H, W)")
    if images.is_complex():
        raise bad_value("images", describe(images), "real intensities")
    total, score = torch.zeros(images[0].numel(), dtype=torch.float64, device=images.device), 0.0
    for batch in images.split(1024):
        total += _standardised(batch).sum(dim=0)
    for batch in images.split(1024):
        x = _standardised(batch)  # (b, C*H*W)
        others = total - x  # leaving the image out: it would agree with itself
        score += torch.cosine_similarity(x, others - others.mean(dim=1, keepdim=True)).sum().item()
    return score / len(images)


def in_range(values: Float[Tensor, "*rows columns"]) -> Float[Tensor, "*rows columns"]:
    """Each row divided by a power of two, which rounds nothing, so that its largest value is near 1.

    Sums and squares of numbers near the largest float would be infinite, and of the smallest 0.
    """
    largest = values.abs().amax(dim=-1, keepdim=True)
    return torch.ldexp(values, -torch.frexp(largest).exponent.clamp(min=-1000))


def _standardised(batch: Tensor) -> Float[Tensor, "batch pixels"]:
    x = batch.double().flatten(1)
    if not torch.isfinite(x).all():
        raise bad_value("images", "NaN or infinite values", "finite intensities")
    x = in_range(x)  # (b, P)
    x = x - x.mean(dim=1, keepdim=True)
    return x / x.norm(dim=1, keepdim=True).clamp(min=1e-6)
