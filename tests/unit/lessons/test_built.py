"""What was built in lesson 03 is kept as a file, and later lessons go on with it."""

import linecache

import pytest
import torch
from torch import nn

from gsa_utils import GlobalSpatialAttention
from gsa_utils.attention import WeightMap
from gsa_utils.lessons import built, keep, lesson_03

CELL = """
class Mine(nn.Module):
    def __init__(self, features, hidden=32):
        super().__init__()
        self.register_buffer("features", features)
        self.classifier = nn.Conv2d(features.shape[1], 1, kernel_size=1)

    def map(self):
        return {weights}

    def forward(self, x):
        return self.map() * x

after = "the class"
"""
MAP = "F.softplus(self.classifier(self.features)[0, 0])"
FEATURES = torch.randn(1, 3, 4, 5, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """As a lesson runs: the working directory is the lessons' folder."""
    (tmp_path / "notebooks").mkdir()
    monkeypatch.delenv("GSA_YOURS", raising=False)
    monkeypatch.chdir(tmp_path / "notebooks")
    return tmp_path


def in_a_notebook(weights, cell=CELL):
    """The class of a cell, as IPython leaves it: in __main__, its source in linecache."""
    source = cell.format(weights=weights)
    linecache.cache["<cell>"] = (len(source), None, source.splitlines(keepends=True), "<cell>")
    names = {"__name__": "__main__", "nn": nn, "F": nn.functional, "helper": torch.ones}
    exec(compile(source, "<cell>", "exec"), names)
    return names["Mine"]


def test_a_module_is_kept_as_source_and_built_again_as_a_map_of_the_package(folder, capsys):
    mine = in_a_notebook(MAP)
    keep(mine)
    assert "class Mine(nn.Module)" in (folder / "yours" / "attention.py").read_text()
    assert "after" not in (folder / "yours" / "attention.py").read_text()
    torch.manual_seed(0)
    module = built()(FEATURES)
    torch.manual_seed(0)
    expected = mine(FEATURES).map()
    assert isinstance(module, WeightMap)
    assert torch.equal(module.map(), expected)
    assert len(list(module.parameters())) == 2
    assert module(torch.ones(2, 1, 8, 10)).shape == (2, 1, 8, 10)  # resized, as the package's maps are
    assert torch.equal(module.freeze().map(), expected)
    assert list(module.parameters()) == []
    said = capsys.readouterr().out.splitlines()
    assert said == [
        "Kept for lesson 04 in ../yours/attention.py.",
        "the maps are made by your module of lesson 03, Mine in ../yours/attention.py",
    ]


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        (CELL.replace("{weights}", "helper(4, 5)"), "name 'helper' is not defined"),
        (CELL.replace("    def map", "    @staticmethod\n    def forget():\n        pass\n\n    def map"), ""),
        (CELL + CELL, ""),
        ("if True:" + CELL.replace("\n", "\n    "), ""),
        (CELL + "\nclass Base(Mine):\n    pass\n\nMine = Base", "the cell of its map() does not define Other"),
    ],
    ids=["needs a helper", "a decorator", "written twice", "within an if", "of another name"],
)
def test_a_class_is_kept_however_it_is_written_or_the_reason_is_said(folder, capsys, cell, said):
    mine = in_a_notebook(MAP, cell)
    if "Other" in said:
        mine.__name__ = "Other"
    keep(mine)
    out = capsys.readouterr().out
    assert ("Not kept for lesson 04" in out) == bool(said)
    assert said in out
    assert (built() is GlobalSpatialAttention) == bool(said)


def test_where_no_learner_sits_nothing_is_kept_and_none_is_used(folder, monkeypatch):
    keep(in_a_notebook(MAP))
    monkeypatch.setenv("GSA_YOURS", "")
    assert built() is GlobalSpatialAttention
    (folder / "yours" / "attention.py").unlink()
    keep(in_a_notebook(MAP))
    assert not (folder / "yours" / "attention.py").exists()


def test_where_nobody_has_begun_nothing_is_kept_and_the_maps_are_the_packages(folder, capsys):
    keep(lesson_03.Attention)
    assert list(folder.iterdir()) == [folder / "notebooks"]
    assert built() is GlobalSpatialAttention
    assert capsys.readouterr().out == "the maps are the package's: no module of lesson 03 was kept here\n"


def test_where_nothing_can_be_written_the_lesson_runs_on(folder, capsys):
    (folder / "yours").write_text("a file where the folder should be")
    keep(in_a_notebook(MAP))
    assert "Not kept for lesson 04" in capsys.readouterr().out
