"""ImageSet: what it refuses; that splits and folds keep people together, classes in proportion and images single."""

from itertools import chain

import numpy as np
import pytest
import torch

from gsa_utils.evaluation.persons import group_keys
from gsa_utils.images import ImageSet


def make(labels, groups=None, names=("healthy", "ill"), **rest):
    """Image i is filled with the number i, so that it can be recognised wherever it lands."""
    images = torch.arange(len(labels), dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 4, 6).contiguous()
    return ImageSet(images, torch.as_tensor(labels), names, groups=groups, **rest)


def numbers(image_set):
    return image_set.images[:, 0, 0, 0].tolist()


# ---------------------------------------------------------------- validation

IMAGES, LABELS = torch.zeros(3, 1, 4, 6, dtype=torch.uint8), torch.tensor([0, 1, 0])


@pytest.mark.parametrize(
    ("argument", "value", "words"),
    [
        ("images", IMAGES.numpy(), ["ndarray", "uint8 tensor", "(N, C, H, W)"]),
        ("images", IMAGES[:, 0], ["(3, 4, 6)", "(N, C, H, W)"]),
        ("images", IMAGES.float(), ["float32", "uint8"]),
        ("images", IMAGES[:0], ["(0, 1, 4, 6)", "at least one image"]),
        ("images", IMAGES[..., :0], ["(3, 1, 4, 0)", "at least one"]),
        ("labels", [0, 1, 0], ["list", "int64 tensor"]),
        ("labels", LABELS.int(), ["int32", "int64"]),
        ("labels", LABELS.bool(), ["bool", "int64"]),
        ("labels", LABELS[:2], ["(2,)", "(3,)"]),
        ("labels", LABELS[:, None], ["(3, 1)", "(3,)"]),
        ("labels", torch.tensor([0, 1, 2]), ["0 to 2", "0 to 1", "class_names holds 2"]),
        ("labels", torch.tensor([0, -1, 1]), ["-1 to 1", "0 to 1"]),
        ("groups", ["anna", "ben"], ["(2,)", "each of the 3 images"]),
        ("groups", torch.zeros(3, 1), ["(3, 1)", "each of the 3 images"]),
        ("groups", ["anna", None, "ben"], ["None", "each of the 3 images"]),
        ("groups", [1.0, float("nan"), 2.0], ["nan", "each of the 3 images"]),
        ("region", torch.zeros(6, 4, dtype=torch.bool), ["(6, 4)", "(4, 6)"]),
        ("region", torch.zeros(4, 6), ["float32", "bool"]),
        ("region", np.zeros((4, 6), bool), ["ndarray", "bool tensor"]),
    ],
)
def test_a_wrong_argument_is_refused_by_name(argument, value, words):
    arguments = {"images": IMAGES, "labels": LABELS, "class_names": ("a", "b")} | {argument: value}
    with pytest.raises(ValueError, match=rf"(?s)^{argument}: got .*expected ") as caught:
        ImageSet(**arguments)
    assert all(word in str(caught.value) for word in words), caught.value


def test_no_class_names_means_no_valid_label():
    with pytest.raises(ValueError, match="labels: got .* class_names holds 0"):
        ImageSet(IMAGES, LABELS, ())


def test_an_image_set_can_not_be_changed():
    with pytest.raises(AttributeError):
        make([0, 1]).labels = torch.tensor([1, 0])


# ---------------------------------------------------------------- reading


def test_floats_are_in_0_to_1_and_lose_nothing():
    every_value = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    floats = ImageSet(every_value, torch.tensor([0]), ("only",)).to_float()
    assert floats.dtype == torch.float32
    assert (floats.min(), floats.max()) == (0, 1)
    assert torch.equal((floats * 255).round().to(torch.uint8), every_value)


def test_class_counts_follow_class_names_and_show_an_empty_class():
    image_set = make([2, 0, 2, 2], names=("a", "b", "c"), name="demo")
    assert image_set.class_counts == [1, 0, 3]
    assert repr(image_set) == "ImageSet(demo: 4 images, 1 x 4 x 6; 1 a, 0 b, 3 c)"
    assert len(image_set) == 4


@pytest.mark.parametrize(
    "groups",
    [
        ["ben", "anna", "ben", "carl"],
        np.array(["ben", "anna", "ben", "carl"], dtype=object),
        torch.tensor([7, 3, 7, 9]),
        [7, 3, 7, 9],
        np.array([7, 3, 7, 9], np.uint8),
        [7.0, 3.0, 7.0, 9.0],
    ],
)
def test_groups_may_be_names_or_numbers_of_any_kind(groups):
    stored = make([0, 1, 0, 1], groups).groups
    assert stored.dtype == torch.int64
    assert stored[0] == stored[2]
    assert len(stored.unique()) == 3


