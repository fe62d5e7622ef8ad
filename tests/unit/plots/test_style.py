"""The tables of colours: what is more looks more, for every kind of eye."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from gsa_utils.plots.style import DIFFERENCES, WEIGHTS, line_colour


def luminance(table):
    part = table / 255
    linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


def test_weights_are_brighter_the_larger():
    assert (np.diff(luminance(WEIGHTS)[::5]) > 0).all()


def test_differences_are_darker_the_larger_to_both_sides_of_a_bright_middle():
    bright = luminance(DIFFERENCES)
    assert (np.diff(bright[:128:8]) > 0).all()
    assert (np.diff(bright[128::8]) < 0).all()
    assert bright[127] > 0.8
    assert np.abs(bright - bright[::-1]).max() < 0.15
    negative, positive = DIFFERENCES[30].astype(int), DIFFERENCES[225].astype(int)
    assert negative[0] - negative[2] > 100  # brown has more red than blue, purple less, for every kind of eye
    assert positive[2] - positive[0] > 30


@pytest.mark.parametrize("number", range(6))
def test_a_line_stands_out_from_white_by_three_to_one(number):
    """As WCAG 2.2 asks of what is no text (1.4.11)."""
    assert 1.05 / (luminance(255 * np.array(to_rgb(line_colour(number)))) + 0.05) >= 3
