"""The lessons' second cell where a learner may run it: without a checkout, PyTorch or network, in a read-only home.

Slow, as each case is a process of its own: what it imports, and from where, is what is tested.
"""

import os
import shutil
import subprocess
import sys
from importlib.metadata import PathDistribution
from pathlib import Path
from types import SimpleNamespace

import clean
import launch
import links
import pytest
import run

ROOT = Path(__file__).parents[2]
LESSONS = run.lessons(ROOT / "notebooks")
SET_UP = clean.read(LESSONS[0]).cells[1].source
# As a notebook would, without the seconds that a kernel takes to start.
PROGRAM = """
import os, sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
done = shell.run_cell(sys.argv[1])
print("ended in", os.getcwd())
print("package of", __import__("gsa_utils").__path__[0] if done.success else None)
"""


def _git(*words, cwd):
    name = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "init.defaultBranch=main"]
    subprocess.run(["git", *name, *words], cwd=cwd, check=True, capture_output=True)


@pytest.fixture(scope="module")
def github(tmp_path_factory):
    """A folder that git takes for GitHub: it holds this course, the notebooks left out."""
    folder = tmp_path_factory.mktemp("github")
    course = folder / links.current()
    shutil.copytree(ROOT / "gsa_utils", course / "gsa_utils", ignore=shutil.ignore_patterns("__pycache__"))
    (course / "notebooks").mkdir()
    (course / "results").mkdir()
    for name in ("notebooks/launch.py", "pyproject.toml", "results/lessons.csv"):
        shutil.copy(ROOT / name, course / name)
    _git("init", cwd=course)
    _git("add", ".", cwd=course)
    _git("commit", "-m", "the course", cwd=course)
    return folder


@pytest.fixture(scope="module")
def platform(tmp_path_factory):
    """Gives a folder with everything that is installed here but the course, and but what is named."""

    def platform(*missing):
        folder = tmp_path_factory.mktemp("platform")
        for entry in map(Path, sys.path):
            if entry.name == "site-packages":
                for package in entry.iterdir():
                    if not package.name.startswith(("__editable__", "gsa_utils", *missing)):
                        (folder / package.name).symlink_to(package)
        return folder

    return platform


@pytest.fixture(scope="module")
def whole(platform):
    return platform()