def test_names_of_groups_stay_beside_their_numbers_wherever_a_set_goes():
    image_set = make([0, 1, 0, 1], ["ben", "anna", "ben", "carl"])
    assert image_set.group_names == ("anna", "ben", "carl")
    assert image_set.groups.tolist() == [1, 0, 1, 2]
    part = image_set.subset([3, 0])
    assert [part.group_names[number] for number in part.groups] == ["carl", "ben"]
    assert sorted(group_keys(part).values()) == ["ben", "carl"]


def test_a_person_has_one_key_in_all_sets_however_they_number_them():
    one, two = make([0, 1], ["anna", "ben"]), make([0, 1], ["ben", "carl"])
    assert one.groups.tolist() == two.groups.tolist() == [0, 1]
    assert [group_keys(one)[key] for key in group_keys(one).keys() & group_keys(two).keys()] == ["ben"]
    assert group_keys(make([0, 1], [7, 8])) == group_keys(make([1, 0], ["8", "7"]))
    assert group_keys(make([0, 1])) == {}
    assert not any("anna" in key for key in group_keys(one))


@pytest.mark.parametrize("names", ["ab", {"a", "b"}, ["a"], [1, 2], 3])
def test_names_that_are_none_of_these_groups_are_refused(names):
    with pytest.raises(ValueError, match="group_names: got "):
        make([0, 1], [0, 1], group_names=names)


def test_a_subset_keeps_the_order_asked_for_and_everything_that_belongs_to_an_image():
    region = torch.ones(4, 6, dtype=torch.bool)
    image_set = make([0, 1, 0, 1], ["a", "b", "c", "d"], region=region, name="demo")
    for indices in ([3, 0, -2], torch.tensor([3, 0, 2]), np.array([3, 0, 2])):
        part = image_set.subset(indices)
        assert numbers(part) == [3, 0, 2]
        assert part.labels.tolist() == [1, 0, 0]
        assert part.groups.tolist() == image_set.groups[[3, 0, 2]].tolist()
        assert part.region is region
        assert (part.name, part.class_names) == ("demo", image_set.class_names)


@pytest.mark.parametrize("indices", [[], [4], [-5], [0.5], [[0, 1]], torch.tensor([True, False, True, True])])
def test_a_subset_refuses_wrong_indices(indices):
    with pytest.raises(ValueError, match="indices: got .*expected "):
        make([0, 1, 0, 1]).subset(indices)


# ---------------------------------------------------------------- split


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.8])
@pytest.mark.parametrize("grouped", [False, True])
def test_a_split_puts_every_image_on_exactly_one_side(grouped, fraction, seed):
    groups = torch.arange(90) // 3 if grouped else None
    image_set = make([0, 1, 1] * 30, groups)
    first, second = image_set.split(fraction, seed)
    assert sorted(numbers(first) + numbers(second)) == list(range(90))
    assert len(first) == round(fraction * 90)
    for side in (first, second):
        assert side.labels.tolist() == image_set.labels[numbers(side)].tolist()


@pytest.mark.parametrize("seed", range(10))
def test_nobody_straddles_a_split_however_many_images_a_person_has(seed):
    rng = np.random.default_rng(seed)
    people = rng.permutation(np.repeat([f"person {k}" for k in range(40)], rng.integers(1, 6, 40)))
    image_set = make(rng.integers(0, 2, len(people)), people)
    first, second = image_set.split(0.6, seed)
    assert not set(people[numbers(first)]) & set(people[numbers(second)])
    assert len(set(people[numbers(first)])) == 24  # 0.6 of the people


