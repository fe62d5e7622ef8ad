"""The study of frozen networks, on made-up activations: its cells, who is tested, its tuning, and its table."""

import pickle
import runpy
import sys
from dataclasses import replace

import pytest
import torch

from gsa_utils.images import ImageSet
from gsa_utils.probing import study
from gsa_utils.probing.study import Cell


@pytest.fixture
def made_up(monkeypatch):
    """80 images of 20 people and their activations; the class is told by one place, as a map can learn."""
    random = torch.Generator().manual_seed(0)
    labels, groups = torch.arange(80) % 2, torch.arange(80) // 4
    x = torch.randn(80, 3, 7, 7, generator=random)
    x[:, 0, 2, 3] += 3.0 * (2 * labels - 1)
    images = torch.randint(0, 256, (80, 1, 14, 14), generator=random, dtype=torch.uint8)
    made_up = ImageSet(images, labels, ("without", "with"), groups)
    monkeypatch.setattr(study, "load", lambda dataset, patch=None: made_up)
    monkeypatch.setattr(study, "activations", lambda dataset, grid, patch=None: x.half())
    monkeypatch.setattr(study, "STEPS", 30)
    return made_up


def cell(arm="free", maps=1, images=None, repeat=0, fold=0, grid=7):
    return Cell("london-faces", grid, arm, maps, images, repeat, fold)


def test_the_cells_are_those_of_the_protocol():
    cells = study.all_cells()
    assert len(set(cells)) == len(cells)
    folds = {(c.repeat, c.fold) for c in cells}
    assert len(folds) == 10
    for dataset, grids in {"london-faces": {7, 14, 28, 56}, "breastmnist": {14, 28}}.items():
        for grid in grids:
            here = {(c.arm, c.maps) for c in cells if (c.dataset, c.grid, c.images) == (dataset, grid, None)}
            assert {("average", 1), ("places", 1), ("attentive", 1), ("attentive", 4)} <= here
            assert {(arm, maps) for arm in ("free", "mlp", "mlp-activations", "pixel-cnn") for maps in (1, 4)} <= here
            assert len(here) == (18 if (dataset, grid) == ("london-faces", 28) else 12)
        assert {c.grid for c in cells if c.dataset == dataset} == grids
    assert {c.images for c in cells if c.dataset == "nih-chest"} == {None, 50, 100, 200, 400}


def test_the_cells_with_patches_are_those_of_the_protocol():
    cells = study.patch_cells()
    assert len(set(cells)) == len(cells) == 10 * 10 * 5
    assert {(c.dataset, c.grid) for c in cells} == {("nih-chest", 28)}
    patches = {(c.strength, c.area, c.jitter, c.decoys, c.images) for c in cells}
    assert len(patches) == 10
    assert {patch[2] for patch in patches} == {0, 4, 9, 18}
    assert {(c.arm, c.maps) for c in cells} == {("average", 1), ("attentive", 4), ("free", 4), ("mlp", 1), ("mlp", 4)}


def test_a_planted_patch_is_the_same_for_all_folds_of_a_repeat_and_another_in_the_next(monkeypatch):
    images = torch.full((12, 1, 16, 16), 100, dtype=torch.uint8)
    whole = ImageSet(images, torch.zeros(12, dtype=torch.int64), ("all", "none"), torch.arange(12))
    monkeypatch.setattr(study, "load_whole", lambda *_: whole)
    monkeypatch.setitem(study.SETS, "made-up", None)
    one, two = (replace(cell(), dataset="made-up", strength=0.2, area=0.1, fold=fold).patch for fold in (0, 1))
    planted = study.load("made-up", one)
    assert study.load("made-up", two) is planted
    bright = planted.images.flatten(1).amax(dim=1) > 100
    assert bright.tolist() == planted.labels.bool().tolist()
    assert planted.labels.sum() == 6
    again = study.load("made-up", replace(cell(), dataset="made-up", strength=0.2, area=0.1, repeat=1).patch)
    assert again.labels.tolist() != planted.labels.tolist()
    assert study.load("made-up", cell().patch) is not planted


def test_every_arm_has_the_same_number_of_trials():
    assert len(study.DECAYS) == len(study.POOLING_RATES) == 6


