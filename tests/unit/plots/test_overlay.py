"""Pictures as arrays: which pixel has which colour, worked out by hand."""

from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from gsa_utils.plots.images import intensity_axis
from gsa_utils.plots.overlay import coloured, overlay, png, scale_of, side_by_side, with_cursor, with_dots, zoom_of
from gsa_utils.plots.scores import loss_axis
from gsa_utils.plots.style import DIFFERENCES, WEIGHTS

COLOURS = [(0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00), (0x00, 0x9E, 0x73)]


def noise(channels=1, size=(6, 8), seed=0):
    return torch.randint(0, 256, (channels, *size), generator=torch.Generator().manual_seed(seed)).to(torch.uint8)


def ramp(size=(6, 8)):
    """Each of the weights 0, 1, 2, ... once, out of 255."""
    return torch.arange(size[0] * size[1]).reshape(size).float()


def is_colour(rgb, colour):
    return (rgb == np.asarray(colour)).all(axis=-1)


def changed(rgb, plain):
    return (rgb != plain).any(axis=-1)


# ---------------------------------------------------------------- colours


def test_the_ends_of_the_table_are_at_those_of_the_scale_and_beyond_them():
    values = torch.tensor([[-9.0, 0.25, 0.5, 0.75, 9.0, np.inf]])
    assert np.array_equal(coloured(values, (0.25, 0.5, 0.75))[0], WEIGHTS[[0, 0, 128, 255, 255, 255]])
    assert np.array_equal(coloured(values, (0.25, 0.5, 0.75), DIFFERENCES)[0], DIFFERENCES[[0, 0, 128, 255, 255, 255]])


def test_each_colour_of_the_table_has_its_value():
    assert np.array_equal(coloured(torch.arange(256.0)[None], (0, 127.5, 255))[0], WEIGHTS)


def test_both_halves_of_the_table_are_spread_over_their_side_of_the_middle():
    values = torch.tensor([[0.0, 0.5, 1.0, 3.0, 5.0]])
    assert np.array_equal(coloured(values, (0, 1, 5))[0], WEIGHTS[[0, 64, 128, 191, 255]])


def weights(low, high, size=(6, 8)):
    """A map that is 1 on average, as weight maps are: one pixel each of these weights, and the rest alike."""
    values = torch.full(size, (size[0] * size[1] - low - high) / (size[0] * size[1] - 2), dtype=torch.float64)
    values[0, 0], values[2, 3] = low, high
    return values


@pytest.mark.parametrize(
    ("maps", "scale"),
    [
        ([weights(0.9, 1.3)], (0.7, 1, 1.3)),  # as far down as up
        ([weights(0.2, 1.1)], (0.2, 1, 1.8)),
        ([weights(0.2, 4.0)], (0, 1, 4)),  # but not below 0: there is no weight
        ([weights(0.9, 1.1), weights(0.6, 1.3)], (0.6, 1, 1.4)),  # one scale for all
        ([torch.ones(3, 4)], (0.99, 1, 1.01)),
        ([1 + 1e-7 * torch.rand(3, 4)], (0.99, 1, 1.01)),  # rounding does not look like structure
        ([torch.full((3, 4), 0.5)], (0.495, 0.5, 0.505)),  # other maps: their average
        ([torch.tensor([[-3.0, 1.0, 2.0, 0.0]])], (-3, 0, 3)),
        ([torch.zeros(3, 4)], (-1, 0, 1)),
    ],
)
def test_the_middle_of_a_scale_is_the_average_which_is_one_for_weight_maps(maps, scale):
    assert scale_of(maps) == pytest.approx(scale, abs=1e-6)


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0, 7.0])
def test_a_constant_map_has_the_middle_colour(value):
    constant = torch.full((3, 4), value)
    assert is_colour(coloured(constant, scale_of([constant])), WEIGHTS[128]).all()


