"""One address for the course, written by notebooks/links.py; and every link in lessons and pages points somewhere."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import clean
import links
import pytest

ROOT = Path(__file__).parents[2]
LESSONS = links.lessons(ROOT)
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")), ROOT / "results/README.md", ROOT / "data/README.md"]
TARGET = re.compile(r"\]\(([^()\s]+(?:\([^()\s]*\))?)\)")


def markdown(path: Path) -> str:
    if path.suffix != ".ipynb":
        return path.read_text()
    return "\n".join(cell.source for cell in clean.read(path).cells if cell.cell_type == "markdown")


def repository_and_file(address: str) -> tuple[str, str] | None:
    """(OWNER/NAME, path in it) that an address of a service opens; None for any other address."""
    parts = urlsplit(address)
    where, query = parts.path.strip("/"), parse_qs(parts.query)
    if parts.netloc == "kaggle.com" and where == "kernels/welcome":
        return repository_and_file(*query["src"])
    if parts.netloc == "mybinder.org" and where.startswith("v2/gh/"):
        owner, name, branch = where.removeprefix("v2/gh/").split("/")
        assert branch == links.BRANCH
        return f"{owner}/{name}", query["urlpath"][0].removeprefix("lab/tree/")
    if parts.netloc == "codespaces.new":
        return where, ".devcontainer/devcontainer.json"
    if parts.netloc == "colab.research.google.com" and where.startswith("github/"):
        where = where.removeprefix("github/")
    elif parts.netloc != "github.com":
        return None
    if blob := re.fullmatch(rf"([\w.-]+/[\w.-]+)/blob/{links.BRANCH}/(.+)", where):
        return blob[1], blob[2]
    return (where, "") if where.count("/") == 1 else None


@pytest.fixture
def fork(tmp_path):
    """A copy of everything that may name the address."""
    for path in links.files(ROOT):
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(exist_ok=True)
        shutil.copy(path, copy)
    return tmp_path


@pytest.mark.parametrize("path", [*PAGES, *LESSONS], ids=lambda path: path.name)
def test_every_relative_link_points_at_an_existing_file(path):
    relative = [target for target in TARGET.findall(markdown(path)) if not re.match(r"[a-z]+:|#", target)]
    missing = [target for target in relative if not (path.parent / target.partition("#")[0]).exists()]
    assert missing == []


@pytest.mark.parametrize("path", [ROOT / "README.md", *LESSONS], ids=lambda path: path.name)
def test_four_badges_open_the_course_at_an_existing_file(path):
    badges = re.findall(r"\[!\[Open in (\w+)\]\((\S+)\)\]\((\S+)\)", markdown(path))
    assert [name for name, _, _ in badges] == ["Colab", "Kaggle", "Binder", "Codespaces"]
    opened = {name: repository_and_file(address) for name, _, address in badges}
    assert {repository for repository, _ in opened.values()} == {links.current()}
    assert all((ROOT / file).exists() for _, file in opened.values())
    if path in LESSONS:
        assert {opened[name][1] for name in ("Colab", "Kaggle", "Binder")} == {f"notebooks/{path.name}"}


def test_the_committed_files_name_one_address_and_carry_their_own_badges():
    assert links.written(ROOT, links.current()) == {}


def test_a_forks_badges_set_up_cells_and_files_lead_to_the_fork_and_nothing_else_does(fork):
    old = links.current(fork)
    assert links.main(["someone/else"], fork) == 0
    assert links.current(fork) == "someone/else"
    texts = {path: path.read_text() for path in links.files(fork)}
    assert [path for path, text in texts.items() if old in text] == []
    for path in links.lessons(fork):
        nb = clean.read(path)
        assert 'address = "https://github.com/someone/else"' in nb.cells[1].source
        opened = [repository_and_file(target) for target in TARGET.findall(nb.cells[0].source)]
        assert sum(found is not None and found[0] == "someone/else" for found in opened) == 4
        assert clean.problems(nb) == []
    assert 'repository-code: "https://github.com/someone/else"' in (fork / "CITATION.cff").read_text()


def test_writing_the_same_address_again_changes_nothing_and_back_restores_every_byte(fork):
    before = {path: path.read_text() for path in links.files(fork)}
    links.main(["someone/else.github.io"], fork)
    assert links.written(fork, "someone/else.github.io") == {}
    links.main([links.current(ROOT)], fork)
    assert {path: path.read_text() for path in links.files(fork)} == before


def test_another_repository_whose_name_begins_alike_is_left_alone(fork):
    other = f"https://github.com/{links.current(fork)}-data and https://github.com/{links.current(fork)}.git"
    (fork / "docs/extra.md").write_text(other)
    links.main(["someone/else"], fork)
    assert (fork / "docs/extra.md").read_text() == (
        f"https://github.com/{links.current(ROOT)}-data and https://github.com/someone/else.git"
    )


def test_a_lesson_without_badges_is_found_and_gets_its_own(fork):
    path = links.lessons(fork)[2]
    nb = clean.read(path)
    title, _, _, *rest = nb.cells[0].source.split("\n")
    nb.cells[0].source = "\n".join([title, *rest])
    path.write_text(clean.text(nb))
    assert list(links.written(fork, links.current(fork))) == [path]
    links.main([links.current(fork)], fork)
    assert path.read_text() == LESSONS[2].read_text()


@pytest.mark.parametrize(
    "address",
    [
        "some-one/el.se",
        "https://github.com/some-one/el.se",
        "https://token@github.com/some-one/el.se.git",
        "git@github.com:some-one/el.se.git\n",
        "ssh://git@github.com/some-one/el.se/",
    ],
)
def test_an_origin_in_any_spelling_is_read(address):
    assert links.owner_and_name(address) == "some-one/el.se"


@pytest.mark.parametrize("address", ["owner", "https://gitlab.com/owner/name.git", "a/b/c", "/home/me/course", "a b/c"])
def test_what_is_no_repository_on_github_is_refused_by_name(address, fork, capsys):
    assert links.main([address], fork) == 2
    said = capsys.readouterr().err
    assert f"REPO is {address!r}; expected a repository on GitHub: make links REPO=owner/name" in said
    assert links.written(fork, links.current(ROOT)) == {}


def test_without_an_origin_make_says_what_to_pass(fork):
    subprocess.run(["git", "init", "--quiet"], cwd=fork, check=True)
    shutil.copy(ROOT / "Makefile", fork)
    shutil.copy(ROOT / "notebooks/links.py", fork / "notebooks")
    asked = ["make", "links", f"PYTHON={sys.executable}"]
    done = subprocess.run(asked, cwd=fork, capture_output=True, text=True)
    assert done.returncode
    assert (
        "there is no git remote called origin; expected a repository on GitHub: make links REPO=owner/name"
        in done.stderr
    )
    subprocess.run(["git", "remote", "add", "origin", "git@github.com:from/origin.git"], cwd=fork, check=True)
    subprocess.run(asked, cwd=fork, check=True, capture_output=True)
    assert links.current(fork) == "from/origin"
