"""Figures are pure functions of tensors: they show what they are given and leave nothing open."""

import sys

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.text import Text

from gsa_utils import plots

MAPS = {"one": torch.linspace(0.5, 1.5, 30).reshape(5, 6), "two": torch.linspace(-1, 1, 30).exp().reshape(5, 6)}
MAPS = {name: weights / weights.mean() for name, weights in MAPS.items()}  # the second from 0.3 to 2.3
REGION = torch.zeros(5, 6, dtype=torch.bool)
REGION[1:3, 2:4] = True


def shown(figure: Figure) -> list[np.ndarray]:
    figure.canvas.draw()
    return [np.asarray(image.get_array()) for ax in figure.axes for image in ax.images]


def test_maps_are_shown_as_they_are_on_one_scale_with_a_labelled_bar():
    figure = plots.weight_maps(MAPS, image=torch.rand(5, 6), region=REGION)
    _, one, two = shown(figure)[:3]
    np.testing.assert_allclose(one, MAPS["one"])
    np.testing.assert_allclose(two, MAPS["two"])
    for ax in figure.axes[1:3]:
        norm = ax.images[0].norm
        assert (norm.vmin, norm.vcenter, norm.vmax) == pytest.approx((0, 1, MAPS["two"].max().item()))
    assert figure.axes[-1].get_ylabel() == "weight"
    assert [text.get_text() for text in figure.axes[-1].get_yticklabels()] == ["0", "1", f"{MAPS['two'].max():.3g}"]
    assert figure.axes[1].images[0].get_cmap().name == "viridis"


def test_maps_may_have_a_scale_each():
    figure = plots.weight_maps(MAPS, shared_scale=False)
    one, two = (ax.images[0].norm for ax in figure.axes if ax.images)
    assert (one.vmin, one.vmax) == pytest.approx((0.5, 1.5))
    assert (one.vcenter, two.vcenter) == pytest.approx((1, 1))
    assert two.vmax > 2
    assert [ax.get_ylabel() for ax in figure.axes].count("weight") == 2


def test_what_is_no_weight_may_have_a_scale_of_its_own():
    figure = plots.weight_maps(MAPS, unit="probability", scale=(0, 0.5, 1))
    for ax in figure.axes[:2]:
        norm = ax.images[0].norm
        assert (norm.vmin, norm.vcenter, norm.vmax) == (0, 0.5, 1)


def test_rows_of_maps_share_one_scale_and_one_bar():
    one, two = MAPS.values()
    rows = {"free": [("epoch 1", one), ("epoch 2", two)], "MLP": [("", two), ("", one)]}
    figure = plots.map_rows(rows, region=REGION)
    for drawn, given in zip(shown(figure)[:4], [one, two, two, one], strict=True):
        np.testing.assert_allclose(drawn, given)
    norms = [ax.images[0].norm for ax in figure.axes[:4]]
    for norm in norms:
        assert (norm.vmin, norm.vcenter, norm.vmax) == pytest.approx((0, 1, two.max().item()))
    assert [ax.get_ylabel() for ax in figure.axes] == ["free", "", "MLP", "", "weight"]
    assert [ax.get_title() for ax in figure.axes[:4]] == ["epoch 1", "epoch 2", "", ""]
    assert all(ax.collections for ax in figure.axes[:4]), "the region is outlined"


def test_what_has_a_sign_has_zero_in_the_middle_of_its_own_scale():
    figure = plots.signed_maps({"step": MAPS["one"] - 0.75, "none": torch.zeros(5, 6)}, torch.rand(5, 6), REGION)
    step, none = (ax.images[0].norm for ax in figure.axes[1:3])
    assert (step.vmin, step.vcenter, step.vmax) == pytest.approx((-0.75, 0, 0.75))
    assert (none.vmin, none.vcenter, none.vmax) == (-1, 0, 1)
    assert {ax.images[0].get_cmap().name for ax in figure.axes[1:3]} == {"PuOr"}


def test_a_differentiable_map_can_be_drawn():
    figure = plots.weight_maps({"map": torch.rand(5, 6, requires_grad=True)})
    assert shown(figure)[0].shape == (5, 6)


