"""ImageSet: aligned, labelled images of one size, the one container that everything else takes and returns."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped, UInt8
from torch import Tensor

from gsa_utils.arguments import bad_value, check_images, check_labels, describe

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

    Raises:
        ValueError: names the argument, what came and what was expected.
    """

    images: UInt8[Tensor, "n channels height width"]
    labels: Int[Tensor, " n"]
    class_names: Sequence[str]
    groups: Int[Tensor, " n"] | Shaped[np.ndarray, " n"] | Sequence[object] | None = None  # a tensor from here on
    region: Bool[Tensor, "height width"] | None = None
    name: str = ""

    def __post_init__(self) -> None:
        check_images(self.images)
        count, size = len(self.images), tuple(self.images.shape[-2:])
        check_labels(self.labels, count, len(self.class_names))
        if self.groups is not None:
            object.__setattr__(self, "groups", _group_numbers(self.groups, count))
        region = self.region
        if region is not None and (
            not isinstance(region, Tensor) or region.dtype != torch.bool or region.shape != size
        ):
            raise bad_value("region", describe(region), f"a bool tensor of shape {size}, as the images have")

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
        indices = torch.as_tensor(indices)
        if indices.ndim != 1 or not len(indices) or indices.is_floating_point() or indices.dtype == torch.bool:
            raise bad_value("indices", describe(indices), "a non-empty one-dimensional list of integers")
        if indices.min() < -len(self) or indices.max() >= len(self):
            came = f"{indices.min()} to {indices.max()}"
            raise bad_value("indices", came, f"positions in a set of {len(self)} images")
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
        from sklearn.model_selection import train_test_split  # scikit-learn takes a second to import

        if not 0 < fraction < 1:
            raise bad_value("fraction", fraction, "a number between 0 and 1, both excluded")
        units = torch.arange(len(self)) if self.groups is None else self.groups
        members, first, unit = np.unique(units.numpy(), return_index=True, return_inverse=True)
        # A group is put in the stratum of its first image: exact where each person has one class or one of each.
        strata = self.labels.numpy()[first]
        size = round(fraction * len(members))
        if not 0 < size < len(members):
            expected = f"a share that leaves both sides some of the {len(members)} groups or images"
            raise bad_value("fraction", fraction, expected)
        classes, counts = np.unique(strata, return_counts=True)
        enough = counts.min() > 1 and min(size, len(members) - size) >= len(classes)
        strata = strata if enough else None
        chosen, _ = train_test_split(range(len(members)), train_size=size, random_state=seed, stratify=strata)
        in_first = torch.from_numpy(np.isin(unit, chosen))
        return self.subset(in_first.nonzero()[:, 0]), self.subset((~in_first).nonzero()[:, 0])


def split_in_three(image_set: ImageSet) -> dict[str, ImageSet]:
    """About 70, 15 and 15 % of the images (of the groups, where there are any), the same ones every time."""
    train, rest = image_set.split(0.7, seed=0)
    return dict(zip(SPLITS, (train, *rest.split(0.5, seed=0)), strict=True))


def _group_numbers(groups: object, count: int) -> Tensor:
    """Person or patient names of any kind as integers, numbered in sorted order."""
    names = groups.numpy() if isinstance(groups, Tensor) else np.asarray(groups)
    if names.shape != (count,):
        raise bad_value("groups", f"shape {names.shape}", f"one person or patient for each of the {count} images")
    if names.dtype.kind in "iu":
        return torch.as_tensor(names.astype(np.int64))
    missing = [name for name in names.tolist() if name is None or name != name]  # as a table with gaps has them
    if missing:
        came = f"{missing[0]} {len(missing)} times"
        raise bad_value("groups", came, f"a person or patient for each of the {count} images")
    return torch.from_numpy(np.unique(names, return_inverse=True)[1].astype(np.int64))
