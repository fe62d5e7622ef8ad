"""ImageSet: aligned, labelled images of one size, the one container that everything else takes and returns."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped, UInt8
from torch import Tensor

from gsa_utils.arguments import check_images, check_labels, check_region, number_of_names, positions
from gsa_utils.splits import first_side, fold_numbers, settled_groups

SPLITS = ("train", "val", "test")


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Labelled images that share one frame: pixel (row, column) means the same place in every one of them.

    Args:
        images: (N, C, H, W) uint8; one byte a channel keeps a large set in memory, `to_float` converts a batch.
        labels: (N,) int64 in [0, len(class_names)).
        class_names: what the labels mean, in their order.
        groups: (N,) the person or patient of each image, or None; images of one group never straddle a split.
        region: (H, W) bool, the pixels known to decide the class, or None where nobody knows (every real set).
        name: what figures and messages call the set.
        group_names: what the numbers in `groups` mean; `fit` and `evaluate` notice by them who is in two sets.

    Raises:
        ValueError: names the argument, what came and what was expected.
    """

    images: UInt8[Tensor, "n channels height width"]
    labels: Int[Tensor, " n"]
    class_names: Sequence[str]
    groups: Int[Tensor, " n"] | Shaped[np.ndarray, " n"] | Sequence[object] | None = None  # a tensor from here on
    region: Bool[Tensor, "height width"] | None = None
    name: str = ""
    group_names: Sequence[str] | None = None

    def __post_init__(self) -> None:
        check_images(self.images)
        count, size = len(self.images), tuple(self.images.shape[-2:])
        check_labels(self.labels, count, number_of_names(self.class_names))
        if self.groups is not None:
            groups, names = settled_groups(self.groups, self.group_names, count)
            self.__dict__.update(groups=groups, group_names=names)  # frozen from here on
        check_region(self.region, size)

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        count, channels, height, width = self.images.shape
        sizes = ", ".join(f"{n} {name}" for name, n in zip(self.class_names, self.class_counts, strict=True))
        return f"ImageSet({self.name or 'unnamed'}: {count} images, {channels} x {height} x {width}; {sizes})"

    @property
    def class_counts(self) -> list[int]:
        """Images in each class, in the order of `class_names`."""
        return torch.bincount(self.labels, minlength=len(self.class_names)).tolist()

    def to_float(self) -> Float[Tensor, "n channels height width"]:
        """The images as float32 in [0, 1]: what models take."""
        return self.images.float() / 255

    def subset(self, indices: Int[Tensor, " k"] | Int[np.ndarray, " k"] | Sequence[int]) -> "ImageSet":
        """The images at `indices`, in that order, with their labels and groups.

        Raises:
            ValueError: when `indices` is empty, not integer, or reaches outside the set.
        """
        indices = positions("indices", indices, len(self))
        groups = None if self.groups is None else self.groups[indices]
        return replace(self, images=self.images[indices], labels=self.labels[indices], groups=groups)

    def split(self, fraction: float, seed: int) -> tuple["ImageSet", "ImageSet"]:
        """Two disjoint sets: about `fraction` of the images (of the groups, where there are any), and the rest.

        Classes keep their shares, unless one has too few images or groups for both sides. All images of one person or
        patient land on one side: a model that has met the person would otherwise be examined on somebody it knows.

        Args:
            fraction: share of the first set, in (0, 1).
            seed: the same seed gives the same split.

        Raises:
            ValueError: when `fraction` is out of range, or leaves one side empty.
        """
        in_first = first_side(self.labels, self.groups, fraction, seed)
        return self.subset(in_first.nonzero()[:, 0]), self.subset((~in_first).nonzero()[:, 0])

    def folds(self, k: int, seed: int) -> list[tuple["ImageSet", "ImageSet"]]:
        """k (train, test) pairs in which every image is tested once, by a model that has met nobody of its group.

        Classes keep their shares as well as the groups allow. Each pair is a copy of the images: k sets in memory.

        Args:
            k: pairs, from 2 to the number of groups (of images, where there are no groups).
            seed: the same seed gives the same folds.

        Raises:
            ValueError: when `k` is not whole, or out of range.
        """
        fold = fold_numbers(self.labels, self.groups, k, seed)
        sides = [((fold != i).nonzero()[:, 0], (fold == i).nonzero()[:, 0]) for i in range(k)]
        return [(self.subset(train), self.subset(test)) for train, test in sides]


def split_in_three(image_set: ImageSet) -> dict[str, ImageSet]:
    """About 70, 15 and 15 % of the images (of the groups, where there are any), the same ones every time."""
    train, rest = image_set.split(0.7, seed=0)
    return dict(zip(SPLITS, (train, *rest.split(0.5, seed=0)), strict=True))
