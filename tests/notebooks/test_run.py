"""notebooks/run.py and notebooks/clean.py, on notebooks of a few lines."""

import base64
import csv
import json
import os
import re
from pathlib import Path

import clean
import nbformat
import pytest
import run
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

import gsa_utils

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
FIGURE = {"image/png": PNG, "text/plain": "<Figure size 640x480 with 1 Axes>"}
CHEST, RETINA, FACE = "phantom-chest", "phantom-retina", "phantom-face"


def lesson(
    *sources, parameters='dataset = "phantom-chest"\nepochs = 1  # passes over the images', found="print(dataset)"
):
    cells = [
        new_markdown_cell("# A lesson"),
        new_code_cell("set_up = 1"),
        new_code_cell(parameters, metadata={"tags": ["parameters"]}),
        *map(new_code_cell, sources),
        new_code_cell(found, metadata={"tags": ["found"]}),
    ]
    return new_notebook(cells=cells, metadata={"kernelspec": clean.KERNEL})


def executed(*outputs, source="x"):
    """A clean lesson as it would be committed, whose fourth cell has these outputs."""
    nb = lesson(source)
    for count, cell in enumerate(nb.cells[1:], start=1):
        cell.execution_count = count
    nb.cells[3].outputs = list(outputs)
    nb.cells[-1].outputs = [new_output("stream", name="stdout", text="phantom-chest\n")]
    return clean.clean(nb)


@pytest.fixture
def write(tmp_path):
    def write(**notebooks):
        for name, nb in notebooks.items():
            nbformat.write(nb, tmp_path / f"{name[1:]}.ipynb")  # a keyword cannot begin with a digit

    return write


@pytest.fixture
def table(tmp_path_factory):
    return tmp_path_factory.mktemp("results") / "lessons.csv"


@pytest.fixture
def call(tmp_path, table, capsys):
    """Runs the command line on the notebooks in tmp_path; gives the exit status and what was printed."""

    def call(command, *arguments):
        out = {"tutorial": ["--out", str(tmp_path / "out")], "refresh": ["--table", str(table)]}.get(command, [])
        status = run.main([command, "--folder", str(tmp_path), *out, *arguments])
        return status, "".join(capsys.readouterr())

    return call


def without(*missing):
    """A stand-in for load_image_set on a machine that lacks these sets."""

    def load_image_set(name):
        if name in missing:
            raise gsa_utils.DataUnavailable(f"{name}.npz is\nnot here")

    return load_image_set


@pytest.fixture
def _offline(monkeypatch):
    missing = ("pneumoniamnist", "breastmnist", "london-faces", "retinamnist", "kermany-chest", "nih-chest")
    monkeypatch.setattr(gsa_utils, "load_image_set", without(*missing), raising=False)
    run.why_unavailable.cache_clear()
    yield
    run.why_unavailable.cache_clear()


def test_tutorial_goes_on_after_a_failure_and_says_what_was_found(write, call, tmp_path, monkeypatch):
    # A kernel of the same name where Jupyter looks first: taking it would fail every lesson.
    foreign = tmp_path / "user"
    (foreign / "kernels" / "python3").mkdir(parents=True)
    spec = {"argv": ["false", "{connection_file}"], "display_name": "not ours", "language": "python"}
    (foreign / "kernels" / "python3" / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(foreign))
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "0")
    write(
        _01_good=lesson(found='import sys\nprint(f"{epochs} epoch under {sys.prefix}")\n"the last line"'),
        _02_bad=lesson('raise RuntimeError("too few images")'),
        _03_slow=lesson("import time\ntime.sleep(60)"),
    )
    before = {path: path.read_bytes() for path in tmp_path.glob("*.ipynb")}
    status, said = call("tutorial", "-p", "epochs", "3", "--timeout", "2")
    assert status == 1
    assert re.search(rf"01_good: \d+ s, 0\.\d\d GB, 3 epoch under {os.sys.prefix}; 'the last line'", said)
    assert "02_bad: " in said
    assert said.count("FAILED: RuntimeError: too few images") == 2  # as it happens, and at the end
    assert "FAILED: CellTimeoutError" in said
    assert "1 of 3 lessons ran to the end" in said
    for name in ("01_good", "02_bad", "03_slow"):
        assert os.path.relpath(tmp_path / "out" / f"{name}.ipynb") in said
        assert (tmp_path / "out" / f"{name}.ipynb").exists()
    assert {path: path.read_bytes() for path in tmp_path.glob("*.ipynb")} == before


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["-p", "epoch", "3"], "01_good has no parameter epoch; it has dataset, epochs"),
        (["--only", "07"], "no lesson '07'"),
    ],
)
def test_a_mistaken_name_stops_before_anything_runs(write, call, tmp_path, arguments, expected):
    write(_01_good=lesson())
    status, said = call("tutorial", *arguments)
    assert status == 2
    assert expected in said
    assert not (tmp_path / "out").exists()