def test_image_rows_may_have_different_lengths_and_are_grey():
    figure = plots.image_rows({"a": torch.rand(3, 5, 6), "b": [torch.rand(5, 6)]}, titles=["x", "y", "z"])
    assert len(shown(figure)) == 4
    assert {image.get_cmap().name for ax in figure.axes for image in ax.images} == {"gray"}


def test_maps_beside_images_are_on_one_scale_and_whole_numbers_are_grey_images():
    face = torch.arange(30, dtype=torch.uint8).reshape(5, 6)
    figure = plots.map_rows({"shared": [("face", face), ("its map", MAPS["one"])], "": [("other", MAPS["two"])]})
    grey, one, two = (ax.images[0] for ax in figure.axes if ax.images)
    assert [image.get_cmap().name for image in (grey, one, two)] == ["gray", "viridis", "viridis"]
    for image in (one, two):
        assert (image.norm.vmin, image.norm.vcenter, image.norm.vmax) == pytest.approx((0, 1, MAPS["two"].max().item()))
    np.testing.assert_allclose(shown(figure)[2], MAPS["two"])
    assert figure.axes[0].get_title() == "face"
    cut = plots.map_rows({"": [("map", MAPS["two"])]}, highest=1.5)
    assert (cut.axes[0].images[0].norm.vcenter, cut.axes[0].images[0].norm.vmax) == pytest.approx((1, 1.5))
    assert figure.axes[-1].get_ylabel() == "weight"


def test_the_data_matrix_shows_groups_of_rows_on_one_scale():
    groups = {"dark": torch.zeros(3, 7), "bright": torch.ones(5, 7)}
    figure = plots.data_matrix(groups, "images")
    assert [rows.shape for rows in shown(figure)] == [(3, 7), (5, 7)]
    assert {image.get_clim() for ax in figure.axes for image in ax.images} == {(0.0, 1.0)}
    assert [ax.get_ylabel() for ax in figure.axes] == ["dark", "bright"]


def test_image_rows_may_share_one_grey_scale():
    figure = plots.image_rows({"": torch.rand(2, 4, 4)}, limits=(0, 255))
    assert {image.get_clim() for ax in figure.axes for image in ax.images} == {(0, 255)}


def test_pixels_are_drawn_group_by_group():
    groups = torch.tensor([[0, 0, 1], [1, 2, 2]])
    figure = plots.pixel_scatter(torch.rand(6, 2), groups, ["a", "b", "c"], ("x", "y"), torch.rand(2, 3))
    assert [len(line.get_xdata()) for line in figure.axes[1].lines] == [2, 2, 2]


NOTHING = [
    lambda: plots.weight_maps({}),
    lambda: plots.signed_maps({}),
    lambda: plots.image_rows({"a": []}),
    lambda: plots.map_rows({"a": []}),
]


@pytest.mark.parametrize("draw", NOTHING)
def test_nothing_to_draw_is_refused(draw):
    with pytest.raises(ValueError, match="expected at least one"):
        draw()


def test_no_figure_is_left_open():
    plots.curves({"loss": [1.0]}, "loss")
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or not pyplot.get_fignums()


@pytest.mark.parametrize("name", ["a$^$", "$x$", r"$\frac{$", "one $ and two $ more", "<b>&amp;</b>", r"\$"])
def test_names_are_shown_letter_by_letter_and_never_read_as_formulas(name):
    picture, dots = np.zeros((8, 8, 3), np.uint8), {name: torch.zeros(3), "other": torch.ones(2)}
    figures = [
        plots.inspector_report(picture, (0.0, 1.0, 2.0), {name: [1.0, 2.0]}, 1, dots, name, name),
        plots.image_rows({name: [torch.rand(4, 4)]}, [name]),
        plots.weight_maps({name: MAPS["one"]}, unit=name),
        plots.seeds({name: [0.5, 0.7]}, name),
        plots.curves({name: [1.0, 2.0]}, name),
    ]
    for figure in figures:
        figure.draw_without_rendering()
        said = [text for text in figure.findobj(Text) if name in text.get_text()]
        assert said
        assert not any(text.get_parse_math() for text in said)
    plots.images.intensity_axis([name, "other"])
