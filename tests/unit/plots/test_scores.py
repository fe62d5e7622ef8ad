"""Charts of comparisons show the numbers that they are given."""

import numpy as np
import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.text import Text

from gsa_utils import plots

LINES = {"ours": [[0.9, 0.8, 0.5], [0.7, 0.6, 0.5]], "rival": [[0.9, 0.9, 0.8], [0.9, 0.7, 0.8]]}
LINES |= {"random": [[0.5, 0.5, 0.5], [0.6, 0.5, 0.4]]}
LINES = {name: np.array(values) for name, values in LINES.items()}


def test_a_dot_for_each_seed_and_a_bar_at_the_mean():
    figure = plots.seeds({"none": [0.5, 0.7], "ours": [0.8, 0.9]}, "accuracy")
    dots, bar = figure.axes[0].lines[:2]
    assert list(dots.get_xdata()) == [0.5, 0.7]
    assert list(bar.get_xdata()) == pytest.approx([0.6, 0.6])
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["none", "ours"]


def test_curves_count_epochs_from_one():
    figure = plots.curves({"loss": [3.0, 2.0, 1.0]}, "loss", mark=2)
    assert list(figure.axes[0].lines[0].get_xdata()) == [1, 2, 3]


def test_a_line_is_the_mean_over_seeds_and_its_band_reaches_from_the_lowest_to_the_highest():
    figure = plots.bands({"one": LINES, "two": LINES}, [0, 10, 30], "% removed", "AUROC", level=0.5)
    assert isinstance(figure, Figure)
    assert len(figure.axes) == 2
    for ax, title in zip(figure.axes, ("one", "two"), strict=True):
        assert ax.get_title(loc="left") == title
        ours = ax.lines[0]
        np.testing.assert_allclose(ours.get_xdata(), [0, 10, 30])
        np.testing.assert_allclose(ours.get_ydata(), [0.8, 0.7, 0.5])
        corners = ax.collections[0].get_paths()[0].vertices[:, 1]
        assert (corners.min(), corners.max()) == pytest.approx((0.5, 0.9))
    assert {text.get_text() for text in figure.axes[1].texts} == set(LINES)


def test_chance_is_grey_and_ours_is_heavy():
    ax = plots.bands({"one": LINES}, [0, 10, 30], "x", "y").axes[0]
    assert ax.lines[2].get_color() == "0.55"
    assert ax.lines[0].get_linewidth() > ax.lines[1].get_linewidth()


def test_a_name_has_one_colour_in_all_panels():
    figure = plots.bands({"one": LINES, "two": {"rival": LINES["rival"]}}, [0, 10, 30], "x", "y")
    assert figure.axes[0].lines[1].get_color() == figure.axes[1].lines[0].get_color()


ROWS = {
    "MLP": {"vgg": (1.0, 0.5, 2.0), "all": (0.5, 0.1, 0.9)},
    "free": {"vgg": (-1.0, -2.0, 0.5), "all": (0.0, -0.5, 0.5)},
}


def test_an_interval_is_a_bar_from_its_low_to_its_high_end_with_a_dot_at_the_mean():
    figure = plots.intervals({"set": ROWS}, "points", heavy="all")
    ax = figure.axes[0]
    dots = [line for line in ax.lines if line.get_marker() == "o"]  # of a kind, by arm
    found = {}
    for line, bars in zip(dots, ax.collections, strict=True):
        for mean, place, bar in zip(*line.get_data(), bars.get_segments(), strict=True):
            assert set(bar[:, 1]) == {place}
            found[round(place), line.get_label()] = (mean, *bar[:, 0])
        assert (line.get_color() == "black") == (line.get_label() == "all")
        assert tuple(bars.get_color()[0]) == to_rgba(line.get_color())
    assert [label.get_text() for label in ax.get_yticklabels()] == ["MLP", "free"]
    for place, rows in enumerate(ROWS.values()):
        for kind, numbers in rows.items():
            assert found.pop((place, kind)) == pytest.approx(numbers)
    assert not found
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["vgg", "all"]


def test_what_lies_beyond_the_limit_is_an_arrowhead_at_the_border_and_a_mean_there_has_its_number():
    wide = {"MLP": {"vgg": (-9.26, -14.0, -4.0), "all": (1.0, -2.0, 6.0)}}
    figure = plots.intervals({"a": wide, "b": ROWS}, "points", heavy="all", limit=5)
    assert [ax.get_xlim() for ax in figure.axes] == [(-5, 5)] * 2
    heads = [
        [(line.get_marker(), line.get_xdata()[0]) for line in ax.lines if line.get_marker() in ("<", ">")]
        for ax in figure.axes
    ]
    assert heads == [[("<", -5), (">", 5)], []]
    assert [text.get_text() for text in figure.axes[0].texts] == ["-9.3"]