def test_tutorial_runs_two_lessons_side_by_side(write, call, tmp_path):
    meet = """
import time
from pathlib import Path
start = time.monotonic()
Path({mine!r}).touch()
while not Path({other!r}).exists():
    assert time.monotonic() < start + 60, "the other lesson was not started"
    time.sleep(0.05)
"""
    one, two = (str(tmp_path / name) for name in ("one", "two"))
    write(_01_a=lesson(meet.format(mine=one, other=two)), _02_b=lesson(meet.format(mine=two, other=one)))
    status, said = call("tutorial", "--jobs", "2")
    assert status == 0, said
    assert "2 lessons, 2 at a time" in said


def test_tutorial_gives_each_lesson_one_thread_unless_told(write, call, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # so that it comes back as it was
    monkeypatch.delenv("OMP_NUM_THREADS")
    write(_01_a=lesson("import os", found='print("threads:", os.environ.get("OMP_NUM_THREADS"))'))
    status, said = call("tutorial", "--jobs", "1")
    assert status == 0, said
    assert "threads: 1" in said
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert "threads: 2" in call("tutorial", "--jobs", "1")[1]


@pytest.mark.parametrize("command", ["tutorial", "refresh", "check"])
def test_no_lessons_at_all_is_a_failure(call, command):
    assert call(command)[0] == 2


@pytest.mark.usefixtures("_offline")
def test_tutorial_says_that_data_is_missing_and_takes_a_phantom(write, call):
    write(_04_real=lesson(parameters='dataset = "pneumoniamnist"'))
    status, said = call("tutorial")
    assert status == 0
    assert "04_real runs on phantom-chest in place of pneumoniamnist\n" in said
    assert "no pneumoniamnist: pneumoniamnist.npz is not here\n" in said
    assert "GB, phantom-chest\n" in said


@pytest.mark.usefixtures("_offline")
@pytest.mark.parametrize(
    ("values", "passed"),
    [
        ({"epochs": 1}, {}),
        ({"dataset": RETINA}, {}),
        ({"dataset": "organamnist"}, {}),
        ({"dataset": "london-faces"}, {"dataset": FACE}),
        ({"datasets": [CHEST, "pneumoniamnist", "london-faces"]}, {"datasets": [CHEST, FACE]}),
        ({"datasets": ["retinamnist", "breastmnist", "pneumoniamnist"]}, {"datasets": [RETINA, CHEST]}),
        ({"dataset": "breastmnist", "datasets": [CHEST]}, {"dataset": CHEST}),
        ({"dataset": "nih-chest", "datasets": ["kermany-chest", "nih-chest"]}, {"dataset": CHEST, "datasets": [CHEST]}),
    ],
)
def test_a_phantom_stands_in_once_for_what_is_missing(values, passed):
    assert run.stand_ins("a lesson", values) == passed


def test_parameters_are_read_as_python_reads_them():
    source = (
        "# a comment = with a sign\na = -1  # x = 2\nb: float = 1e-3\nc = [\n    'x',  # one\n    'y',\n]\nd = None"
    )
    assert clean.parameters(lesson(parameters=source)) == {"a": -1, "b": 1e-3, "c": ["x", "y"], "d": None}


def test_refresh_cleans_and_running_it_again_changes_nothing(write, call, tmp_path):
    messy = """
        import sys, base64
        from IPython.display import Image, display
        from tqdm.auto import tqdm
        print("a warning", file=sys.stderr)
        print("one", flush=True)
        sys.stdout.flush()
        for _ in tqdm(range(2)): pass
        print("two")
        display(Image(base64.b64decode("PNG"), format="png", alt="nothing to see"))
        display({"image/png": "PNG", "image/svg+xml": "<svg/>"}, raw=True, metadata={"alt": "two kinds"})
    """.replace("PNG", PNG).replace("        ", "")
    nb = lesson(messy)
    nb.metadata.update(widgets={}, language_info={"name": "python", "version": "2.7"}, papermill={"duration": 1})
    nb.cells[0].metadata = {"papermill": {"duration": 1}, "tags": [], "id": "x"}
    write(_01_messy=nb)
    ids = [cell.id for cell in nb.cells]
    status, said = call("refresh")
    assert (status, "01_messy: refreshed" in said) == (0, True)
    path = tmp_path / "01_messy.ipynb"
    first = path.read_text()
    assert [cell.id for cell in clean.read(path).cells] == ids
    kinds = [output.get("text") or sorted(output["data"]) for output in clean.read(path).cells[3].outputs]
    assert kinds == ["one\ntwo\n", ["image/png", "text/plain"], ["image/png"]]
    for word in ("papermill", "widget", "duration", "version", "iopub"):
        assert word not in first
    assert call("check") == (0, "01_messy.ipynb:\n  fit to be committed\n")
    assert call("refresh")[0] == 0
    assert path.read_text() == first
    assert sorted(p.name for p in tmp_path.iterdir()) == [path.name]


def rows(table):
    with table.open(newline="") as file:
        return list(csv.DictReader(file))


def test_refresh_leaves_a_lesson_alone_that_it_refuses(write, call, table, tmp_path):
    write(_01_bad=lesson("assert set_up == 2, 'the map is upside down'"), _02_good=lesson())
    before = (tmp_path / "01_bad.ipynb").read_bytes()
    status, said = call("refresh")
    assert status == 1
    assert "01_bad: REFUSED, left as it was" in said
    assert "AssertionError: the map is upside down" in said
    assert "02_good: refreshed" in said
    assert (tmp_path / "01_bad.ipynb").read_bytes() == before
    assert [row["lesson"] for row in rows(table)] == ["02_good"]


def test_refresh_keeps_what_a_lesson_took_and_the_rows_of_the_others(write, call, table):
    held = "held = bytearray(b'x') * (150 * 10**6)"
    child = f"import time; {held}; time.sleep(2)"
    write(
        _01_alone=lesson(),
        _02_beside=lesson(held, f"import subprocess, sys\n_ = subprocess.run([sys.executable, '-c', {child!r}])"),
    )
    others = "lesson,seconds,peak_mb,processes\n00_gone,1,2,3\n01_alone,1,2,3\n02_beside,4,5,6\n"
    table.write_text(others)
    status, said = call("refresh", "--only", "02")
    assert status == 0
    first, second = rows(table)
    assert (first["lesson"], first["seconds"], first["peak_mb"], first["date"]) == ("01_alone", "1", "2", "")
    assert (second["lesson"], second["processes"]) == ("02_beside", "2")
    assert 300 < int(second["peak_mb"]) < 450
    assert 2 <= int(second["seconds"]) < 60
    assert f"02_beside: refreshed, {second['seconds']} s, {int(second['peak_mb']) / 1000:.2f} GB" in said
    assert all(second[name] for name in ("threads", "date", "versions", "machine"))


def figure(data=FIGURE, **metadata):
    return new_output("display_data", data=dict(data), metadata=metadata)


@pytest.mark.parametrize(
    "output",
    [
        figure(alt="a chest"),
        figure(**{"image/png": {"alt": "a chest", "width": 300}}),
        new_output("display_data", data={"text/html": "<table></table>", "text/plain": "a table"}),
        new_output("stream", name="stdout", text="0.97"),
    ],
)
def test_check_takes_a_clean_lesson(write, call, output):
    write(_01_good=executed(output))
    assert call("check") == (0, "01_good.ipynb:\n  fit to be committed\n")


def test_of_a_widget_the_picture_stays_that_it_brought_along():
    widget = figure(FIGURE | {clean.WIDGET: {"model_id": "1"}}, **{"image/png": {"alt": "a sheet"}})
    bar = figure({clean.WIDGET: {"model_id": "2"}, "text/plain": "0%"})
    notebook = new_notebook(cells=[new_code_cell("x", outputs=[widget, bar])])
    (left,) = clean.clean(notebook).cells[0].outputs
    assert left.data == FIGURE
    assert left.metadata == {"image/png": {"alt": "a sheet"}}


@pytest.mark.parametrize(
    ("output", "complaint"),
    [
        (figure(), "cell 3 (`x`): has an image without alt text"),
        (figure(alt=""), "image without alt text"),
        (figure(**{"image/png": {"width": 300}}), "image without alt text"),
        (figure({"image/svg+xml": "<svg/>"}, alt="a chest"), "image/svg+xml: figures are committed as PNG only"),
        (figure({"image/jpeg": PNG}, alt="a chest"), "image/jpeg: figures are committed as PNG only"),
        (figure(FIGURE | {"image/jpeg": PNG}, alt="a chest"), "change from run to run"),
        (figure({clean.WIDGET: {"model_id": "1"}, "text/plain": "0%"}), "change from run to run"),
        (new_output("stream", name="stderr", text="epoch 1 of 8"), "change from run to run"),
        (new_output("error", ename="ValueError", evalue="no images", traceback=[]), "ends in ValueError: no images"),
        (new_output("execute_result", data={"text/plain": "<Axes at 0x7f12>"}), "shows a memory address"),
        (new_output("stream", name="stdout", text="<function f at 0x7f12>"), "shows a memory address"),
        (new_output("stream", name="stdout", text="o" * clean.MAX_BYTES), "1.0 MB, the limit is 1 MB"),
        (new_output("stream", name="stdout", text=str(Path(__file__))), "names a folder of this machine"),
    ],
)
def test_check_refuses_outputs(write, call, output, complaint):
    nb = executed()
    nb.cells[3].outputs = [output]  # not cleaned
    write(_01_bad=nb, _02_good=executed())
    status, said = call("check")
    assert status == 1
    assert complaint in said.split("02_good.ipynb:")[0]
    assert "02_good.ipynb:\n  fit to be committed" in said


def never_run(nb):
    nb.cells[3].execution_count = None


def run_twice(nb):
    nb.cells[3].execution_count = 9


def parameters_without_tag(nb):
    del nb.cells[2].metadata["tags"]


def derived_parameter(nb):
    nb.cells[2].source = "epochs = 2\nsteps = 10 * epochs"


def findings_without_tag(nb):
    del nb.cells[-1].metadata["tags"]


def injected_parameters(nb):
    nb.cells[3].metadata["tags"] = ["injected-parameters"]


def widget_state(nb):
    nb.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": {}}


def other_kernel(nb):
    nb.metadata["kernelspec"]["name"] = "gsa"


def timings(nb):
    nb.cells[3].metadata["execution"] = {"iopub.execute_input": "12:00"}


def other_set_up(nb):
    nb.cells[1].source += " "


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (never_run, "cell 3 (`x`): was not run"),
        (run_twice, "not once each from top to bottom"),
        (parameters_without_tag, "0 cells are tagged `parameters`"),
        (derived_parameter, "more than lines `name = literal`"),
        (findings_without_tag, "no cell is tagged `found`"),
        (injected_parameters, "injected parameters"),
        (widget_state, "change from run to run"),
        (other_kernel, "change from run to run"),
        (timings, "change from run to run"),
        (other_set_up, "the second cell (set-up) differs from that of 01_good.ipynb"),
    ],
)
def test_check_refuses_lessons(write, call, spoil, complaint):
    nb = executed()
    spoil(nb)
    write(_01_good=executed(), _02_bad=nb)
    status, said = call("check")
    assert status == 1
    assert complaint in said.split("02_bad.ipynb:")[1]
    assert "01_good.ipynb:\n  fit to be committed" in said


def test_the_committed_lessons_are_fit_to_be_committed(capsys):
    assert run.main(["check"]) == 0, "".join(capsys.readouterr())


@pytest.mark.parametrize(("share", "status"), [(0.5, 1), (2, 0)])
def test_a_lesson_that_takes_a_quarter_more_memory_than_the_table_says_fails(write, call, table, share, status):
    write(_01_first=lesson("1"))
    call("refresh")
    text = table.read_text()
    (took,) = [row["peak_mb"] for row in csv.DictReader(text.splitlines())]
    table.write_text(text.replace(f",{took},", f",{float(took) * share:.0f},"))
    found, said = call("tutorial", "--hold", str(table))
    assert (found, "FAILED: its peak is more than a quarter above" in said) == (status, bool(status))
