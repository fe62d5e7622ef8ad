"""The lessons with other parameters than the committed ones: executed by papermill, and their results asserted.

Slow, as each case starts a kernel and trains small networks: there is no other way to know that a lesson runs.
"""

import os
import re
from pathlib import Path

import course
import nbformat
import pytest
import run

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
PHANTOMS = ["phantom-retina", "phantom-face"]


def printed(number: str, path: Path | None = None, **parameters) -> str:
    """Everything that a lesson, or a copy of it, prints under these parameters; every cell of it must have run."""
    (lesson,) = run.lessons(NOTEBOOKS, [number])
    notebook = run.execute(path or lesson, values=parameters, timeout=300)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert cells
    assert all(cell.execution_count for cell in cells)
    return "".join(output.get("text", "") for cell in cells for output in cell.outputs)


def numbers(text: str, line: str) -> list[float]:
    """The numbers behind the first occurrence of `line`, in its line."""
    (found,) = re.findall(rf"^.*{re.escape(line)}(.*)$", text, re.MULTILINE)[:1] or [""]
    return [float(number) for number in re.findall(r"[-+]?\d+\.\d+", found)]


def solved(number: str, folder: Path) -> Path:
    """A copy of the lesson in which each untouched exercise holds the folded solution."""
    (lesson,) = run.lessons(NOTEBOOKS, [number])
    notebook = course.solved(nbformat.read(lesson, as_version=4))
    nbformat.write(notebook, folder / lesson.name)
    return folder / lesson.name


@pytest.fixture
def real_set():
    """The name of a real set, or a skip that says why there is none."""
    if reason := run.why_unavailable("breastmnist"):
        assert not os.environ.get("GSA_REQUIRE_DATA"), reason
        pytest.skip(f"breastmnist is not to be had: {reason}")
    return "breastmnist"


def test_lesson_01_tells_aligned_from_shifted_phantoms():
    text = printed("01", datasets=PHANTOMS, dataset="phantom-retina", epochs=1)
    for name in PHANTOMS:
        aligned, shifted = numbers(text, name + "  ")
        assert aligned > 0.8
        assert shifted == 0
    (agreement,) = numbers(text, "rank correlation of the two maps:")
    assert -1 < agreement < 1


def test_lesson_02_finds_the_mouth_of_larger_faces():
    text = printed("02", dataset="phantom-face", size=48, rank=32)
    (auroc,) = numbers(text, "in the other half: AUROC")
    assert auroc > 0.95
    kept = [float(percent) for percent in re.findall(r"features: +([\d.]+)% of G", text)]
    assert kept == sorted(kept)
    assert kept[-1] == 100


def test_lesson_03_finds_the_macula_with_what_the_learner_wrote(tmp_path):
    text = printed("03", solved("03", tmp_path), dataset="phantom-retina", epochs=12, seed=1)
    assert re.findall(r"^Exercise 3.\d: (\w+)", text, re.MULTILINE) == ["right"] * 4
    losses, maps = map(float, re.findall(r"loop and fit differ by at most (\S+), the maps by (\S+)", text)[0])
    assert losses < 1e-5
    assert maps < 1e-4, "0 where both round alike"
    *_, free = numbers(text, "free map ")
    *_, ours = numbers(text, "pixel classifier ")
    assert ours > 0.95
    assert ours > free + 0.05
    change, gap = (float(x) for x in re.findall(r"\|change\| (\S+), largest \|change - formula\| (\S+)", text)[0])
    assert gap <= 1e-5 * change


def test_lesson_04_goes_on_with_the_module_that_was_written_in_lesson_03(tmp_path, monkeypatch):
    monkeypatch.setenv("GSA_YOURS", str(tmp_path / "yours"))
    first = solved("03", tmp_path)
    begin = nbformat.read(first, as_version=4)
    begin.cells = begin.cells[: 1 + next(n for n, cell in enumerate(begin.cells) if "lessons.keep" in cell.source)]
    nbformat.write(begin, first)
    assert "Kept for lesson 04" in printed("03", first)
    text = printed("04", dataset="phantom-retina", images=400, brightness=[0.15], epochs=15)
    assert "the maps are made by your module of lesson 03, MyAttention in " in text
    _, with_map = numbers(text, "brightness 0.15:")
    assert with_map > 0.9


def test_lesson_04_finds_a_patch_in_phantoms_and_counts_the_guesses_of_the_learner(tmp_path):
    text = printed("04", solved("04", tmp_path), dataset="phantom-retina", images=400, brightness=[0.15], epochs=15)
    assert re.findall(r"^Exercise 4.\d: (\w+)", text, re.MULTILINE) == ["right", "noted"]
    _, with_map = numbers(text, "brightness 0.15:")
    assert with_map > 0.9
    counts = re.findall(r"your rule is right in (\d+) of (\d+) cells", text)
    assert [int(cells) for _, cells in counts] == [12, 5]
    assert all(0 < int(right) <= int(cells) for right, cells in counts)


