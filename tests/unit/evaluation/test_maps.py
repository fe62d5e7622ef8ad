"""The measures of a map, on cases that can be worked out by hand."""

import math

import pytest
import torch

from gsa_utils.datasets.phantoms import make_phantom
from gsa_utils.evaluation.maps import alignment, effective_area, localisation, stability
from gsa_utils.images import ImageSet

REGION = torch.tensor([[True, True, False], [False, False, False]])  # 2 of 6 pixels


def smooth_images(count, size=24, seed=0):
    """Copies of one smooth picture."""
    picture = torch.rand(1, 1, 4, 4, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(picture, (size, size), mode="bilinear").repeat(count, 1, 1, 1)


def random_images(count, size=24, seed=0):
    return torch.rand(count, 1, size, size, generator=torch.Generator().manual_seed(seed))


# ---------------------------------------------------------------- localisation


@pytest.mark.parametrize(
    ("weights", "auroc", "auprc", "energy"),
    [
        ([[0.9, 0.8, 0.1], [0.2, 0.3, 0.4]], 1, 1, 1.7 / 2.7),
        ([[0.1, 0.2, 0.9], [0.8, 0.7, 0.6]], 0, (1 / 5 + 2 / 6) / 2, 0.3 / 3.3),
        ([[0.9, 0.3, 0.1], [0.2, 0.4, 0.5]], (4 + 2) / 8, (1 / 1 + 2 / 4) / 2, 1.2 / 2.4),
        # 0.5 inside wins against 0.1 and 0.1, is level with 0.5 and 0.5; 0.9 wins against all four.
        ([[0.9, 0.5, 0.5], [0.5, 0.1, 0.1]], (4 + 2 + 2 * 0.5) / 8, (1 / 1 + 2 / 4) / 2, 1.4 / 2.6),
        ([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]], 1, 1, 1),
        ([[0.5, 0.5, 0.5], [0.5, 0.5, 0.5]], 0.5, 2 / 6, 2 / 6),
        ([[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]], 0.5, 2 / 6, 0),
    ],
)
def test_localisation_equals_the_count_by_hand(weights, auroc, auprc, energy):
    expected = {"auroc": auroc, "auprc": auprc, "energy": energy}
    assert localisation(torch.tensor(weights), REGION) == pytest.approx(expected, abs=1e-6)


def test_localisation_by_order_does_not_depend_on_the_scale_of_the_weights():
    weights = torch.rand(8, 8, generator=torch.Generator().manual_seed(0))
    region = torch.rand(8, 8, generator=torch.Generator().manual_seed(1)) > 0.7
    plain, squeezed = localisation(weights, region), localisation(0.5 + 0.01 * weights**3, region)
    assert plain["auroc"] == pytest.approx(squeezed["auroc"])
    assert plain["auprc"] == pytest.approx(squeezed["auprc"])
    assert squeezed["energy"] == pytest.approx(region.float().mean().item(), abs=0.01)


def test_localisation_takes_a_map_in_mid_training_and_any_float_type():
    weights = torch.rand(2, 3, requires_grad=True)
    expected = localisation(weights.detach(), REGION)
    assert localisation(weights, REGION) == expected
    assert localisation(weights.double(), REGION) == expected
    assert all(isinstance(value, float) for value in expected.values())


@pytest.mark.parametrize(
    ("argument", "weights", "region", "words"),
    [
        ("region", torch.ones(2, 3), torch.ones(3, 2) > 0, ["(3, 2)", "(2, 3)"]),
        ("region", torch.ones(2, 3), REGION.float(), ["float32", "bool"]),
        ("weight_map", torch.ones(1, 2, 3), REGION[None], ["(1, 2, 3)", "(H, W)"]),
        ("region", torch.ones(2, 3), REGION & False, ["0 of 6", "some pixels inside"]),
        ("region", torch.ones(2, 3), REGION | True, ["6 of 6", "some outside"]),
        ("weight_map", torch.tensor([[1, 1, 1], [1, 1, math.nan]]), REGION, ["finite"]),
        ("weight_map", torch.tensor([[1, 1, 1], [1, 1, math.inf]]), REGION, ["inf", "finite"]),
        ("weight_map", torch.tensor([[1, 1, 1], [1, 1, -0.5]]), REGION, ["-0.5", "none negative"]),
    ],
)
def test_localisation_refuses_what_has_no_answer(argument, weights, region, words):
    with pytest.raises(ValueError, match=f"^{argument}: got .*expected ") as caught:
        localisation(weights, region)
    assert all(word in str(caught.value) for word in words), caught.value


