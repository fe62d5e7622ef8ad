"""Verdicts in words, each with the numbers that carry it.

Thresholds are this repository's choice; benchmarks/own_verdicts.py measures how often they err.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Num
from torch import Tensor

from gsa_utils.arguments import bad_value
from gsa_utils.study.comparison import FoldDifference

ALIGNED, PARTLY = 0.055, 0.125  # median offset, as a share of the side, up to which images are called so
FURTHEST = 0.25  # offsets that are tried, as a share of the side
HEAVY = 2.0  # mean weight of a zone from which a shortcut is suspected (a corner of the London faces has 1.6)
_SIDE, _MOST = 64, 1000  # pixels and images that alignment is measured on


@dataclass(frozen=True)
class Alignment:
    """How far images are off their common frame.

    Attributes:
        offset: by how much an image would have to be moved to fit the mean of all others best, the larger of its two
            directions, as a share of the side: the median over images.
        null: the same where every image is first moved by a random offset of up to a quarter of its side.
        mean, deviation: (H, W), of the images in [0, 1].
    """

    offset: float
    null: float
    mean: Float[Tensor, "height width"]
    deviation: Float[Tensor, "height width"]

    @property
    def verdict(self) -> str:
        """ "aligned", "partly aligned" or "not aligned"."""
        if self.offset <= ALIGNED:
            return "aligned"
        return "partly aligned" if self.offset <= PARTLY else "not aligned"

    @property
    def sentence(self) -> str:
        reason = (
            f"half of the images fit the mean of the others best when moved by {self.offset:.1%} of the side or less"
        )
        then = {
            "aligned": "One shared map is reasonable here.",
            "partly aligned": "One shared map can work where what matters is larger than that; registration may help.",
            "not aligned": "A place means something else in every image: do not expect anything from one shared map.",
        }
        return f"{self.verdict}: {reason} ({self.null:.1%} if they were moved at random). {then[self.verdict]}"


def check_alignment(images: Num[Tensor, "n channels height width"], seed: int = 0) -> Alignment:
    """Measure it on at most 1,000 images of at most 64 x 64 pixels.

    Each image is compared with the mean of all others at every offset, by the correlation over the pixels that both
    have; the best offset says how far it is off. (The correlation itself orders sets less well: ultrasound images that
    share no anatomy correlate by .7, for all are bright at the top.)

    Raises:
        ValueError: fewer than ten images, or a side of fewer than eight pixels.
    """
    if images.ndim != 4 or len(images) < 10 or min(images.shape[-2:]) < 8:
        raise bad_value(
            "images", f"shape {tuple(images.shape)}", "at least 10 images (N, C, H, W) of 8 x 8 pixels or more"
        )
    random = torch.Generator().manual_seed(seed)
    some = images[torch.randperm(len(images), generator=random)[:_MOST]].float().mean(dim=1)  # (n, H, W)
    some = some / 255 if images.dtype == torch.uint8 else some
    size = tuple(min(_SIDE, side) for side in some.shape[-2:])
    small = F.interpolate(some[:, None], size, mode="bilinear", antialias=True)[:, 0]
    return Alignment(
        _median_offset(small), _median_offset(_moved(small, random)), some.mean(dim=0), some.std(dim=0, correction=0)
    )


def _moved(images: Float[Tensor, "n height width"], random: torch.Generator) -> Float[Tensor, "n height width"]:
    """Each image moved by an offset of its own, up to a quarter of its sides; the border is repeated."""
    count, height, width = images.shape
    rows, columns = (
        (
            torch.arange(side)
            + torch.randint(-int(FURTHEST * side), int(FURTHEST * side) + 1, (count, 1), generator=random)
        ).clamp(0, side - 1)
        for side in (height, width)
    )
    return images[torch.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]


def _median_offset(images: Float[Tensor, "n height width"]) -> float:
    x = images.double() - images.double().mean(dim=(1, 2), keepdim=True)
    x = x / x.flatten(1).norm(dim=1).clamp(min=1e-6)[:, None, None]
    others = x.sum(dim=0) - x  # (n, H, W): leaving the image out, for it would agree with itself
    height, width = x.shape[1:]

    def overlap(first: Tensor, second: Tensor) -> Tensor:
        """Sums of products at every offset, by the convolution theorem, nothing wrapped around."""
        first, second = (torch.fft.rfft2(one, s=(2 * height, 2 * width)) for one in (first, second))
        return torch.fft.irfft2(first * second.conj(), s=(2 * height, 2 * width))

    everywhere = torch.ones_like(x[:1])
    energy = overlap(others.square(), everywhere) * overlap(everywhere, x.square())
    likeness = overlap(others, x) / energy.clamp(min=1e-12).sqrt()  # (n, 2 H, 2 W)
    down, across = (
        torch.cat([torch.arange(int(FURTHEST * side) + 1), -torch.arange(int(FURTHEST * side), 0, -1)])
        for side in (height, width)
    )
    best = likeness[:, down][:, :, across].flatten(1).argmax(dim=1)
    off = torch.maximum(down[best // len(across)].abs() / height, across[best % len(across)].abs() / width)
    return off.double().median().item()


def gain_sentence(difference: FoldDifference, what: str = "AUROC") -> str:
    """ "helps", "no difference shown" or "hurts", with the interval that says so."""
    points = (
        f"{100 * difference.mean:+.1f} points of {what} ({100 * difference.low:+.1f} to {100 * difference.high:+.1f})"
    )
    if difference.low > 0:
        return f"helps: shared maps change it by {points}."
    if difference.high < 0:
        return f"hurts: shared maps change it by {points}."
    return f"no difference shown: shared maps change it by {points}; zero is among the values that fit."


def zones(size: tuple[int, int], share: float = 0.2) -> dict[str, Bool[Tensor, "height width"]]:
    """Where markers, captions and frames usually are: the four corners, and between them the four edges."""
    height, width = size
    rows, columns = torch.arange(height), torch.arange(width)
    ends = {"top": rows < share * height, "bottom": rows >= (1 - share) * height}
    sides = {"left": columns < share * width, "right": columns >= (1 - share) * width}
    found = {f"{end} {side} corner": r[:, None] & c for end, r in ends.items() for side, c in sides.items()}
    thin = {"top": rows < share * height / 2, "bottom": rows >= height - share * height / 2}
    slim = {"left": columns < share * width / 2, "right": columns >= width - share * width / 2}
    between_rows, between_columns = ~(ends["top"] | ends["bottom"]), ~(sides["left"] | sides["right"])
    found |= {f"{end} edge": r[:, None] & between_columns for end, r in thin.items()}
    return found | {f"{side} edge": between_rows[:, None] & c for side, c in slim.items()}


def shortcut_alarm(maps: Float[Tensor, "n height width"]) -> dict[str, float]:
    """Zones at the border where the mean map is heavier than HEAVY, and how heavy: no proof, a place to look at.

    Args:
        maps: of the folds, mean 1 each.
    """
    mean = maps.mean(dim=0)
    weights = {name: mean[zone].mean().item() for name, zone in zones(tuple(mean.shape)).items()}
    return {name: weight for name, weight in sorted(weights.items(), key=lambda item: -item[1]) if weight > HEAVY}
