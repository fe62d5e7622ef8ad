"""Three sides of a set: who is trained on, who chooses, who is tested. Splits and folds: test_images.py."""

import numpy as np
import pytest
import torch

from gsa_utils.splits import fold_numbers, three_sides


def drawn(seed, people=15, count=90):
    """Labels, and for each image a person: all of them have one image at least."""
    rng = np.random.default_rng(seed)
    groups = np.concatenate([np.arange(people), rng.integers(0, people, count - people)])
    return torch.from_numpy(rng.integers(0, 2, count)), torch.from_numpy(groups)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("grouped", [False, True])
def test_every_image_is_on_one_side_and_nobody_on_two(grouped, seed):
    labels, groups = drawn(seed)
    tested = []
    for fold in range(5):
        sides = three_sides(labels, groups if grouped else None, 5, fold, 0.2, seed)
        assert sorted(torch.cat(sides).tolist()) == list(range(90))
        assert all(len(side) for side in sides)
        assert len(sides[1]) < len(sides[0])
        if grouped:
            people = [set(groups[side].tolist()) for side in sides]
            assert len(set.union(*people)) == sum(map(len, people))
        tested += sides[2].tolist()
    assert sorted(tested) == list(range(90))


@pytest.mark.parametrize("seed", range(3))
def test_tested_is_a_fold_and_of_the_others_the_share_that_was_asked_for_chooses(seed):
    labels, groups = drawn(seed)
    folds = fold_numbers(labels, groups, 5, seed)
    training, choosing, testing = three_sides(labels, groups, 5, 3, 0.25, seed)
    assert testing.tolist() == (folds == 3).nonzero()[:, 0].tolist()
    people = [len(groups[side].unique()) for side in (training, choosing)]
    assert people[1] == round(0.25 * sum(people))


def test_a_seed_repeats_the_sides_and_another_seed_changes_them():
    labels, groups = drawn(0)
    first, same, other = (three_sides(labels, groups, 5, 0, 0.2, seed) for seed in (1, 1, 2))
    assert all(map(torch.equal, first, same))
    assert not all(one.tolist() == two.tolist() for one, two in zip(first, other, strict=True))