# ---------------------------------------------------------------- stability


@pytest.mark.parametrize("pixels", [1, 3, 12])
def test_equal_weights_on_some_pixels_have_their_share_as_effective_area(pixels):
    weight_map = torch.zeros(12)
    weight_map[:pixels] = 0.3
    assert effective_area(weight_map.reshape(3, 4)) == pytest.approx(pixels / 12)


def test_effective_area_does_not_depend_on_the_scale_and_falls_as_a_map_concentrates():
    weight_map = torch.rand(6, 8, generator=torch.Generator().manual_seed(0))
    assert effective_area(weight_map) == pytest.approx(effective_area(weight_map * 7))
    areas = [effective_area(weight_map**power) for power in (0, 1, 2, 4)]
    assert areas[0] == pytest.approx(1)
    assert areas == sorted(areas, reverse=True)


@pytest.mark.parametrize(
    "weights",
    [torch.zeros(2, 3), -torch.ones(2, 3), torch.full((2, 3), float("nan")), torch.ones(6), torch.ones(1, 2, 3)],
)
def test_effective_area_refuses_what_is_no_map(weights):
    with pytest.raises(ValueError, match=r"weight_map: got .* expected a map\b.*\(H, W\)"):
        effective_area(weights)


def test_maps_that_order_the_pixels_alike_have_stability_one():
    weights = torch.rand(6, 7, generator=torch.Generator().manual_seed(0))
    assert stability([weights, weights.clone(), 0.1 + 0.2 * weights**2]) == pytest.approx(1)


def test_a_map_and_its_reverse_have_stability_minus_one():
    weights = torch.rand(6, 7, generator=torch.Generator().manual_seed(0))
    assert stability([weights, 1 - weights]) == pytest.approx(-1)


def test_stability_is_the_mean_over_all_pairs():
    weights = torch.rand(6, 7, generator=torch.Generator().manual_seed(0))
    assert stability([weights, weights, 1 - weights]) == pytest.approx((1 - 1 - 1) / 3)
    # Ranks 1 2 3 4 against 2 1 4 3: 1 - 6 * 4 / (4 * 15)
    assert stability([torch.tensor([[1.0, 2], [3, 4]]), torch.tensor([[2.0, 1], [4, 3]])]) == pytest.approx(0.6)


def test_maps_of_noise_have_stability_near_zero():
    assert abs(stability(random_images(6, 40)[:, 0])) < 0.05


def test_a_constant_map_has_no_order_to_agree_with():
    weights = torch.rand(6, 7, generator=torch.Generator().manual_seed(0))
    assert math.isnan(stability([weights, torch.full((6, 7), 0.5)]))
    assert math.isnan(stability([torch.full((6, 7), 0.5)] * 2))


def test_stability_takes_an_iterator_of_maps_in_mid_training():
    weights = torch.rand(6, 7, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert stability(m for m in (weights, weights.detach(), weights.detach().half())) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ("maps", "words"),
    [
        ([], ["0 map", "at least two"]),
        ([torch.rand(3, 3)], ["1 map", "at least two"]),
        ([torch.rand(3, 3), torch.rand(3, 4)], ["(3, 3), (3, 4)", "one size"]),
        ([torch.rand(3, 3), torch.full((3, 3), float("nan"))], ["NaN", "finite"]),
    ],
)
def test_stability_refuses_too_few_maps_and_maps_of_different_sizes(maps, words):
    with pytest.raises(ValueError, match="^maps: got .*expected ") as caught:
        stability(maps)
    assert all(word in str(caught.value) for word in words), caught.value


# ---------------------------------------------------------------- alignment