def test_nobody_is_on_two_sides_and_everybody_is_tested_once_a_repeat(made_up):
    for repeat in range(study.REPEATS):
        tested = []
        for fold in range(study.FOLDS):
            sides = study.divide(cell(repeat=repeat, fold=fold))
            people = [set(made_up.groups[side].tolist()) for side in sides]
            assert len(set.union(*people)) == sum(map(len, people))
            assert sum(map(len, sides)) == 80
            tested += sides[2].tolist()
        assert sorted(tested) == list(range(80))


def test_fewer_training_images_leave_the_tuned_and_the_tested_ones_as_they_are(made_up):
    few, many = study.divide(cell(images=24)), study.divide(cell())
    assert 20 <= len(few[0]) <= 28 < len(many[0])
    assert set(few[0].tolist()) < set(many[0].tolist())
    assert torch.equal(few[1], many[1])
    assert torch.equal(few[2], many[2])


@pytest.mark.parametrize(
    ("arm", "maps"),
    [
        ("average", 1),
        ("places", 1),
        ("attentive", 2),
        ("free", 1),
        ("mlp", 2),
        ("mlp-activations", 1),
        ("pixel-cnn", 1),
    ],
)
def test_a_cell_is_a_row_with_six_trials_of_which_the_best_on_the_tuning_images_is_tested(arm, maps, made_up):
    row, weight_map = study.run(cell(arm, maps))
    losses = dict(trial.split(":") for trial in row["valid_losses"].split())
    assert len(losses) == 6
    assert float(losses[f"{row['setting']:g}"]) == min(map(float, losses.values()))
    assert 0 <= row["auroc"] <= 1
    assert row["trained_on"] + row["tested_on"] < 80
    assert ("effective_area" in row) == (arm not in ("average", "places", "attentive"))
    assert (weight_map is None) == (maps > 1 or arm in ("average", "places", "attentive"))


def test_a_trial_that_diverges_is_lost_and_not_chosen(made_up, monkeypatch):
    fit_head = study.fit_head

    def diverges(*arguments, pooling_lr, **settings):
        if pooling_lr < 1:
            raise RuntimeError("the loss is nan")
        return fit_head(*arguments, pooling_lr=pooling_lr, **settings)

    monkeypatch.setattr(study, "fit_head", diverges)
    row, _ = study.run(cell())
    assert row["setting"] == 1
    assert row["valid_losses"].startswith("0.003:inf 0.01:inf")
    monkeypatch.setattr(study, "POOLING_RATES", (0.1,))
    with pytest.raises(RuntimeError, match="no trial ended with a number as its loss"):
        study.run(cell())


def test_rows_are_written_as_they_come_and_found_again(made_up, tmp_path):
    cells = [cell("average"), cell("free"), cell("mlp", images=24)]
    assert study.run_and_write(cells[:2], tmp_path) == 2
    first = (tmp_path / "runs.csv").read_text()
    assert study.finished(tmp_path) == set(cells[:2])
    study.run_and_write(cells[2:], tmp_path)
    planted = replace(cell("average"), strength=0.12, area=0.04, decoys=True)
    study.run_and_write([planted], tmp_path)
    assert study.finished(tmp_path) == {*cells, planted}
    assert (tmp_path / "runs.csv").read_text().startswith(first)


def test_a_cell_that_fails_is_a_row_that_says_why(made_up, tmp_path, monkeypatch):
    monkeypatch.setattr(study, "build_head", lambda *_: 1 / 0)
    study.run_and_write([cell()], tmp_path)
    assert study.read(tmp_path)["error"].tolist() == ["ZeroDivisionError: division by zero"]
    assert study.finished(tmp_path) == {cell()}


@pytest.mark.filterwarnings("ignore:.*found in sys.modules")
def test_as_a_command_the_study_runs_under_its_modules_name_as_its_processes_know_it(monkeypatch):
    """What is handed to joblib's processes is found by its module's name there; they have no such __main__."""
    monkeypatch.setattr(study, "main", lambda: 7)
    # runpy would leave code that jaxtyping's hook has changed where processes without the hook look for theirs.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("gsa_utils.probing.study", run_name="__main__")
    assert ended.value.code == 7, "the main of __main__ ran, and not that of the module"
    assert b"gsa_utils.probing.study" in pickle.dumps(study.run_and_write)
    assert pickle.loads(pickle.dumps(cell())) == cell()
