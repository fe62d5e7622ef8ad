"""Verdicts on sets whose truth is known: phantoms as they are, moved at random, and maps with a heavy corner."""

import pytest
import torch

from gsa_utils import make_phantom
from gsa_utils.own.verdicts import check_alignment, gain_sentence, shortcut_alarm, zones
from gsa_utils.study.comparison import FoldDifference
from gsa_utils.study.trial import shifted


@pytest.mark.parametrize("name", ["phantom-chest", "phantom-retina", "phantom-face"])
def test_aligned_images_are_called_so_and_shifts_move_the_verdict(name):
    phantom = make_phantom(name, 100)
    assert check_alignment(phantom.images).verdict == "aligned"
    assert check_alignment(shifted(phantom, 4, 0).images).verdict == "partly aligned"
    far = check_alignment(shifted(phantom, 12, 0).images)
    assert far.offset > 0.1
    assert far.verdict != "aligned"


def test_noise_is_not_aligned_and_the_null_is_that_of_images_moved_at_random():
    noise = (torch.rand(60, 1, 32, 32, generator=torch.Generator().manual_seed(0)) * 255).to(torch.uint8)
    found = check_alignment(noise)
    assert found.verdict == "not aligned"
    chest = check_alignment(make_phantom("phantom-chest", 100).images)
    assert chest.null > 2 * chest.offset + 0.05
    assert chest.mean.shape == chest.deviation.shape == (32, 32)


@pytest.mark.parametrize("shape", [(5, 1, 32, 32), (20, 1, 4, 32), (20, 32, 32)])
def test_too_little_to_judge_is_refused(shape):
    with pytest.raises(ValueError, match="images: got shape"):
        check_alignment(torch.zeros(shape))


@pytest.mark.parametrize(
    ("low", "high", "word"), [(0.01, 0.03, "helps"), (-0.03, -0.01, "hurts"), (-0.01, 0.03, "no difference shown")]
)
def test_the_interval_decides_the_word(low, high, word):
    assert gain_sentence(FoldDifference((low + high) / 2, low, high, 0.1, 5, 10)).startswith(word)


def test_zones_cover_the_border_once():
    found = torch.stack(list(zones((28, 28)).values())).sum(dim=0)
    assert found.max() == 1
    assert found[0].min() == found[-1].min() == found[:, 0].min() == found[:, -1].min() == 1
    assert found[10:18, 10:18].max() == 0


def test_a_heavy_corner_raises_the_alarm_and_an_even_map_does_not():
    maps = torch.ones(5, 28, 28)
    assert shortcut_alarm(maps) == {}
    maps[:, :4, -4:] = 6
    alarm = shortcut_alarm(maps / maps.mean(dim=(1, 2), keepdim=True))
    assert list(alarm) == ["top right corner"]
    assert alarm["top right corner"] > 2