def test_copies_of_one_image_are_aligned_whatever_their_brightness_and_contrast():
    images = (
        smooth_images(10) * torch.linspace(0.2, 1, 10)[:, None, None, None]
        + torch.linspace(0, 3, 10)[:, None, None, None]
    )
    assert alignment(images) == pytest.approx(1, abs=1e-4)
    assert alignment(smooth_images(2)) == pytest.approx(1, abs=1e-4)


def test_images_with_nothing_in_common_have_alignment_near_zero():
    assert abs(alignment(random_images(200))) < 0.02


def test_an_image_is_not_compared_with_itself():
    """Of two unrelated images the mean holds each by half: counting that would give 0.7 here."""
    assert abs(alignment(random_images(2, 60))) < 0.1
    opposite = torch.cat([smooth_images(1), 1 - smooth_images(1)])
    assert alignment(opposite) == pytest.approx(-1, abs=1e-4)


def test_alignment_is_the_mean_correlation_with_the_mean_of_the_others():
    images = smooth_images(5) + 0.3 * random_images(5)
    x = images.flatten(1).double()
    x = x - x.mean(dim=1, keepdim=True)
    x = x / x.norm(dim=1, keepdim=True)
    scores = []
    for k in range(5):
        others = torch.cat([x[:k], x[k + 1 :]]).mean(dim=0)
        scores.append(torch.corrcoef(torch.stack([x[k], others]))[0, 1])
    assert alignment(images) == pytest.approx(torch.stack(scores).mean().item(), abs=1e-5)


def test_shifting_the_images_at_random_lowers_alignment_the_more_the_further():
    images = make_phantom("phantom-chest", 40, 32).images
    random, scores = torch.Generator().manual_seed(0), []
    for furthest in (0, 2, 8):
        shifts = torch.randint(-furthest, furthest + 1, (40, 2), generator=random).tolist()
        moved = [torch.roll(image, shift, dims=(1, 2)) for image, shift in zip(images, shifts, strict=True)]
        scores.append(alignment(torch.stack(moved)))
    assert scores[0] > scores[1] + 0.03 > scores[2] + 0.06


@pytest.mark.parametrize("count", [30, 2500])
def test_alignment_depends_on_neither_the_order_of_the_images_nor_the_batches(count):
    images = smooth_images(count, 8) + 0.3 * random_images(count, 8)
    shuffled = images[torch.randperm(count, generator=torch.Generator().manual_seed(1))]
    assert alignment(shuffled) == pytest.approx(alignment(images), abs=1e-5)


def test_bytes_floats_and_image_sets_have_the_same_alignment():
    drawn = make_phantom("phantom-face", 12, 20)
    expected = alignment(drawn)
    assert alignment(drawn.images) == expected
    assert alignment(drawn.to_float()) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("constant", [0.0, 0.1, 200.7])
def test_a_constant_image_counts_as_zero_and_disturbs_no_other(constant):
    images = smooth_images(9)
    more = torch.cat([images, torch.full_like(images[:1], constant)])
    assert alignment(more) == pytest.approx(0.9, abs=1e-3)
    assert alignment(torch.full((3, 1, 9, 9), constant)) == pytest.approx(0, abs=1e-3)


def test_colour_images_are_compared_channel_by_channel():
    grey = smooth_images(6)
    assert alignment(torch.cat([grey, 1 - grey, grey], dim=1)) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("images", [random_images(1), random_images(3)[:, 0], torch.zeros(0, 1, 4, 4)])
def test_alignment_refuses_fewer_than_two_images(images):
    with pytest.raises(ValueError, match="images: got .*expected at least two images"):
        alignment(images)
    if images.ndim == 4 and len(images):
        labelled = ImageSet((images * 255).to(torch.uint8), torch.zeros(len(images), dtype=torch.int64), ("a",))
        with pytest.raises(ValueError, match="at least two images"):
            alignment(labelled)


def test_images_with_holes_are_refused_and_not_scored_as_nan():
    images = random_images(4)
    images[2, 0, 3, 3] = math.nan
    with pytest.raises(ValueError, match=r"images: got .*NaN.*expected finite"):
        alignment(images)
