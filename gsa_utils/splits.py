"""Who goes where when a set is divided: on label and group numbers alone, so that no image is touched.

scikit-learn takes a second to import, so only what divides a set imports it.
"""

from collections.abc import Sequence
from numbers import Real

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from gsa_utils.arguments import bad_value, check_seed, check_whole, describe


def group_numbers(groups: object, count: int) -> Int[Tensor, " n"]:
    """Person or patient names of any kind as integers, numbered in sorted order; integers stay as they are.

    Raises:
        ValueError: when there are not `count` of them, or some are missing.
    """
    return numbers_and_names(groups, count)[0]


def numbers_and_names(groups: object, count: int) -> tuple[Int[Tensor, " n"], tuple[str, ...] | None]:
    """As `group_numbers`, and what the numbers mean; None of integers, which are names themselves."""
    expected = f"one person or patient for each of the {count} images"
    try:
        names = groups.numpy() if isinstance(groups, Tensor) else np.asarray(groups)
    except ValueError as error:  # rows of several lengths
        raise bad_value("groups", describe(groups), expected) from error
    if names.shape != (count,):
        raise bad_value("groups", f"shape {names.shape}", expected)
    if names.dtype.kind in "iu":
        return torch.as_tensor(names.astype(np.int64)), None
    missing = [name for name in names.tolist() if name is None or name != name]  # as a table with gaps has them
    if missing:
        came = f"{missing[0]} {len(missing)} times"
        raise bad_value("groups", came, f"a person or patient for each of the {count} images")
    members, numbers = np.unique(names, return_inverse=True)
    return torch.from_numpy(numbers.astype(np.int64)), tuple(map(str, members.tolist()))


def settled_groups(
    groups: object, names: Sequence[str] | None, count: int
) -> tuple[Int[Tensor, " n"], Sequence[str] | None]:
    """The numbers of the groups and what they mean; groups of another type than integers bring names of their own.

    Raises:
        ValueError: what `group_numbers` refuses, or names that are not one for each number.
    """
    numbers, found = numbers_and_names(groups, count)
    names = names if found is None else found
    check_group_names(names, numbers)
    return numbers, names


def check_group_names(names: object, groups: Int[Tensor, " n"] | None) -> None:
    """Raise a ValueError unless every group has a name, or none has."""
    if names is None or groups is None:
        return
    if not isinstance(names, Sequence) or isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise bad_value("group_names", describe(names), "a list or tuple of names, in the order of the numbers")
    if groups.min() < 0 or groups.max() >= len(names):
        raise bad_value("group_names", f"{len(names)} names", f"one for each number, {groups.min()} to {groups.max()}")


def first_side(
    labels: Int[Tensor, " n"], groups: Int[Tensor, " n"] | None, fraction: float, seed: int
) -> Bool[Tensor, " n"]:
    """Which images are on the first side when `fraction` of the groups (of the images, without groups) goes there.

    Raises:
        ValueError: when `fraction` is out of range, or leaves one side empty.
    """
    from sklearn.model_selection import train_test_split

    if not isinstance(fraction, Real) or not 0 < fraction < 1:
        raise bad_value("fraction", repr(fraction), "a number between 0 and 1, both excluded")
    units = torch.arange(len(labels)) if groups is None else groups
    members, first, unit = np.unique(units.numpy(), return_index=True, return_inverse=True)
    # A group is put in the stratum of its first image: exact where each person has one class or one of each.
    strata = labels.numpy()[first]
    size = round(fraction * len(members))
    if not 0 < size < len(members):
        expected = f"a share that leaves both sides some of the {len(members)} groups or images"
        raise bad_value("fraction", fraction, expected)
    classes, counts = np.unique(strata, return_counts=True)
    enough = counts.min() > 1 and min(size, len(members) - size) >= len(classes)
    strata = strata if enough else None
    chosen, _ = train_test_split(range(len(members)), train_size=size, random_state=check_seed(seed), stratify=strata)
    return torch.from_numpy(np.isin(unit, chosen))


def three_sides(
    labels: Int[Tensor, " n"], groups: Int[Tensor, " n"] | None, k: int, fold: int, valid: float, seed: int
) -> tuple[Int[Tensor, " train"], Int[Tensor, " valid"], Int[Tensor, " test"]]:
    """Indices of the images to train on, to choose by, and to test on; no group is in two of them.

    Tested is fold `fold` of `fold_numbers`; of the other groups the share `valid` chooses.
    """
    testing = fold_numbers(labels, groups, k, seed) == fold
    rest = (~testing).nonzero()[:, 0]
    choosing = first_side(labels[rest], None if groups is None else groups[rest], valid, seed)
    return rest[~choosing], rest[choosing], testing.nonzero()[:, 0]


def fold_numbers(labels: Int[Tensor, " n"], groups: Int[Tensor, " n"] | None, k: int, seed: int) -> Int[Tensor, " n"]:
    """The fold of each image, 0 to k - 1: none is empty, none shares a group with another.

    Raises:
        ValueError: when `k` is no whole number from 2 to the number of groups (of images, without groups).
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    check_whole("k", k, 2)
    seed = check_seed(seed)
    units = torch.arange(len(labels)) if groups is None else groups
    members, unit = np.unique(units.numpy(), return_inverse=True)
    if k > len(members):
        raise bad_value("k", k, f"at most {len(members)}, the number of {'images' if groups is None else 'groups'}")
    folds = np.zeros(len(labels), np.int64)
    if k <= labels.bincount().max():  # scikit-learn refuses more folds than its largest class has images
        splitter = StratifiedKFold if groups is None else StratifiedGroupKFold
        parts = splitter(k, shuffle=True, random_state=seed).split(labels, labels, groups)
        for fold, (_, test) in enumerate(parts):
            folds[test] = fold
    # With hardly more groups than folds rounding may leave one empty (scikit-learn issue 34828): shares must give way.
    if len(np.unique(folds)) < k:
        folds = (np.random.RandomState(seed).permutation(len(members)) % k)[unit]
    return torch.from_numpy(folds)
