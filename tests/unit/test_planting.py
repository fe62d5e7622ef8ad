"""Planted patches: only one class has them, only where it is said, and nothing else tells the classes apart."""

from dataclasses import replace

import pytest
import torch

from gsa_utils.images import ImageSet
from gsa_utils.planting import patch_region, plant_marker, plant_patch

COUNT, SIZE = 41, (20, 24)
REGION = patch_region(SIZE, 0.05, (0.4, 0.3))


@pytest.fixture(scope="module")
def real():
    """Stands in for X-rays: noise of grey levels that leave room above, two channels, three images a person."""
    images = torch.randint(0, 200, (COUNT, 2, *SIZE), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    people = torch.arange(COUNT) // 3
    return ImageSet(images, torch.zeros(COUNT, dtype=torch.int64), ("healthy",), groups=people, name="X-rays")


def added(planted, real):
    """(N, H, W): by how many grey levels each pixel is brighter, the same in both channels."""
    difference = planted.images.int() - real.images.int()
    assert torch.equal(difference[:, 0], difference[:, 1])
    return difference[:, 0]


def overlap(patches, region):
    return [bool((patch & region).any()) for patch in patches]


# ---------------------------------------------------------------- the region


@pytest.mark.parametrize("area", [0.01, 0.1, 0.5])
def test_a_region_has_the_area_asked_for_and_is_a_disc_around_its_centre(area):
    region = patch_region((40, 60), area, (0.5, 0.5))
    assert region.sum() == round(area * 2400)
    rows, columns = region.nonzero(as_tuple=True)
    assert rows.float().mean() + 0.5 == pytest.approx(20, abs=0.6)
    assert columns.float().mean() + 0.5 == pytest.approx(30, abs=0.6)
    if area < 0.5:  # it meets the border then
        assert abs(int(region.any(dim=0).sum()) - int(region.any(dim=1).sum())) <= 1


def test_a_centre_is_a_row_and_a_column_and_a_disc_at_the_border_keeps_its_area():
    rows, columns = patch_region((40, 60), 0.02, (0.25, 0.75)).nonzero(as_tuple=True)
    assert rows.float().mean() == pytest.approx(9.5, abs=0.6)
    assert columns.float().mean() == pytest.approx(44.5, abs=0.6)
    corner = patch_region(20, 0.1, (0, 0))
    assert corner.sum() == 40
    assert corner[0, 0]
    assert not corner[10:].any()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"area": 0}, "area: got 0"),
        ({"area": 1}, "area: got 1"),
        ({"area": 0.0001}, "area: got 0.0001, expected a share of the 400 pixels"),
        ({"centre": (0.5, 1.2)}, r"centre: got \(0.5, 1.2\)"),
        ({"size": 0}, "size: got 0"),
    ],
)
def test_a_region_that_cannot_be_had_is_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        patch_region(**{"size": 20, "area": 0.1} | arguments)


# ---------------------------------------------------------------- what is planted


def test_the_patch_is_in_the_images_of_one_class_and_nowhere_else(real):
    planted = plant_patch(real, REGION, 0.1)
    assert planted.class_names == ("without", "patch")
    expected = planted.labels[:, None, None] * REGION.int() * 26  # a tenth of 255, rounded
    assert torch.equal(added(planted, real), expected)
    assert torch.equal(planted.region, REGION)
    assert torch.equal(planted.groups, real.groups)
    assert planted.name == real.name


def test_no_strength_plants_nothing_and_white_stays_white(real):
    assert torch.equal(plant_patch(real, REGION, 0).images, real.images)
    bright = replace(real, images=real.images + 50)
    planted = plant_patch(bright, REGION, 0.5)
    expected = (bright.images.int() + planted.labels[:, None, None, None] * REGION * 128).clamp(max=255)
    assert torch.equal(planted.images.int(), expected)


