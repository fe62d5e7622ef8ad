"""Knock-out: what is blanked, with what, where the controls lie, and what a model of known pixels then loses."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from gsa_utils.evaluation import knockout
from gsa_utils.evaluation.knockout import blank, knock_out
from gsa_utils.evaluation.scores import evaluate
from gsa_utils.images import ImageSet

PLACE = (2, 4)  # the only pixel that the model reads, and the only one that says anything


class ReadsOnePixel(nn.Module):
    """The second class where the pixel is bright."""

    def forward(self, x):
        bright = x[:, :, *PLACE].mean(dim=1)
        return torch.stack([0.5 - bright, bright - 0.5], dim=1)


def noise(count=12, channels=1, size=(5, 7)):
    """Noise with the class in one pixel."""
    labels = torch.arange(count) % 2
    images = torch.randint(0, 256, (count, channels, *size), generator=torch.Generator().manual_seed(0))
    images[:, :, *PLACE] = 250 * labels[:, None]
    return ImageSet(images.to(torch.uint8), labels, ("dark", "bright"), name="noise")


IMAGES = noise()


def mask_of(*places, size=(5, 7)):
    mask = torch.zeros(size, dtype=torch.bool)
    for place in places:
        mask[place] = True
    return mask


CORNER = mask_of((0, 0), (0, 1), (1, 0))  # an L: no roll but none at all puts it onto itself


@pytest.fixture
def blanked(monkeypatch):
    """The masks that were blanked, in order."""
    masks = []

    def spy(image_set, mask):
        masks.append(mask)
        return blank(image_set, mask)

    monkeypatch.setattr(knockout, "blank", spy)
    return masks


@pytest.fixture
def unscored(monkeypatch):
    """No time spent on scores; the list has one entry for each evaluation."""
    calls = []
    monkeypatch.setattr(knockout, "evaluate", lambda model, image_set: calls.append(image_set) or {"accuracy": 0.0})
    return calls


# ---------------------------------------------------------------- blank


@pytest.mark.parametrize("channels", [1, 3])
def test_blanked_pixels_hold_their_mean_over_the_set_and_the_others_stay(channels):
    image_set = noise(9, channels)
    images = blank(image_set, CORNER).images
    for row in range(5):
        for column in range(7):
            came, was = images[:, :, row, column], image_set.images[:, :, row, column]
            if CORNER[row, column]:
                assert torch.equal(came, was.double().mean(dim=0).round().to(torch.uint8).expand(9, channels))
            else:
                assert torch.equal(came, was)


def test_blanking_leaves_the_original_set_as_it_was():
    before = IMAGES.images.clone()
    after = blank(IMAGES, CORNER | True)
    assert torch.equal(IMAGES.images, before)
    assert after.images.dtype == torch.uint8
    assert (after.labels.tolist(), after.class_names, after.name) == (
        IMAGES.labels.tolist(),
        ("dark", "bright"),
        "noise",
    )


def test_blanked_pixels_hold_another_fill_where_one_is_given():
    fill = torch.arange(35, dtype=torch.uint8).view(1, 5, 7)
    images = blank(IMAGES, CORNER, fill).images
    assert torch.equal(images[:, 0][:, CORNER], fill[0][CORNER].expand(len(IMAGES), -1))
    assert torch.equal(images[:, 0][:, ~CORNER], IMAGES.images[:, 0][:, ~CORNER])


@pytest.mark.parametrize("fill", [torch.zeros(5, 7, dtype=torch.uint8), torch.zeros(1, 5, 7)])
def test_blank_refuses_a_fill_that_is_no_image(fill):
    with pytest.raises(ValueError, match=r"^fill: got .*expected uint8 pixels of shape \(1, 5, 7\)"):
        blank(IMAGES, CORNER, fill)


def test_an_empty_mask_blanks_nothing():
    assert torch.equal(blank(IMAGES, mask_of()).images, IMAGES.images)


def test_the_mean_of_bright_images_does_not_overflow():
    bright = replace(IMAGES, images=torch.full_like(IMAGES.images, 255))
    assert (blank(bright, CORNER).images == 255).all()


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (CORNER.int(), ["int32", "boolean"]),
        (CORNER.float(), ["float32", "boolean"]),
        (mask_of(size=(7, 5)), ["(7, 5)", "(5, 7)"]),
        (CORNER[None], ["(1, 5, 7)", "(5, 7)"]),
        (CORNER.numpy(), ["ndarray"]),
        (CORNER.tolist(), ["list"]),
        (None, ["NoneType"]),
    ],
)
def test_blank_refuses_what_is_no_mask_of_the_images(mask, words):
    with pytest.raises(ValueError, match="^mask: got .*expected a boolean tensor") as caught:
        blank(IMAGES, mask)
    assert all(word in str(caught.value) for word in words), caught.value


# ---------------------------------------------------------------- scores


def test_the_scores_are_those_of_the_sets_blanked_by_hand(blanked):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(35, 2))
    result = knock_out(model, IMAGES, CORNER, draws=3, seed=1)
    assert result.pixels == 3
    assert result.whole == evaluate(model, IMAGES)
    assert torch.equal(blanked[0], CORNER)
    by_hand = [evaluate(model, blank(IMAGES, mask)) for mask in blanked]
    assert [result.without, *result.scattered, *result.moved] == by_hand
    assert len(result.scattered) == len(result.moved) == 3


def test_without_the_pixel_that_the_model_reads_it_is_at_chance():
    result = knock_out(ReadsOnePixel(), IMAGES, mask_of(PLACE), draws=1)
    assert result.whole["accuracy"] == result.whole["auroc"] == 1
    assert result.without["accuracy"] == result.without["auroc"] == 0.5


def test_without_all_the_others_it_loses_nothing():
    result = knock_out(ReadsOnePixel(), IMAGES, ~mask_of(PLACE), draws=1)
    assert result.without == result.whole


def test_a_control_costs_something_only_where_it_hits_the_pixel(blanked):
    result = knock_out(ReadsOnePixel(), IMAGES, CORNER, draws=20)
    hit = [bool(mask[PLACE]) for mask in blanked]
    assert [scores["accuracy"] for scores in (result.without, *result.scattered, *result.moved)] == [
        0.5 if one else 1.0 for one in hit
    ]
    assert True in hit


def test_the_model_keeps_its_mode_and_its_weights():
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(35), nn.Linear(35, 2)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    knock_out(model, IMAGES, CORNER, draws=1)
    assert all(module.training for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_images_the_mask_and_the_random_state_are_left_as_they_were():
    images, mask, state = IMAGES.images.clone(), CORNER.clone(), torch.get_rng_state()
    knock_out(ReadsOnePixel(), IMAGES, mask, draws=2)
    assert torch.equal(IMAGES.images, images)
    assert torch.equal(mask, CORNER)
    assert torch.equal(torch.get_rng_state(), state)


# ---------------------------------------------------------------- controls


@pytest.mark.usefixtures("unscored")
@pytest.mark.parametrize("mask", [CORNER, ~CORNER, mask_of((4, 6)), ~mask_of((4, 6))])
def test_a_control_has_as_many_pixels_as_the_mask(blanked, mask):
    knock_out(ReadsOnePixel(), IMAGES, mask, draws=15)
    assert len(blanked) == 1 + 2 * 15
    assert {int(one.sum()) for one in blanked} == {int(mask.sum())}


@pytest.mark.usefixtures("unscored")
def test_the_moved_shape_is_rolled_to_every_place_but_its_own(blanked):
    knock_out(ReadsOnePixel(), IMAGES, CORNER, draws=400)
    rolls = [CORNER.roll((down, right), dims=(0, 1)) for down in range(5) for right in range(7)]
    moved = {tuple(mask.flatten().tolist()) for mask in blanked[401:]}
    assert moved == {tuple(mask.flatten().tolist()) for mask in rolls[1:]}


@pytest.mark.usefixtures("unscored")
def test_scattered_pixels_come_from_the_whole_image(blanked):
    knock_out(ReadsOnePixel(), IMAGES, CORNER, draws=100)
    hits = torch.stack(blanked[1:101]).sum(dim=0)
    assert hits.min() > 0
    assert hits.max() < 30  # about 9 of 100 for each


@pytest.mark.usefixtures("unscored")
def test_one_seed_draws_the_same_controls_and_another_others(blanked):
    def drawn(**settings):
        blanked.clear()
        knock_out(ReadsOnePixel(), IMAGES, CORNER, draws=5, **settings)
        return torch.stack(blanked)

    first = drawn()
    assert torch.equal(drawn(), first)
    assert torch.equal(drawn(seed=0), first)
    other = drawn(seed=1)
    assert not torch.equal(other[1:6], first[1:6])
    assert not torch.equal(other[6:], first[6:])


def test_the_rows_are_named_for_people_in_one_order():
    result = knock_out(ReadsOnePixel(), IMAGES, CORNER, draws=2)
    rows = result.rows()
    names = ["all pixels", "without these 3", "without as many anywhere", "without this shape elsewhere"]
    assert list(rows) == names
    assert list(rows.values()) == [[result.whole], [result.without], result.scattered, result.moved]


# ---------------------------------------------------------------- steps


def test_each_evaluation_is_told(unscored):
    told = []
    knock_out(ReadsOnePixel(), IMAGES, CORNER, draws=3, on_step=lambda done, of: told.append((done, of, len(unscored))))
    assert told == [(number, 8, number) for number in range(1, 9)]


def test_an_exception_in_a_step_ends_the_whole(unscored):
    def cancel(done, of):
        if done == 4:
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        knock_out(ReadsOnePixel(), IMAGES, CORNER, on_step=cancel)
    assert len(unscored) == 4


def test_a_band_across_the_whole_image_is_never_moved_onto_itself():
    band = mask_of()
    band[1:3] = True
    moved = list(knockout._others(band, 200, torch.Generator().manual_seed(0)))[200:]
    assert not any(torch.equal(mask, band) for mask in moved)


# ---------------------------------------------------------------- complaints


@pytest.mark.parametrize("draws", [0, -1, True, 1.5, "2", None])
def test_draws_that_are_no_positive_whole_number_are_refused(draws):
    with pytest.raises(ValueError, match=f"^draws: got {draws!r}, expected a whole number, at least 1"):
        knock_out(ReadsOnePixel(), IMAGES, CORNER, draws=draws)


@pytest.mark.parametrize(("mask", "count"), [(mask_of(), 0), (~mask_of(), 35)])
def test_a_mask_of_no_pixel_or_of_all_is_refused(unscored, mask, count):
    with pytest.raises(ValueError, match=f"^mask: got {count} of 35 pixels, expected some pixels, but not all"):
        knock_out(ReadsOnePixel(), IMAGES, mask)
    assert not unscored


@pytest.mark.parametrize("mask", [CORNER.T, CORNER.int(), CORNER.float(), CORNER[0], CORNER.numpy(), None])
def test_a_knock_out_refuses_a_mask_that_does_not_fit(mask):
    with pytest.raises(ValueError, match="^mask: got .*expected a boolean tensor"):
        knock_out(ReadsOnePixel(), IMAGES, mask, draws=1)
