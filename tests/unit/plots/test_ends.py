"""Names stand at the ends of their lines, readable and apart."""

from itertools import combinations

import numpy as np
import pytest
from matplotlib.colors import to_rgb, to_rgba
from matplotlib.figure import Figure
from matplotlib.text import Text

from gsa_utils import plots
from gsa_utils.plots.ends import apart
from gsa_utils.plots.images import training_progress
from gsa_utils.plots.style import line_colour

NAMES = [f"{number} shared maps on intensities - average" for number in range(6)]


def ends_together() -> list[Figure]:
    """Figures of six lines with long names that end in one point."""
    curves = {name: [number, 0.5] for number, name in enumerate(NAMES)}
    bands = {name: np.array([[number, 0.5], [number + 1, 0.5]]) for number, name in enumerate(NAMES)}
    gains = {name: {"50": (number, -1, 9), "all": (0.5, 0.0, 1.0)} for number, name in enumerate(NAMES)}
    costs = {name: {10: (number + 1, 1, 9), 1e6: (0.5, 0.4, 0.6)} for number, name in enumerate(NAMES)}
    return [
        plots.curves(curves, "loss"),
        plots.bands({"faces": bands, "chest": bands}, [0, 1], "x", "y"),
        plots.differences({"faces": gains}, ["50", "all"], "x", "y"),
        plots.costs({"28 px": costs, "64 px": costs}, "images", "time"),
    ]


@pytest.mark.parametrize("figure", ends_together(), ids=["curves", "bands", "differences", "costs"])
def test_names_of_lines_that_end_in_one_point_are_inside_the_figure_and_do_not_touch(figure):
    figure.draw_without_rendering()
    texts = [text for ax in figure.axes for text in ax.texts]
    assert sorted(text.get_text() for text in texts) == NAMES
    letters = [Text.get_window_extent(text) for text in texts]  # without the line to the end
    assert not any(one.overlaps(other) for one, other in combinations(letters, 2))
    for box in (text.get_tightbbox() for text in texts):
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.x1
        assert box.y0 >= 0
        assert box.y1 <= figure.bbox.y1


def test_a_name_stands_at_the_height_of_its_end_where_there_is_room():
    figure = plots.curves({"low": [3.0, 1.0], "high": [0.0, 2.0]}, "loss")
    figure.draw_without_rendering()
    (ax,) = figure.axes
    for text, line in zip(ax.texts, ax.lines, strict=True):
        box, (_, end) = Text.get_window_extent(text), ax.transData.transform(line.get_xydata()[-1])
        assert text.get_text() == line.get_label()
        assert text.arrow_patch.get_edgecolor() == to_rgba(line.get_color()), "joined with its end"
        assert (box.y0 + box.y1) / 2 == pytest.approx(end, abs=2)
        assert box.x0 > ax.transData.transform(line.get_xydata()[-1])[0]


def test_of_lines_that_end_together_the_first_is_named_above():
    figure = plots.curves({"ours": [0.0, 1.0], "rival": [0.5, 1.0]}, "AUROC")
    heights = {text.get_text(): text.get_position()[1] for text in figure.axes[0].texts}
    assert heights["ours"] > heights["rival"]


def test_no_name_is_written_over_the_ticks_where_lines_end_low_inside_of_the_axes():
    falling = {"training": [9.0, 0.1, 0.01], "validation": [9.0, 0.2, 0.03]}
    figure = training_progress(falling, 20, None, "epoch 3 of 20")
    figure.draw_without_rendering()
    ax = figure.axes[0]
    assert [text.get_text() for text in ax.texts] == ["training", "validation"]
    assert min(Text.get_window_extent(text).y0 for text in ax.texts) >= ax.bbox.y0 - 2


def test_a_name_is_written_once_in_the_last_panel_where_it_is_a_line():
    both, one = {10: (1.0, 0.9, 1.1), 100: (2.0, 1.9, 2.1)}, {10: (1.5, 1.4, 1.6)}
    figure = plots.costs({"28 px": {"ours": both, "rival": both}, "64 px": {"ours": both, "rival": one}}, "x", "y")
    assert [[text.get_text() for text in ax.texts] for ax in figure.axes] == [["rival"], ["ours"]]


def test_a_loss_that_is_no_number_leaves_the_name_at_the_last_that_is_one():
    figure = plots.curves({"fine": [2.0, 1.0, 0.5], "burst": [1.0, 2.0, float("nan")], "never": [float("nan")]}, "loss")
    assert {text.get_text(): tuple(text.xy) for text in figure.axes[0].texts} == {"burst": (2, 2.0), "fine": (3, 0.5)}


@pytest.mark.parametrize("number", range(6))
def test_names_are_letters_of_enough_contrast(number):
    curves = {name: [number, 0.5] for number, name in enumerate(NAMES)}
    (text,) = [text for text in plots.curves(curves, "loss").axes[0].texts if text.get_text() == NAMES[number]]
    light = np.where((rgb := np.array(text.get_color())) <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4) @ [
        0.2126,
        0.7152,
        0.0722,
    ]
    assert 1.05 / (light + 0.05) >= 4.5, "WCAG 2.2, 1.4.3"
    assert np.argmax(rgb) == np.argmax(to_rgb(line_colour(number))), "still the colour of its line"


def test_places_move_as_little_as_they_can_to_stand_apart():
    assert apart(np.array([0.0, 5.0]), 2.0).tolist() == [0.0, 5.0]
    assert apart(np.array([1.0, 1.0]), 2.0).tolist() == [0.0, 2.0]
    assert apart(np.array([0.0, 1.0, 1.5, 9.0]), 1.0) == pytest.approx([-1 / 6, 5 / 6, 11 / 6, 9.0])
    assert apart(np.array([0.0, 0.5, 5.0]), 1.0, lowest=1.0).tolist() == [1.0, 2.0, 5.0]
    assert apart(np.array([]), 1.0).tolist() == []
