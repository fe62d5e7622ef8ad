"""Programs that run without gsa_utils predict what the model does."""

import sys

import pytest
import torch

from gsa_utils import FreeMap, attend, build_backbone, make_phantom
from gsa_utils.export.programs import export_onnx, export_program
from gsa_utils.networks.backbones import LAYERS
from gsa_utils.training.state import Standardised

IMAGES = make_phantom("phantom-chest", 200, 32).to_float()


@pytest.fixture(scope="module", params=["small", "resnet"])
def model(request):
    """A network with a frozen map that is not flat."""
    torch.manual_seed(0)
    weight_map = FreeMap(32)
    weight_map.logit.data.normal_()
    network = build_backbone(request.param, 1, 2, 32)
    return Standardised(attend(network, weight_map.freeze(), LAYERS[request.param]["late"]), 0.4, 0.2).eval()


def eager(model):
    with torch.inference_mode():
        return model(IMAGES)


def test_a_program_of_torch_export_agrees_on_any_number_of_images(model, tmp_path):
    export_program(model, tmp_path / "model.pt2", 1, (32, 32))
    program = torch.export.load(tmp_path / "model.pt2").module()
    assert torch.allclose(program(IMAGES), eager(model), atol=1e-4)
    assert torch.allclose(program(IMAGES[:1]), eager(model)[:1], atol=1e-4)


def test_onnx_runtime_agrees_on_any_number_of_images(model, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    export_onnx(model, tmp_path / "model.onnx", 1, (32, 32))
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    for images in (IMAGES, IMAGES[:1]):
        (logits,) = session.run(["logits"], {"images": images.numpy()})
        assert torch.allclose(torch.from_numpy(logits), eager(model)[: len(images)], atol=1e-4)


def test_without_the_packages_of_onnx_it_is_said_what_to_install(model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ModuleNotFoundError, match="pip install onnx onnxscript"):
        export_onnx(model, tmp_path / "model.onnx", 1, (32, 32))
    assert not list(tmp_path.iterdir())
