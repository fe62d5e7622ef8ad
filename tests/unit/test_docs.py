"""The hand-written pages: what they name is there."""

import json
import pkgutil
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def rows(page):
    """The cells of each row of a page's tables, but for the first two rows of each."""
    lines = (ROOT / "docs" / page).read_text(encoding="utf-8").splitlines()
    tables = [[part.strip() for part in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    dashes = [number for number, row in enumerate(tables) if set("".join(row)) <= set("- ")]
    return [row for number, row in enumerate(tables) if number not in dashes and number + 1 not in dashes]


TERMS = [(row[0], row[2]) for row in rows("glossary.md") if len(row) == 3]
SENTENCES = rows("abstract.md")


@pytest.mark.parametrize(("term", "lesson"), TERMS, ids=[term for term, _ in TERMS])
def test_a_word_of_the_glossary_is_in_the_lesson_that_it_names(term, lesson):
    (path,) = (ROOT / "notebooks").glob(f"{lesson}_*.ipynb")
    sources = ("".join(cell["source"]) for cell in json.loads(path.read_text(encoding="utf-8"))["cells"])
    assert term.lower() in "\n".join(sources).lower()


def test_the_glossary_is_in_order_and_has_each_word_once():
    words = [term.lower() for term, _ in TERMS]
    assert len(words) > 20
    assert words == sorted(set(words))


@pytest.mark.parametrize("row", SENTENCES, ids=[row[1][1:3] + row[2] for row in SENTENCES])
def test_each_sentence_of_the_abstract_has_a_lesson_code_and_a_test(row):
    _, lesson, code, test = row
    assert (ROOT / "docs" / re.search(r"\((.*)\)", lesson)[1]).exists()
    assert callable(pkgutil.resolve_name(code.strip("`")))
    name = code.strip("`").rpartition(".")[2]
    assert name in (ROOT / test.strip("`")).read_text(encoding="utf-8")


def test_links_between_pages_lead_somewhere():
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "data").glob("*.md")]
    links = [
        (page, link) for page in pages for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text("utf-8"))
    ]
    assert len(links) > 20
    assert [(page.name, link) for page, link in links if not (page.parent / link).exists()] == []