@pytest.mark.parametrize("sets", [1, 2, 4])
def test_intervals_have_one_label_below_the_middle_of_the_panels_and_say_above_what_a_bar_is(sets):
    rows = {f"an arm with a long name, {arm}": found for arm, found in ROWS.items()}
    figure = plots.intervals({f"set {number}": rows for number in range(sets)}, "points of AUROC", heavy="all")
    figure.draw_without_rendering()
    (below,) = [text for text in figure.findobj(Text) if text.get_text() == "points of AUROC"]
    box, boxes = below.get_window_extent(), [ax.get_tightbbox() for ax in figure.axes]
    assert (box.x0 + box.x1) / 2 == pytest.approx((figure.axes[0].bbox.x0 + figure.axes[-1].bbox.x1) / 2, abs=2)
    assert 0 <= box.y0 < box.y1 <= min(panel.y0 for panel in boxes)
    assert figure.legends[0].get_window_extent().y0 >= max(panel.y1 for panel in boxes)


def test_rows_do_not_overlap():
    ax = plots.intervals({"set": ROWS}, "points", heavy="all").axes[0]
    vgg, together = (line.get_ydata() for line in ax.lines if line.get_marker() == "o")
    assert vgg[0] < together[0] < 0.5 < vgg[1] < together[1]


def test_an_arm_without_a_number_is_left_out_of_its_panel_only():
    figure = plots.intervals({"a": ROWS, "b": {"free": ROWS["free"]}}, "points", heavy="all")
    dots = [sum(len(line.get_xdata()) for line in ax.lines if line.get_marker() == "o") for ax in figure.axes]
    assert dots == [4, 2]


def test_lines_have_the_colours_of_the_style_when_they_are_drawn():
    lines = plots.bands({"one": LINES}, [0, 10, 30], "x", "y").axes[0].lines
    assert [line.get_color() for line in lines[:2]] == ["#0072B2", "#D55E00"]


def test_a_cost_is_a_line_over_logarithmic_x_and_its_spread_is_a_band():
    ax = plots.costs({"28 px": {"naive": {100: (1.0, 0.9, 1.1), 1000: (2.0, 1.9, 2.3)}}}, "images", "time").axes[0]
    (naive,) = ax.lines
    assert (list(naive.get_xdata()), list(naive.get_ydata())) == ([100, 1000], [1.0, 2.0])
    (band,) = ax.collections
    corners = {tuple(corner) for corner in band.get_paths()[0].vertices}
    assert {(100, 0.9), (100, 1.1), (1000, 1.9), (1000, 2.3)} <= corners
    assert ax.get_xscale() == "log"


GAINS = {
    "faces": {"four maps": {"50": (0.1, -0.1, 0.2), "all": (0.2, 0.1, 0.3)}, "one map": {"50": (0.0, -0.1, 0.1)}},
    "chest": {"one map": {"50": (0.0, -0.2, 0.1), "100": (0.1, 0.0, 0.2), "all": (0.0, -0.1, 0.1)}},
}


def test_differences_stand_at_their_value_in_its_order_with_bars_from_end_to_end_and_zero_marked():
    figure = plots.differences(GAINS, ["50", "100", "all"], "training images", "gain")
    for ax, lines in zip(figure.axes, GAINS.values(), strict=True):
        assert [label.get_text() for label in ax.get_xticklabels()] == ["50", "100", "all"]
        zero = ax.lines[0]
        assert list(zero.get_ydata()) == [0, 0]
        dots = [line for line in ax.lines if line.get_marker() in ("o", "s")]
        assert [line.get_label() for line in dots] == list(lines)
        for line, bars, points in zip(dots, ax.collections, lines.values(), strict=True):
            assert line.get_ydata() == pytest.approx([mean for mean, *_ in points.values()])
            assert np.round(line.get_xdata()).tolist() == [["50", "100", "all"].index(value) for value in points]
            ends = [tuple(bar[:, 1]) for bar in bars.get_segments()]
            assert ends == [pytest.approx(point[1:]) for point in points.values()]
    faces, chest = figure.axes
    assert faces.lines[2].get_xdata()[0] != faces.lines[4].get_xdata()[0], "beside each other"
    assert chest.lines[2].get_color() == faces.lines[4].get_color(), "a name has one colour"
    assert [[text.get_text() for text in ax.texts] for ax in figure.axes] == [["four maps"], ["one map"]]


def test_powers_of_ten_are_written_with_an_exponent():
    figure = plots.costs({"one": {"step": {10: (1.0, 0.5, 2.0), 1e6: (5.0, 4.0, 6.0)}}}, "images", "seconds")
    figure.draw_without_rendering()
    powers = [label for label in figure.axes[0].get_xticklabels() if label.get_text()]
    assert len(powers) > 3
    assert all("10^" in label.get_text() and label.get_parse_math() for label in powers)