@pytest.fixture
def cell(github):
    """Runs the set-up cell, or so much of it, in a folder under the packages of a platform; gives what it printed."""

    def cell(folder, packages, source=SET_UP, before=(), **environment):
        mirror = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_VALUE_0": "https://github.com/"}
        mirror["GIT_CONFIG_KEY_0"] = f"url.file://{environment.pop('github', github)}/.insteadOf"
        clean_environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        return subprocess.run(
            [*before, sys.executable, "-S", "-c", PROGRAM, source],  # -S: nothing of the tests' own environment
            cwd=folder,
            env=clean_environment | mirror | {"PYTHONPATH": str(packages), "NO_COLOR": "1"} | environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    return cell


IMPORTED = SET_UP.replace("from gsa_utils import lessons\n\nlessons.set_up()", "import gsa_utils")
assert IMPORTED != SET_UP


def test_without_a_checkout_the_course_is_fetched_and_its_last_line_says_the_versions(cell, whole, tmp_path):
    said = cell(tmp_path, whole)
    assert f"ended in {tmp_path / 'gsa' / 'notebooks'}\n" in said
    assert f"package of {tmp_path / 'gsa' / 'gsa_utils'}\n" in said
    assert said.startswith("memory: ")
    assert "\ngsa_utils 0.1.0, torch " in said


def test_a_restarted_kernel_finds_what_was_fetched_and_fetches_nothing(cell, whole, tmp_path):
    cell(tmp_path, whole, IMPORTED)
    said = cell(tmp_path, whole, IMPORTED, github=tmp_path / "no network")
    assert f"ended in {tmp_path / 'gsa' / 'notebooks'}\n" in said


def test_a_cell_that_is_run_twice_stays_where_it_is(cell, whole, tmp_path):
    said = cell(tmp_path, whole, f"{IMPORTED}\n{IMPORTED}")
    assert f"ended in {tmp_path / 'gsa' / 'notebooks'}\n" in said


def test_an_installed_package_does_not_keep_the_lessons_from_being_fetched(cell, whole, tmp_path, github):
    site = tmp_path / "site"
    shutil.copytree(github / links.current() / "gsa_utils", site / "gsa_utils")
    said = cell(tmp_path, f"{whole}{os.pathsep}{site}", IMPORTED)
    assert f"ended in {tmp_path / 'gsa' / 'notebooks'}\n" in said
    assert f"package of {tmp_path / 'gsa' / 'gsa_utils'}\n" in said


def test_a_package_that_was_installed_from_a_checkout_leads_back_to_its_lessons(cell, whole, tmp_path):
    said = cell(tmp_path, f"{whole}{os.pathsep}{ROOT}", IMPORTED, github=tmp_path / "no network")
    assert f"ended in {ROOT / 'notebooks'}\n" in said
    assert not (tmp_path / "gsa").exists()


def test_in_a_checkout_nothing_is_fetched(cell, whole, tmp_path):
    said = cell(ROOT / "notebooks", whole, IMPORTED, github=tmp_path / "no network")
    assert f"ended in {ROOT / 'notebooks'}\n" in said
    assert f"package of {ROOT / 'gsa_utils'}\n" in said


@pytest.fixture
def no_rights():
    """Root may write anywhere; so started, it may not."""
    if not hasattr(os, "geteuid") or os.geteuid():
        return []
    if not shutil.which("setpriv"):
        pytest.skip("root may write anywhere, and there is no setpriv to start a process that may not")
    return ["setpriv", "--bounding-set", "-dac_override"]


def test_a_read_only_home_is_left_alone(cell, whole, tmp_path, no_rights):
    home = tmp_path / "home"
    home.mkdir(mode=0o555)
    said = cell(home, whole, before=no_rights, HOME=str(home))
    (ended,) = (line.removeprefix("ended in ") for line in said.splitlines() if line.startswith("ended in "))
    assert Path(ended).parts[-2:] == ("gsa", "notebooks")
    assert home not in Path(ended).parents
    assert f"package of {Path(ended).parent / 'gsa_utils'}\n" in said
    shutil.rmtree(Path(ended).parents[1])


def test_processes_started_by_a_lesson_find_the_package_too(cell, whole, tmp_path):
    child = "import subprocess, sys\nprint(subprocess.run([sys.executable, '-S', '-c', 'import gsa_utils; print(1)']))"
    said = cell(tmp_path, whole, f"{IMPORTED}\n{child}")
    assert "returncode=0" in said


def test_without_a_network_there_is_one_sentence(cell, whole, tmp_path):
    said = cell(tmp_path, whole, github=tmp_path / "no network")
    sentence, *rest = said.splitlines()
    assert sentence.startswith("The course could not be fetched (is the internet switched on?): ")
    assert "does not exist" in sentence or "not appear to be a git repository" in sentence
    assert rest[-2:] == [f"ended in {tmp_path}", "package of None"]
    assert "Traceback" not in said


def test_without_git_there_is_one_sentence(cell, whole, tmp_path):
    said = cell(tmp_path, whole, PATH=str(tmp_path))
    assert said.startswith("The course could not be fetched (is the internet switched on?): ")
    assert "not found" in said.splitlines()[0]
    assert len(said.splitlines()) == 3


def test_without_pytorch_there_is_one_sentence(cell, platform, tmp_path):
    said = cell(tmp_path, platform("torch"))
    assert said.startswith("PyTorch is not installed in this Python: ")
    assert len(said.splitlines()) == 3
    assert "package of None" in said


def _pip(monkeypatch, returncode=0, stderr=""):
    """What pip would have been asked for: its words, and the constraints."""
    asked = []

    def ran(command, **_):
        asked[:] = [command, Path(command[command.index("--constraint") + 1]).read_text().splitlines()]
        return subprocess.CompletedProcess(command, returncode, "", stderr)

    monkeypatch.setattr(subprocess, "run", ran)
    return asked


def test_only_what_is_missing_is_installed_and_nothing_else_may_change(monkeypatch, capsys):
    asked = _pip(monkeypatch)
    monkeypatch.setattr(launch, "_installed", lambda name: name not in ("anywidget", "captum"))
    monkeypatch.setattr(launch, "_import_from_here", lambda: None)
    launch.prepare()
    command, constraints = asked
    captum, anywidget = (launch.needed()[name] for name in ("captum", "anywidget"))
    assert command[-2:] == [captum, anywidget]
    assert f"torch=={launch.version('torch')}" in constraints
    assert f"ipywidgets=={launch.version('ipywidgets')}" in constraints
    assert "installing captum, anywidget; nothing that is installed is changed" in capsys.readouterr().out


def test_nothing_is_installed_where_nothing_is_missing(monkeypatch):
    asked = _pip(monkeypatch)
    monkeypatch.setattr(launch, "_import_from_here", lambda: None)
    launch.prepare()
    assert asked == []


def test_a_front_end_is_never_asked_for():
    assert {"jupyterlab", "papermill"}.isdisjoint(launch.needed())
    assert {"torch", "ipywidgets"} <= set(launch.needed())


@pytest.mark.parametrize(
    ("stderr", "why"),
    [
        ("WARNING: old\nERROR: No matching distribution found for captum>=0.8\n\n[notice] A new pip\n", "No matching "),
        ("ERROR: Cannot install captum because of x==1\nERROR: ResolutionImpossible: for help\n", "Cannot install "),
        ("error: externally-managed-environment\n\nx This environment is\nhint: See PEP 668\n", "externally-managed"),
        ("/usr/bin/python: No module named pip\n", "/usr/bin/python: No module named pip"),
        ("", "pip says nothing"),
    ],
)
def test_what_pip_complains_of_comes_back_as_one_sentence(monkeypatch, stderr, why):
    _pip(monkeypatch, 1, stderr)
    monkeypatch.setattr(launch, "_installed", lambda name: name != "captum")
    with pytest.raises(launch.Stop) as stopped:
        launch.prepare()
    said = str(stopped.value)
    assert said.startswith(f"captum>=0.8 could not be installed ({why}")
    assert said.endswith("): install them, and run this cell again.")
    assert stopped.value._render_traceback_() == [said]


def test_a_pytorch_that_is_too_old_is_said_in_one_sentence_and_another_package_in_a_line(monkeypatch, capsys):
    versions = {"ipywidgets": "7.7.1"}
    monkeypatch.setattr(launch, "version", lambda name: versions.get(name, "999"))
    monkeypatch.setattr(launch, "_import_from_here", lambda: None)
    launch.prepare()
    assert "and left as they are: ipywidgets 7.7.1 (>=8.1.5)" in capsys.readouterr().out
    versions["torch"] = "2.1.0+cu118"
    with pytest.raises(launch.Stop, match=r"PyTorch is too old here: torch 2.1.0\+cu118 \(>=2.8\), ipywidgets"):
        launch.prepare()


def test_another_copy_that_is_in_use_is_not_mixed_with_this_one(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "gsa_utils", SimpleNamespace(__file__=str(tmp_path / "gsa_utils/__init__.py")))
    with pytest.raises(launch.Stop, match="Another copy of the course is in use here .*: restart the kernel"):
        launch._import_from_here()


def test_the_course_comes_first_on_the_path_wherever_it_stood(monkeypatch):
    monkeypatch.setattr(sys, "path", ["/older", str(ROOT), "/other"])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["/older", str(ROOT)]))
    launch._import_from_here()
    assert sys.path == [str(ROOT), "/older", "/other"]
    assert os.environ["PYTHONPATH"] == os.pathsep.join([str(ROOT), "/older"])