def test_labels_are_half_and_half_and_follow_from_the_seed_alone(real):
    planted = plant_patch(real, REGION, 0.1, seed=3)
    assert planted.class_counts == [21, 20]
    same = [
        plant_patch(real, REGION, 0.1, seed=3),
        plant_patch(real, REGION, 0.4, jitter=2, seed=3),
        plant_patch(real, patch_region(SIZE, 0.01), 0.1, decoys=True, seed=3),
        plant_patch(replace(real, labels=real.labels + 1, class_names=("healthy", "ill")), REGION, 0.1, seed=3),
    ]
    assert all(torch.equal(other.labels, planted.labels) for other in same)
    assert torch.equal(same[0].images, planted.images)
    assert not torch.equal(plant_patch(real, REGION, 0.1, seed=4).labels, planted.labels)
    both = [len(planted.labels[planted.groups == person].unique()) for person in range(COUNT // 3)]
    assert 2 in both  # a person does not have one label


def test_jitter_moves_the_whole_patch_and_no_further_than_it_says(real):
    planted = plant_patch(real, REGION, 0.1, jitter=2)
    patches = added(planted, real)[planted.labels == 1] > 0
    home, found = REGION.nonzero(), set()
    for patch in patches:
        move = (patch.nonzero() - home)[0]
        assert torch.equal(patch.nonzero(), home + move)
        found.add(tuple(move.tolist()))
    assert {row for row, _ in found} == {column for _, column in found} == {-2, -1, 0, 1, 2}
    assert torch.equal(planted.region, REGION)
    assert not added(planted, real)[planted.labels == 0].any()


def test_with_decoys_every_image_has_a_patch_and_only_its_place_tells_the_class(real):
    planted = plant_patch(real, REGION, 0.1, jitter=1, decoys=True)
    assert planted.class_names == ("elsewhere", "patch")
    patches = added(planted, real) > 0
    assert (patches.sum(dim=(1, 2)) == REGION.sum()).all()
    inside, outside = patches[planted.labels == 1], patches[planted.labels == 0]
    assert not any(overlap(outside, inside.any(dim=0)))
    assert not any(overlap(outside, REGION))
    assert len({tuple(patch.flatten().tolist()) for patch in outside}) > 15  # not one other place
    assert (added(planted, real)[patches] == 26).all()


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"region": torch.ones(24, 20, dtype=torch.bool)}, r"region: got .*\(24, 20\), expected .*\(20, 24\)"),
        ({"region": REGION.float()}, "region: got a float32"),
        ({"region": torch.zeros(SIZE, dtype=torch.bool)}, "region: got 0 of 480 pixels"),
        ({"region": torch.ones(SIZE, dtype=torch.bool)}, "region: got 480 of 480 pixels"),
        ({"strength": -0.1}, "strength: got -0.1"),
        ({"strength": 26}, "strength: got 26, expected a share"),
        ({"strength": float("nan")}, "strength: got nan"),
        ({"jitter": -1}, "jitter: got -1"),
        ({"jitter": 1.5}, "jitter: got 1.5"),
        ({"jitter": 5}, "jitter: got 5, expected at most 4"),
        ({"region": patch_region(SIZE, 0.4), "decoys": True}, "decoys: got True, expected False, or"),
    ],
)
def test_a_wrong_argument_is_refused_by_name(real, arguments, words):
    with pytest.raises(ValueError, match=f"^{words}"):
        plant_patch(real, **{"region": REGION, "strength": 0.1} | arguments)


def test_one_image_has_no_two_classes(real):
    with pytest.raises(ValueError, match="image_set: got 1 image"):
        plant_patch(real.subset([0]), REGION, 0.1)


# ---------------------------------------------------------------- a marker


@pytest.fixture(scope="module")
def two_classes(real):
    return replace(real, labels=(torch.arange(COUNT) % 4 == 0).long(), class_names=("healthy", "ill"))


@pytest.mark.parametrize("agreement", [0.0, 0.5, 0.9, 1.0])
def test_a_marker_stands_in_so_many_images_of_each_class_and_labels_stay(two_classes, agreement):
    marked = plant_marker(two_classes, REGION, 0.1, agreement, seed=3)
    assert torch.equal(marked.labels, two_classes.labels)
    assert torch.equal(marked.region, REGION)
    brighter = added(marked, two_classes)
    has = brighter[:, REGION].eq(round(0.1 * 255)).all(dim=1)
    assert brighter[~has].eq(0).all()
    assert brighter[:, ~REGION].eq(0).all()
    ill, healthy = has[two_classes.labels == 1], has[two_classes.labels == 0]
    assert ill.sum() == round(agreement * len(ill))
    assert healthy.sum() == round((1 - agreement) * len(healthy))


def test_which_images_are_marked_follows_from_the_seed(two_classes):
    one, again, other = (plant_marker(two_classes, REGION, 0.1, 0.5, seed).images for seed in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"agreement": 1.1}, "agreement: got 1.1"),
        ({"agreement": None}, "agreement: got None"),
        ({"strength": 2}, "strength: got 2"),
        ({"region": torch.zeros(SIZE, dtype=torch.bool)}, "region: got 0 of"),
    ],
)
def test_a_wrong_argument_of_a_marker_is_refused_by_name(two_classes, arguments, words):
    with pytest.raises(ValueError, match=f"^{words}"):
        plant_marker(two_classes, **{"region": REGION, "strength": 0.1, "agreement": 0.9} | arguments)


def test_a_marker_needs_two_classes(real):
    with pytest.raises(ValueError, match="image_set: got 1 classes, expected two"):
        plant_marker(real, REGION, 0.1, 0.9)
