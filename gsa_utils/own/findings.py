"""What a set holds that one should know before training: copies, near copies, and people on both sides."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from gsa_utils.images import ImageSet

NEAR = 0.995  # correlation of two images in 32 x 32 cells from which they are called near copies
_CELLS, _CHUNK = 32, 1024


@dataclass(frozen=True)
class Findings:
    """Numbers of images by class, and pairs of image numbers.

    Attributes:
        persons: how many there are; None where nobody said who is who.
        copies: pairs whose pixels are the same.
        near: pairs whose pixels are nearly the same.
        leaks: those of both kinds whose persons differ: one of them may train what the other tests.
        contradictions: those of both kinds whose classes differ.
    """

    counts: dict[str, int]
    persons: int | None
    copies: list[tuple[int, int]]
    near: list[tuple[int, int]]
    leaks: list[tuple[int, int]]
    contradictions: list[tuple[int, int]]

    @property
    def sentences(self) -> list[str]:
        """In plain words."""
        total, most = sum(self.counts.values()), max(self.counts.values())
        said = ["; ".join(f"{count} images of class {name}" for name, count in self.counts.items())]
        if most / total > 0.8:
            said.append(
                f"The classes are far from balanced: always answering the largest is right in {most / total:.0%}."
            )
        said.append(
            "Nobody said who is who: each image counts as a person of its own. If some have several, name them."
            if self.persons is None
            else f"{self.persons} persons; none of them is trained on and tested at once."
        )
        for pairs, words in ((self.copies, "the same pixels"), (self.near, "nearly the same pixels")):
            if pairs:
                said.append(f"{len(pairs)} pairs of images have {words}.")
        if self.leaks:
            said.append(
                f"{len(self.leaks)} of these pairs belong to different persons: scores may be too good by them."
            )
        if self.contradictions:
            said.append(f"{len(self.contradictions)} of these pairs are of different classes: one label must be wrong.")
        return said


def find(image_set: ImageSet) -> Findings:
    """Look for them; pairs are compared with each other, N x N."""
    cells = F.adaptive_avg_pool2d(image_set.images.float().mean(dim=1, keepdim=True), _CELLS).flatten(1)  # (N, cells)
    cells = cells - cells.mean(dim=1, keepdim=True)
    cells = cells / cells.norm(dim=1, keepdim=True).clamp(min=1e-6)
    copies, near = [], []
    for first, second in _alike(cells):
        same = torch.equal(image_set.images[first], image_set.images[second])
        (copies if same else near).append((first, second))
    pairs = copies + near
    groups = torch.arange(len(image_set)) if image_set.groups is None else image_set.groups
    return Findings(
        counts=dict(zip(image_set.class_names, image_set.class_counts, strict=True)),
        persons=None if image_set.groups is None else len(image_set.groups.unique()),
        copies=copies,
        near=near,
        leaks=[(a, b) for a, b in pairs if groups[a] != groups[b]],
        contradictions=[(a, b) for a, b in pairs if image_set.labels[a] != image_set.labels[b]],
    )


def _alike(cells: Float[Tensor, "n cells"]) -> list[tuple[int, int]]:
    found = []
    for start in range(0, len(cells), _CHUNK):
        alike = cells[start : start + _CHUNK] @ cells.T > NEAR  # (chunk, N)
        found += [(start + a, b) for a, b in alike.nonzero().tolist() if start + a < b]
    return found