def test_what_lies_half_fetched_or_by_chance_under_the_courses_name_is_passed_over(cell, whole, tmp_path):
    (tmp_path / "gsa/.git").mkdir(parents=True)
    said = cell(tmp_path, whole, IMPORTED)
    (ended,) = (Path(line.removeprefix("ended in ")) for line in said.splitlines() if line.startswith("ended in "))
    assert ended.parent.parent == tmp_path
    assert ended.parent.name.startswith("gsa.")
    assert f"package of {ended.parent / 'gsa_utils'}\n" in said


def test_distributions_that_pip_could_not_read_are_no_constraint(monkeypatch, tmp_path):
    texts = {"a": "Name: good\nVersion: 1.2+cu128", "b": "Name: odd\nVersion: unknown", "c": "Version: 1"}
    for folder, text in texts.items():
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "METADATA").write_text(f"Metadata-Version: 2.1\n{text}\n")
    monkeypatch.setattr(launch, "distributions", lambda: map(PathDistribution, sorted(tmp_path.iterdir())))
    assert list(launch.kept()) == ["good==1.2+cu128"]


@pytest.fixture
def gigabytes(monkeypatch, tmp_path):
    """Has as much memory free, and a container with such a limit (none: no container)."""
    (tmp_path / "results").mkdir()
    (tmp_path / "results/lessons.csv").write_text("lesson,seconds,peak_mb\n01_one,20,600\n02_two,30,1400\n")
    monkeypatch.setattr(launch, "COURSE", tmp_path)

    def gigabytes(free, limit=None, used=0, cached=0):
        memory = {"available": free * 10**9, "rss": 0}
        monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(**memory))
        monkeypatch.setattr("psutil.Process.memory_info", lambda _: SimpleNamespace(**memory))
        (tmp_path / "memory.max").write_text("max\n" if limit is None else f"{limit * 10**9}\n")
        (tmp_path / "memory.current").write_text(f"{(used + cached) * 10**9}\n")
        (tmp_path / "memory.stat").write_text(f"anon {used * 10**9}\ninactive_file {cached * 10**9}\nactive_file 0\n")
        monkeypatch.setattr(launch, "CGROUP", tmp_path)

    return gigabytes


def test_where_memory_is_enough_the_largest_need_is_stated(gigabytes):
    gigabytes(8)
    assert launch.memory() == "memory: enough for every lesson, the largest takes 1.4 GB"


@pytest.mark.parametrize(
    ("free", "limit", "used", "cached"), [(1, None, 0, 0), (8, 1, 0, 0), (1, 8, 0, 0), (8, 3, 2, 0), (8, 3, 2, 1)]
)
def test_lessons_that_need_more_memory_than_is_left_are_named_with_their_need(gigabytes, free, limit, used, cached):
    gigabytes(free, limit, used, cached)
    assert launch.memory() == (
        "memory: 1.0 GB are free, and the kernel may be ended without a word in lessons 02 (1.4 GB); "
        "shut down the kernels of other lessons"
    )


def test_binder_fetches_every_image_set_that_a_lesson_asks_for_when_its_image_is_built():
    script = (ROOT / ".binder/postBuild").read_text()
    asked = {name for path in LESSONS for name in run.image_sets(clean.parameters(clean.read(path)))}
    real = {name for name in asked if not name.startswith("phantom-")}
    assert real
    assert {name for name in real if f'"{name}"' not in script} == set()
