"""How concentrated the classes' difference is: what is planted in a known area, and what is not there at all."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from gsa_utils.evaluation.concentration import _dealt, concentration
from gsa_utils.images import ImageSet
from gsa_utils.planting import patch_region, plant_patch

QUICK = 20  # shuffles


def smooth(count=200, size=32, seed=0, people=None):
    """Images whose neighbouring pixels are alike and whose brightness varies as a whole, as real ones do."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(count, 1, 8, 8, generator=generator) + torch.randn(count, 1, 1, 1, generator=generator)
    fine = torch.randn(count, 1, size, size, generator=generator)
    pixels = 110 + 18 * F.interpolate(coarse, size=(size, size), mode="bilinear") + 5 * fine
    labels = torch.arange(count) % 2
    return ImageSet(pixels.clamp(0, 255).to(torch.uint8), labels, ("a", "b"), groups=people)


@pytest.fixture(scope="module")
def images():
    return smooth()


def test_a_larger_patch_has_a_larger_area_faint_or_strong(images):
    for strength in (0.06, 0.3):
        found = [
            concentration(plant_patch(images, patch_region(32, area), strength), QUICK) for area in (0.02, 0.1, 0.5)
        ]
        assert all(one["p"] == 1 / 21 for one in found)
        areas = [one["area"] for one in found]
        assert areas[0] < 0.5 * areas[1] < 0.25 * areas[2]


def test_cells_that_separate_equally_well_count_by_their_number():
    """Noise that is independent from cell to cell, and a difference that is the same in all cells of a region."""
    noise = torch.randint(80, 120, (400, 1, 16, 16), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    flat = ImageSet(noise, torch.arange(400) % 2, ("a", "b"))
    for area in (0.1, 0.5):
        found = concentration(plant_patch(flat, patch_region(16, area), 0.3), QUICK)
        assert found["area"] == pytest.approx(area, rel=0.25)
        assert found["low"] <= found["area"] <= found["high"]
    everywhere = replace(flat, images=flat.images + 60 * flat.labels[:, None, None, None].to(torch.uint8))
    assert concentration(everywhere, QUICK)["area"] > 0.75


def test_without_a_difference_p_is_not_small_and_the_interval_reaches_down_to_one_cell(images):
    found = concentration(plant_patch(images, patch_region(32, 0.1), 0), QUICK)
    assert found["p"] > 0.1
    assert found["low"] == pytest.approx(1 / 1024)


def test_a_fine_grid_is_averaged_to_the_coarse_one(images):
    planted = plant_patch(images, patch_region(32, 0.1), 0.2)
    enlarged = planted.images.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    finer = concentration(replace(planted, images=enlarged, region=None), QUICK)
    assert finer == concentration(planted, QUICK)


def test_the_seed_repeats_and_neither_channels_nor_more_classes_are_an_obstacle(images):
    planted = plant_patch(images, patch_region(32, 0.1), 0.2)
    colour = replace(planted, images=planted.images.expand(-1, 3, -1, -1))
    assert concentration(colour, QUICK, seed=1) == concentration(planted, QUICK, seed=1)
    assert concentration(planted, QUICK, seed=1) != concentration(planted, QUICK, seed=2)
    three = replace(planted, labels=planted.labels * (1 + torch.arange(200) % 2), class_names=("a", "b", "c"))
    assert concentration(three, QUICK)["p"] == 1 / 21


@pytest.mark.filterwarnings("ignore:Features .* are constant", "ignore:divide by zero")  # that is the case
def test_a_mark_that_tells_the_classes_without_fail_is_all_that_separates_them(images):
    marked = images.images.clone()
    marked[:, 0, 3, 4:6] = 200 * images.labels[:, None].to(torch.uint8)
    assert concentration(replace(images, images=marked), QUICK)["area"] == pytest.approx(2 / 1024, rel=0.01)


# ---------------------------------------------------------------- labels dealt anew


def labels_of_people(image_set, labels):
    return [tuple(sorted(labels[image_set.groups == person].tolist())) for person in image_set.groups.unique()]


def test_a_person_of_one_class_stays_of_one_class_and_one_of_both_of_both():
    people = torch.arange(60) // 3
    whole = replace(smooth(60, people=people), labels=people % 2)
    paired = replace(whole, labels=torch.arange(60) % 2, groups=torch.arange(60) // 2)
    moved = set()
    for labels in _dealt(whole, 20, seed=0):
        assert labels.bincount().tolist() == [30, 30]
        assert set(labels_of_people(whole, labels)) == {(0, 0, 0), (1, 1, 1)}
        moved.add(tuple(labels.tolist()))
    assert len(moved) == 20
    for labels in _dealt(paired, 20, seed=0):
        assert set(labels_of_people(paired, labels)) == {(0, 1)}
    assert not torch.equal(labels, paired.labels)


def test_what_separates_people_is_not_taken_for_what_separates_classes():
    """Each person has twenty images and a look of their own: by image, any class of ten people differs."""
    people = torch.arange(400) // 20
    noise = torch.randint(-5, 6, (400, 1, 32, 32), generator=torch.Generator().manual_seed(0))
    looks = smooth(20, seed=3).images[people].int() + noise
    alike = ImageSet(looks.clamp(0, 255).to(torch.uint8), people % 2, ("a", "b"), groups=people)
    assert concentration(alike, QUICK)["p"] > 0.1
    assert concentration(replace(alike, groups=None), QUICK)["p"] == 1 / 21


# ---------------------------------------------------------------- what is refused


def test_what_has_no_answer_is_refused_by_name(images):
    with pytest.raises(ValueError, match="shuffles: got 19, expected a whole number, at least 20"):
        concentration(images, 19)
    with pytest.raises(ValueError, match="image_set: got ImageSet.* expected an ImageSet with images of every class"):
        concentration(replace(images, labels=images.labels * 0), QUICK)
    with pytest.raises(ValueError, match="image_set: got images that are all the same"):
        concentration(replace(images, images=images.images[:1].expand(200, -1, -1, -1)), QUICK)