def test_lesson_05_reads_a_phantom_by_shared_maps_that_the_average_cannot_read():
    text = printed("05", dataset="phantom-chest", images=160, maps=2, rates=[0.1])
    arms = ("average pooling   ", "one shared map   ", "2 shared maps   ", "attentive, 2 queries  ")
    average, one, two, _ = (numbers(text.partition("phantom-chest, 32 images")[2], arm)[0] for arm in arms)
    assert min(one, two) > average + 0.05
    assert "equal bit for bit: True" in text
    assert "an image alone, in a batch, in a shuffled batch: the same prediction" in text


def test_lesson_06_finds_that_a_phantom_needs_its_important_pixels_wherever_the_controls_were_left(tmp_path):
    (lesson,) = run.lessons(NOTEBOOKS, ["06"])
    notebook = nbformat.read(lesson, as_version=4)
    place = next(place for place, cell in enumerate(notebook.cells) if "MapInspector(run" in cell.source)
    played = "panel.epoch.value, panel.threshold.value, panel.blanked.value = 1, 0.0, 'rectangle'\npanel.start.click()"
    notebook.cells.insert(place + 1, nbformat.v4.new_code_cell(played))
    nbformat.write(notebook, tmp_path / lesson.name)
    text = printed("06", tmp_path / lesson.name, dataset="phantom-chest", epochs=12, seeds=1)
    assert "the panel's numbers are those of the experiment by hand" in text
    whole, without, _, lowest, _ = numbers(text, "  seed 0 ")
    assert without < lowest < whole
    assert without < 0.6


def test_lesson_07_trains_maps_that_concentrate_also_on_a_phantom(tmp_path):
    text = printed("07", solved("07", tmp_path), dataset="phantom-chest", seed=1)
    assert re.findall(r"^Exercise 7.\d: (\w+)", text, re.MULTILINE) == ["right"] * 3
    assert "your function chooses as the package does" in text
    slow, fast = (numbers(text, f"rate {rate:<4} effective area")[0] for rate in (0.01, 0.1))
    assert fast < slow


def test_lesson_08_finds_on_a_face_what_the_f_statistic_cannot_see_and_a_marker_in_the_corner(tmp_path):
    text = printed("08", solved("08", tmp_path), dataset="phantom-face", seed=1)
    assert re.findall(r"^Exercise 8.\d: (\w+)", text, re.MULTILINE) == ["right"] * 2
    (anova,), (ours,) = numbers(text, "darker: AUPRC of F statistic"), numbers(text, "darker: AUPRC of MLP")
    assert anova < 0.15
    assert ours > 0.5
    corner, _ = numbers(text, "mean weight in the corner")
    assert corner > 1.5
    trained, turned = numbers(text, "as trained")[0], numbers(text, "marker in the other class")[0]
    assert trained > 0.9
    assert turned < 0.5
    (without,) = numbers(text, "trained anew without the corner: accuracy")
    assert turned < without < trained


def test_lesson_09_has_the_features_and_losses_of_one_process_in_three():
    text = printed("09", images=7_000, processes=3)
    read = [int(number.replace(",", "")) for number in re.findall(r"a process of 3 read (\S+) images", text)]
    assert sorted(read) == [2333, 2333, 2334]
    *there, here = (numbers(line, "losses of three epochs") for line in text.splitlines() if "three epochs" in line)
    assert len(here) == 3
    for losses in there:
        assert losses == pytest.approx(here, abs=1.1e-4)


def test_lesson_10_examines_a_folder_of_ones_own(tmp_path):
    from PIL import Image

    from gsa_utils import make_phantom

    phantom = make_phantom("phantom-face", 60, 32)
    for number, (image, label) in enumerate(zip(phantom.images, phantom.labels, strict=True)):
        place = tmp_path / "faces" / phantom.class_names[label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0].numpy()).save(place / f"p{number // 2}_{number}.png")
    (tmp_path / "faces" / "notes.txt").write_text("left out")
    text = printed(
        "10", solved("10", tmp_path), data_dir=str(tmp_path / "faces"), persons=r"p\d+(?=_)", size=32, maps=1
    )
    assert re.findall(r"^Exercise 10.\d: (\w+)", text, re.MULTILINE) == ["right"] * 2
    assert "30 persons" in text
    assert "left out: notes.txt no image" in text
    assert "aligned: half of the images fit" in text
    assert len(re.findall(r"points of AUROC \([-+\d.]+ to [-+\d.]+\)", text)) == 1
    assert "report.html" in text
