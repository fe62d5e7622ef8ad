"""The Hub's methods, on a local folder: nothing here goes to a network."""

import pytest
import torch

from gsa_utils import FreeMap, attend, build_backbone, make_phantom, save_model
from gsa_utils.export.hub import HubModel
from gsa_utils.training.state import TrainingRun

PHANTOM = make_phantom("phantom-face", 12, 16)


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(0)
    run = TrainingRun.of(attend(build_backbone("small", 1, 2, 16), FreeMap(16)).eval(), PHANTOM)
    save_model(run, tmp_path / "one.safetensors", {"auroc": 0.9})
    return tmp_path / "one.safetensors"


def test_a_model_comes_back_from_a_folder_as_it_went(saved, tmp_path):
    HubModel(saved).save_pretrained(tmp_path / "folder")
    again = HubModel.from_pretrained(str(tmp_path / "folder"))
    images = PHANTOM.to_float()
    with torch.inference_mode():
        assert torch.equal(again.load()(images), HubModel(saved).load()(images))
    page = (tmp_path / "folder" / "README.md").read_text()
    assert "not a medical device" in page
    assert "auroc: 0.9" in page
    assert "12 images of phantom-face" in page


def test_nothing_is_uploaded_before_it_was_said_and_allowed(saved, monkeypatch):
    sent = []
    monkeypatch.setattr("huggingface_hub.ModelHubMixin.push_to_hub", lambda self, *a, **k: sent.append((a, k)) or "url")
    model = HubModel(saved)
    with pytest.raises(PermissionError, match=r"(?s)would upload to me/mine:.*model\.safetensors.*12 images.*yes=True"):
        model.push_to_hub("me/mine")
    assert not sent
    assert model.push_to_hub("me/mine", yes=True) == "url"
    assert sent == [(("me/mine",), {"private": True})]


def test_a_file_that_is_no_model_is_refused(tmp_path):
    (tmp_path / "x").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="path: got"):
        HubModel(tmp_path / "x")