@pytest.mark.parametrize("grouped", [False, True])
def test_classes_keep_their_shares(grouped):
    labels = torch.tensor([0] * 160 + [1] * 40)
    first, second = make(labels, torch.arange(200) // 2 if grouped else None).split(0.5, seed=3)
    assert first.class_counts == [80, 20]
    assert second.class_counts == [80, 20]


def test_a_seed_repeats_a_split_and_another_seed_changes_it():
    image_set = make([0, 1] * 30)
    (first, _), (same, _), (other, _) = (image_set.split(0.5, seed) for seed in (1, 1, 2))
    assert numbers(first) == numbers(same) != numbers(other)


def test_a_split_leaves_the_global_random_states_alone():
    np.random.seed(0)  # noqa: NPY002
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    make([0, 1] * 30).split(0.5, seed=1)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002


@pytest.mark.parametrize("fraction", [0, 1, -0.5, 1.5, float("nan"), 0.01, 0.99])
def test_a_fraction_that_leaves_a_side_empty_is_refused(fraction):
    with pytest.raises(ValueError, match="fraction: got .*expected "):
        make([0, 1] * 5).split(fraction, seed=0)


def test_one_person_can_not_be_split():
    with pytest.raises(ValueError, match="fraction: got 0.5.*1 groups"):
        make([0, 1] * 5, ["anna"] * 10).split(0.5, seed=0)


def test_a_class_with_one_image_does_not_stop_a_split():
    first, second = make([0] * 9 + [1]).split(0.5, seed=0)
    assert sorted(numbers(first) + numbers(second)) == list(range(10))


# ---------------------------------------------------------------- folds


def fold_sides(image_set, k, seed=0):
    return [(numbers(train), numbers(test)) for train, test in image_set.folds(k, seed)]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("k", [2, 5, 12])
@pytest.mark.parametrize("grouped", [False, True])
def test_folds_test_every_image_once_and_train_on_all_others(grouped, k, seed):
    rng = np.random.default_rng(seed)
    people = np.concatenate([np.arange(12), rng.integers(0, 12, 60)])
    image_set = make(rng.integers(0, 2, 72), people if grouped else None)
    sides = fold_sides(image_set, k, seed)
    assert len(sides) == k
    assert sorted(chain.from_iterable(test for _, test in sides)) == list(range(72))
    for train, test in sides:
        assert sorted(train + test) == list(range(72))
        assert not grouped or not set(people[train]) & set(people[test])


def test_folds_carry_what_belongs_to_an_image():
    region = torch.ones(4, 6, dtype=torch.bool)
    image_set = make([0, 1] * 10, torch.arange(20) // 2, region=region, name="demo")
    for side in chain.from_iterable(image_set.folds(5, seed=0)):
        assert side.labels.tolist() == image_set.labels[numbers(side)].tolist()
        assert side.groups.tolist() == image_set.groups[numbers(side)].tolist()
        assert (side.name, side.region is region) == ("demo", True)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("grouped", [False, True])
def test_classes_keep_their_shares_in_every_fold(grouped, seed):
    labels = torch.tensor([0] * 160 + [1] * 40)
    image_set = make(labels, torch.arange(200) // 2 if grouped else None)
    assert [test.class_counts for _, test in image_set.folds(5, seed)] == [[32, 8]] * 5


def test_a_seed_repeats_the_folds_and_another_seed_changes_them():
    image_set = make([0, 1] * 30, torch.arange(60) // 3)
    first, same, other = (fold_sides(image_set, 4, seed) for seed in (1, 1, 2))
    assert first == same != other


def test_each_may_be_a_fold_of_its_own():
    people = ["anna", "ben", "carl", "dora"]
    for groups in (people, None):  # more folds than a class has images, which scikit-learn refuses
        assert sorted(test for _, test in fold_sides(make([0, 1, 0, 1], groups), 4)) == [[0], [1], [2], [3]]


@pytest.mark.filterwarnings("ignore:The least populated class")
def test_no_fold_is_empty_where_rounding_has_scikit_learn_leave_one_so():
    labels = [2, 2, 2, 0, 2, 1, 0, 2, 2, 1, 0, 1, 0]
    people = [0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3]
    sides = fold_sides(make(labels, people, names=("a", "b", "c")), 4)
    assert sorted(test for _, test in sides) == [[0, 1], [2, 3, 4, 5], [6, 7, 8, 9], [10, 11, 12]]


@pytest.mark.parametrize(
    ("k", "groups", "words"),
    [
        (1, None, "1, expected a whole number, at least 2"),
        (2.0, None, "2.0, expected a whole number"),
        (True, None, "True, expected a whole number"),
        ("5", None, "'5', expected a whole number"),
        (11, None, "11, expected at most 10, the number of images"),
        (6, torch.arange(10) // 2, "6, expected at most 5, the number of groups"),
        (2, ["anna"] * 10, "2, expected at most 1, the number of groups"),
    ],
)
def test_a_number_of_folds_that_cannot_be_had_is_refused(k, groups, words):
    with pytest.raises(ValueError, match=f"^k: got {words}"):
        make([0, 1] * 5, groups).folds(k, seed=0)
