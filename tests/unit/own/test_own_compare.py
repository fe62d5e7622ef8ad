"""The comparison on folds: where memory is short, where it is cut off, and where the folder belongs to another set."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from gsa_utils import make_phantom
from gsa_utils.own import compare
from gsa_utils.own.compare import compare_on, difference

PHANTOM = make_phantom("phantom-face", 40, 16)


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Activations of random places stand in for the network's, which would take seconds."""
    random = torch.Generator().manual_seed(0)
    x = {grid: torch.rand(40, 4, grid, grid, generator=random).half() for grid in compare.GRIDS}
    monkeypatch.setattr(compare, "_network", lambda: None)
    monkeypatch.setattr(compare, "STEPS", 5)

    def frozen(network, images, layers, **settings):
        return {layer: x[grid] for grid, layer in compare.LAYERS.items() if layer in layers}

    monkeypatch.setattr(compare, "frozen_activations", frozen)
    return frozen


def test_where_memory_is_short_half_as_many_images_are_looked_at_at_a_time(tmp_path, monkeypatch, no_network):
    tried = []

    def short(*args, batch_size, **settings):
        tried.append(batch_size)
        if batch_size > 2:
            raise torch.OutOfMemoryError("not enough")
        return no_network(*args, **settings)

    monkeypatch.setattr(compare, "frozen_activations", short)
    assert len(list(compare_on(PHANTOM, tmp_path, 1, 1))) == 10
    assert tried == [8, 4, 2]


def test_where_not_even_one_image_fits_the_error_comes_through(tmp_path, monkeypatch):
    def never(*args, **settings):
        raise MemoryError

    monkeypatch.setattr(compare, "frozen_activations", never)
    with pytest.raises(MemoryError):
        list(compare_on(PHANTOM, tmp_path, 1, 1))


def test_cut_off_anywhere_it_ends_with_the_same_numbers(tmp_path):
    whole = list(compare_on(PHANTOM, tmp_path / "whole", 1, 1))
    for after in (1, 4, 9):
        outcomes = compare_on(PHANTOM, tmp_path / str(after), 1, 1)
        for _ in range(after):
            next(outcomes)
        outcomes.close()  # as if the process had been killed here
        assert list(compare_on(PHANTOM, tmp_path / str(after), 1, 1)) == whole


def test_results_of_another_set_are_set_aside_and_not_mixed_in(tmp_path):
    first = list(compare_on(PHANTOM, tmp_path, 1, 1))
    turned = replace(PHANTOM, labels=1 - PHANTOM.labels)
    second = list(compare_on(turned, tmp_path, 1, 1))
    assert second != first
    assert list(compare_on(turned, tmp_path, 1, 1)) == second
    assert json.loads((tmp_path / "folds.other.json").read_text())["folds"][0]["auroc"] == first[0].auroc


@pytest.mark.parametrize("content", ["", "{", "[]", '{"of": 3}'])
def test_a_damaged_table_is_set_aside(tmp_path, content):
    (tmp_path / "folds.json").write_text(content)
    assert len(list(compare_on(PHANTOM, tmp_path, 1, 1))) == 10
    assert (tmp_path / "folds.other.json").read_text() == content


def test_each_of_two_hundred_flipped_bits_in_the_table_is_noticed_or_harmless(tmp_path):
    list(compare_on(PHANTOM, tmp_path, 1, 1))
    path, random = tmp_path / "folds.json", np.random.RandomState(0)
    good, kept = path.read_bytes(), compare._read(path)
    assert kept["folds"]
    for place, bit in zip(random.randint(0, len(good), 200), random.randint(0, 8, 200), strict=True):
        flipped = bytearray(good)
        flipped[place] ^= 1 << int(bit)
        path.write_bytes(flipped)
        assert compare._read(path) in ({}, kept)


def test_the_difference_is_shared_maps_minus_the_average(tmp_path):
    outcomes = list(compare_on(PHANTOM, tmp_path, 1, 1))
    by_arm = {arm: [one.auroc for one in outcomes if one.arm == arm] for arm in ("shared", "average")}
    expected = sum(by_arm["shared"]) / 5 - sum(by_arm["average"]) / 5
    assert difference(outcomes).mean == pytest.approx(expected)
    assert difference(outcomes).pairs == 5