def test_a_differentiable_map_can_be_coloured():
    assert coloured(torch.rand(3, 4, requires_grad=True), (0, 0.5, 1)).dtype == np.uint8


# ---------------------------------------------------------------- overlay


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(6, 8), (8, 6), (5, 5)])
def test_at_opacity_zero_the_image_is_shown_and_at_one_the_map(channels, size):
    image, weights = noise(channels, size), ramp(size)
    zoom = 40 // max(size)
    rgb = image.numpy().transpose(1, 2, 0).repeat(3 // channels, axis=2)
    for opacity, expected in ((0, rgb), (1, WEIGHTS[weights.numpy().astype(int)])):
        picture = overlay(image, weights, opacity, (0, 127.5, 255), side=40)
        assert picture.dtype == np.uint8
        assert np.array_equal(picture, np.kron(expected, np.ones((zoom, zoom, 1), np.uint8)))


@pytest.mark.parametrize("opacity", [0.1, 0.5, 0.9])
def test_between_the_two_colours_are_mixed(opacity):
    image, weights = noise(3), ramp()
    image_only, map_only = (overlay(image, weights, share, (0, 23.5, 47)).astype(float) for share in (0, 1))
    mixed = overlay(image, weights, opacity, (0, 23.5, 47))
    np.testing.assert_allclose(mixed, (1 - opacity) * image_only + opacity * map_only, atol=1.6)


@pytest.mark.parametrize(
    ("size", "zoom"), [((16, 16), 25), ((28, 28), 14), ((20, 33), 12), ((400, 7), 1), ((1, 1), 400)]
)
def test_each_pixel_is_a_square_and_the_picture_of_about_the_side(size, zoom):
    assert zoom_of(size, 400) == zoom
    picture = overlay(noise(1, size), torch.zeros(size), 0, (0, 0.5, 1), side=400)
    assert picture.shape == (size[0] * zoom, size[1] * zoom, 3)
    assert 400 - max(size) < max(picture.shape) <= 400
    squares = picture.reshape(size[0], zoom, size[1], zoom, 3)
    assert (squares == squares[:, :1, :, :1]).all()


def test_a_large_map_is_drawn_pixel_by_pixel():
    inside = torch.zeros(70, 90, dtype=torch.bool)
    inside[20:40, 30:] = True
    picture = overlay(noise(1, (70, 90)), torch.zeros(70, 90), 0.5, (0, 0.5, 1), inside, cross=(69, 89), side=60)
    assert picture.shape == (70, 90, 3)


def test_the_arguments_are_left_as_they_were():
    image, weights, inside = noise(3, (5, 5)), ramp((5, 5)), ramp((5, 5)) > 7
    before = image.clone(), weights.clone(), inside.clone()
    overlay(image, weights, 0.5, (0, 12, 24), inside, cross=(0, 4), side=5)
    assert all(torch.equal(now, then) for now, then in zip((image, weights, inside), before, strict=True))


# ---------------------------------------------------------------- boundary


def some_inside(size=(6, 8)):
    return torch.rand(size, generator=torch.Generator().manual_seed(3)) > 0.6


def square(rows, columns, size=(6, 8)):
    mask = torch.zeros(size, dtype=torch.bool)
    mask[rows, columns] = True
    return mask


@pytest.mark.parametrize("zoom", [1, 2, 7])
@pytest.mark.parametrize(
    "inside",
    [
        some_inside(),
        square(slice(2, 4), slice(3, 6)),
        square(slice(0, 3), slice(0, 2)),
        square(slice(4, 6), slice(5, 8)),
        square(slice(0, 6), slice(7, 8)),
        ~square(2, 3),
    ],
)
def test_the_boundary_lies_between_inside_and_outside_and_nowhere_else(inside, zoom):
    grey = torch.full((1, 6, 8), 100, dtype=torch.uint8)
    plain, outlined = (overlay(grey, ramp(), 0, (0, 23.5, 47), mask, side=8 * zoom) for mask in (None, inside))
    wide = np.pad(np.kron(inside.numpy(), np.ones((zoom, zoom), bool)), 1, mode="edge")
    middle, expected = wide[1:-1, 1:-1], np.zeros((6 * zoom, 8 * zoom), bool)
    for neighbour in (wide[2:, 1:-1], wide[:-2, 1:-1], wide[1:-1, 2:], wide[1:-1, :-2]):
        expected |= middle != neighbour
    assert np.array_equal(changed(outlined, plain), expected)
    assert set(np.unique(outlined[expected])) == {0, 255}


def test_the_boundary_is_black_beside_white_all_along():
    inside = square(slice(None), slice(3, None))
    picture = overlay(torch.full((1, 6, 8), 100), ramp(), 0, (0, 23.5, 47), inside, side=80)
    assert (picture[:, 29] == 0).all()
    assert (picture[:, 30] == 255).all()


@pytest.mark.parametrize("inside", [square(slice(None), slice(None)), square([], [])])
def test_where_all_pixels_are_on_one_side_there_is_no_line(inside):
    plain, outlined = (overlay(noise(), ramp(), 0.5, (0, 23.5, 47), mask) for mask in (None, inside))
    assert np.array_equal(plain, outlined)


# ---------------------------------------------------------------- frame


@pytest.mark.parametrize("row", [0, 2, 5])
@pytest.mark.parametrize("column", [0, 3, 7])
def test_the_frame_surrounds_its_pixel_and_stays_within_the_picture(row, column):
    grey, zoom = torch.full((1, 6, 8), 100), 10
    plain, framed = (overlay(grey, ramp(), 0, (0, 23.5, 47), cross=place, side=80) for place in (None, (row, column)))
    assert framed.shape == (60, 80, 3)
    rows, columns = np.nonzero(changed(framed, plain))
    assert (rows.min(), rows.max()) == (max(row * zoom - 2, 0), min(row * zoom + 11, 59))
    assert (columns.min(), columns.max()) == (max(column * zoom - 2, 0), min(column * zoom + 11, 79))
    assert not changed(framed, plain)[row * zoom + 1 : row * zoom + 9, column * zoom + 1 : column * zoom + 9].any()
    assert is_colour(framed, (255, 64, 0)).sum() >= 4 * zoom


# ---------------------------------------------------------------- loss


def test_a_value_lies_where_it_is_drawn():
    axis = loss_axis({"training": [0.0, 0, 1, 0, 0], "validation": [0.0] * 5})
    rows, columns = np.nonzero(is_colour(axis.rgb, COLOURS[0]))
    assert columns[rows == rows.min()] == pytest.approx(int(axis.x(3)), abs=2)
    assert rows.min() == pytest.approx(int(axis.y(1.0)), abs=3)


@pytest.mark.parametrize("epochs", [1, 2, 7, 100])
def test_the_cursor_is_a_line_at_its_epoch_within_the_axes(epochs):
    axis = loss_axis({"training": list(range(epochs, 0, -1)), "validation": [1.5] * epochs})
    before = axis.rgb.copy()
    for epoch in {1, (epochs + 1) // 2, epochs}:
        marked = with_cursor(axis, epoch)
        rows, columns = np.nonzero(changed(marked, before))
        assert set(columns) <= {int(axis.x(epoch)) - 1, int(axis.x(epoch))}
        assert axis.rows.start <= rows.min() <= axis.rows.start + 1
        assert rows.max() < axis.rows.stop < len(before)
        assert 0 < columns.min() <= columns.max() < before.shape[1]
        assert (marked[axis.rows, int(axis.x(epoch))] == 0).all()
    assert np.array_equal(axis.rgb, before)


def test_later_epochs_lie_further_to_the_right_at_equal_distances():
    steps = np.diff(loss_axis({"training": [3.0, 2, 1, 2]}).x(np.arange(1, 5)))
    assert steps.min() > 50
    assert np.ptp(steps) <= 1


# ---------------------------------------------------------------- intensities


@pytest.mark.parametrize("classes", [1, 2, 5])
def test_a_dot_lies_in_the_row_of_its_class_and_within_the_axes(classes):
    axis = intensity_axis([f"class {number}" for number in range(classes)])
    before, count = axis.rgb.copy(), 40
    left, right = axis.x([-4, 259])
    for label in range(classes):
        picture = with_dots(axis, torch.linspace(0, 255, count), torch.full((count,), label))
        rows, columns = np.nonzero(changed(picture, before))
        top, bottom = axis.y(label + np.array([-0.5, 0.5]))
        assert top <= rows.min() < rows.max() <= bottom
        assert left <= columns.min() < columns.max() <= right
        assert is_colour(picture, COLOURS[label % 3]).sum() > 3 * count
    assert np.array_equal(axis.rgb, before)


def test_the_dots_of_a_class_have_its_colour_whatever_the_order_of_the_images():
    axis = intensity_axis(["a", "b", "c"])
    picture = with_dots(axis, torch.tensor([200, 10, 100, 30, 220, 120]), torch.tensor([2, 0, 1, 0, 2, 1]))
    for label, intensities in enumerate(((10, 30), (100, 120), (200, 220))):
        rows, columns = np.nonzero(is_colour(picture, COLOURS[label]))
        top, bottom = axis.y(label + np.array([-0.5, 0.5]))
        assert top <= rows.min() < rows.max() <= bottom
        assert (columns.min(), columns.max()) == (axis.x(intensities[0]) - 1, axis.x(intensities[1]) + 1)


@pytest.mark.parametrize("intensity", [51, 102, 153, 204, 255])
def test_a_dot_lies_above_the_tick_of_its_intensity(intensity):
    axis = intensity_axis(["only"])
    ticks = np.nonzero(axis.rgb[axis.rows.stop + 2].sum(axis=1) < 300)[0]
    assert len(ticks) == 6
    columns = np.nonzero(is_colour(with_dots(axis, torch.tensor([0, intensity]), torch.tensor([0, 0])), COLOURS[0]))[1]
    assert (columns.min() + 1, columns.max() - 1) == (ticks[0], ticks[intensity // 51])


def test_a_bar_marks_the_mean_of_each_class():
    axis = intensity_axis(["a", "b"])
    picture = with_dots(axis, torch.tensor([0, 100, 60, 240]), torch.tensor([0, 0, 1, 1]))
    for label, mean in ((0, 50), (1, 150)):
        assert (picture[int(axis.y(label)), int(axis.x(mean)) - 1 : int(axis.x(mean)) + 2] == 0).all()


def test_a_class_without_images_has_an_empty_row():
    axis = intensity_axis(["a", "none", "c"])
    picture = with_dots(axis, torch.tensor([0, 255]), torch.tensor([0, 2]))
    top, bottom = axis.y(1 + np.array([-0.5, 0.5]))
    assert not changed(picture, axis.rgb)[top:bottom].any()


# ---------------------------------------------------------------- files and rows of pictures


def test_pictures_stand_in_a_row_with_white_between_them():
    one, two, three = (np.full((4, width, 3), width, np.uint8) for width in (5, 1, 2))
    row = side_by_side(one, two, three, gap=3)
    assert row[0, :, 0].tolist() == [5] * 5 + [255] * 3 + [1] + [255] * 3 + [2] * 2
    assert (row == row[:1]).all()
    assert np.array_equal(side_by_side(one), one)


@pytest.mark.parametrize("picture", [noise(3, (1, 1)), noise(3, (7, 300)), noise(3, (64, 5))])
def test_a_png_holds_the_picture_bit_for_bit(picture):
    picture = picture.numpy().transpose(1, 2, 0)
    with Image.open(BytesIO(png(picture))) as image:
        assert (image.format, image.mode) == ("PNG", "RGB")
        assert np.array_equal(np.asarray(image), picture)
