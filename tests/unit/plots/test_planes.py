"""Planes show each pair's number where its row and column meet."""

import pytest
from matplotlib.figure import Figure

from gsa_utils import plots

ROWS, COLUMNS = ["large", "small"], ["faint", "bright"]
SCORES = {("large", "faint"): 0.6, ("large", "bright"): 0.9, ("small", "faint"): 0.5, ("small", "bright"): 0.8}
GAINS = {("large", "faint"): (2.0, -1.0, 5.0), ("small", "bright"): (-8.0, -9.0, -7.0)}


@pytest.fixture(scope="module")
def figure() -> Figure:
    return plots.planes({"none": SCORES}, {"map": GAINS}, ROWS, COLUMNS, ("area", "brightness"), "points")


def words(ax) -> dict[tuple[int, int], list]:
    """(column, row) -> the texts there, from the top."""
    found: dict[tuple[int, int], list] = {}
    for text in ax.texts:
        x, y = text.get_position()
        found.setdefault((round(x), round(y)), []).append(text)
    return found


def test_each_score_stands_in_its_square(figure):
    texts = {place: text.get_text() for place, (text,) in words(figure.axes[0]).items()}
    assert texts == {(0, 0): "0.60", (1, 0): "0.90", (0, 1): "0.50", (1, 1): "0.80"}


def test_a_difference_stands_above_its_interval_and_is_bold_where_that_leaves_out_zero(figure):
    texts = words(figure.axes[1])
    assert {place: [one.get_text() for one in ones] for place, ones in texts.items()} == {
        (0, 0): ["+2.0", "-1.0 to +5.0"],
        (1, 1): ["-8.0", "-9.0 to -7.0"],
    }
    assert [texts[place][0].get_weight() for place in ((0, 0), (1, 1))] == ["normal", "bold"]


def test_zero_is_in_the_middle_of_the_scale_and_what_is_missing_has_no_colour(figure):
    image = figure.axes[1].images[0]
    assert (image.norm.vmin, image.norm.vcenter, image.norm.vmax) == (-8.0, 0.0, 8.0)
    assert image.get_array().mask.tolist() == [[False, True], [True, False]]


def test_rows_and_columns_are_named(figure):
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ROWS
    assert [label.get_text() for label in figure.axes[1].get_xticklabels()] == COLUMNS


def test_nothing_to_show_is_refused_by_name():
    with pytest.raises(ValueError, match="differences"):
        plots.planes({"none": SCORES}, {"map": {}}, ROWS, COLUMNS, ("area", "brightness"), "points")


def test_sets_are_placed_by_two_numbers_and_coloured_by_a_third():
    named = {"faces": (0.1, 0.8, 16.5), "chests": (0.2, 0.6, -2.0)}
    figure = plots.placed(named, [(0.01, 0.9, 5.0), (0.02, 0.5, 40.0)], ("concentrated", "AUROC"), "points")
    ax, bar = figure.axes
    (dots,) = ax.collections
    assert dots.get_offsets().tolist() == [[0.1, 0.8], [0.2, 0.6], [0.01, 0.9], [0.02, 0.5]]
    assert dots.get_array().tolist() == [16.5, -2.0, 5.0, 40.0]
    assert (dots.norm.vmin, dots.norm.vcenter, dots.norm.vmax) == (-40, 0, 40)
    assert {text.get_text() for text in ax.texts} == {"faces +16.5", "chests -2.0", "+5.0", "+40.0"}
    assert (ax.get_xscale(), ax.get_xlabel(), ax.get_ylabel()) == ("log", "concentrated", "AUROC")
    assert bar.get_ylabel() == "points"


def test_a_plane_without_a_difference_is_refused():
    with pytest.raises(ValueError, match="named: got"):
        plots.placed({"faces": (0.1, 0.8, 0.0)}, [], ("concentrated", "AUROC"), "points")
