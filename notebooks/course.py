"""Copies of the lessons to teach from: `make course` writes build/course.

student/     no solutions, no answers, no outputs; hints stay
instructor/  solutions in their cells, executed, below the lesson's notes of docs/teaching.md
slides/      a page a lesson, a slide a section: its question, its figure, its verdict in one sentence; needs no network
"""

import argparse
import copy
import html
import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import clean
import nbformat
import run
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell

ROOT = Path(__file__).resolve().parents[1]
TOLD = re.compile(r"<details><summary>(?:Solution|Answer)</summary>.*?</details>\n*", re.DOTALL)
SOLUTION = re.compile(r"<summary>Solution</summary>\s*```python\n(.*?)```", re.DOTALL)
TITLE, QUESTION = r"^# (.+)$", r"^\*\*The question\.\*\* (.+)$"
# Not a question, an answer's letter, or "Before you run it:".
VERDICT = re.compile(r"^\*\*(?!\d\.|[abc]\.\*)([^*]+?[^:*])\*\*", re.MULTILINE)
STYLE = """
body { font: 1.6em/1.4 sans-serif; margin: 0; color: #222; background: white; }
section { min-height: 100vh; box-sizing: border-box; padding: 4vh 6vw; break-after: page; }
h1, h2 { font-weight: 600; line-height: 1.2; }
img { max-width: 100%; max-height: 60vh; }
"""


@dataclass
class Slide:
    title: str
    verdict: str = ""
    picture: str = ""  # a PNG in base64
    alt: str = ""


def solved(nb: NotebookNode) -> NotebookNode:
    """A copy in which each untouched exercise holds the folded solution; its check stays."""
    nb = copy.deepcopy(nb)
    solutions = [found[1] for cell in nb.cells if (found := SOLUTION.search(cell.source))]
    untouched = [cell for cell in nb.cells if cell.cell_type == "code" and "your turn" in cell.source]
    for cell, solution in zip(untouched, solutions, strict=True):
        cell.source = f"{solution}\n\n{cell.source.splitlines()[-1]}"
    return nb


def student(nb: NotebookNode) -> NotebookNode:
    nb = copy.deepcopy(nb)
    for cell in nb.cells:
        if cell.cell_type == "markdown":
            cell.source = TOLD.sub("", cell.source).rstrip()
        else:
            cell.outputs, cell.execution_count = [], None
    return nb


def instructor(nb: NotebookNode, notes: str) -> NotebookNode:
    nb = solved(nb)
    nb.cells.insert(1, new_markdown_cell(f"## Notes for the instructor\n\n{notes}", id="instructor-notes"))
    return nb


def notes_of(lesson: str) -> str:
    """The section of docs/teaching.md that has the lesson's number.

    Raises:
        ValueError: there is none.
    """
    page = (ROOT / "docs" / "teaching.md").read_text(encoding="utf-8")
    found = re.search(rf"^## {lesson[:2]}\n\n(.*?)(?=^## |\Z)", page, re.DOTALL | re.MULTILINE)
    if not found:
        raise ValueError(f"docs/teaching.md has no section {lesson[:2]}")
    return found[1].strip()


def slides(nb: NotebookNode) -> list[Slide]:
    """One for the lesson with its question, one for each section that has a verdict or a figure."""
    title, question = (re.search(line, nb.cells[0].source, re.MULTILINE)[1] for line in (TITLE, QUESTION))
    found = [Slide(title, question)]
    for cell in nb.cells[1:]:
        if cell.cell_type == "markdown":
            for part in re.split(r"^(?=## )", cell.source, flags=re.MULTILINE):
                if part.startswith("## "):
                    found.append(Slide(part.splitlines()[0].removeprefix("## ")))
                for verdict in VERDICT.findall(part):
                    found[-1].verdict = verdict
        elif not found[-1].picture:
            found[-1].picture, found[-1].alt = next(_pictures(cell), ("", ""))
    return [found[0], *(slide for slide in found[1:] if slide.picture or slide.verdict)]


def _pictures(cell: NotebookNode) -> Iterator[tuple[str, str]]:
    for output in cell.get("outputs", []):
        if "image/png" in output.get("data", {}):
            alt = output.get("metadata", {}).get("image/png", {}).get("alt", "")
            yield output.data["image/png"].replace("\n", ""), alt


def page(found: list[Slide]) -> str:
    """A file that needs no other."""
    title = html.escape(found[0].title)
    parts = []
    for number, slide in enumerate(found):
        heading = "h2" if number else "h1"
        parts.append(f"<section><{heading}>{html.escape(slide.title)}</{heading}>")
        if slide.picture:
            parts.append(f'<p><img alt="{html.escape(slide.alt)}" src="data:image/png;base64,{slide.picture}"></p>')
        verdict = re.sub(r"`(.+?)`", r"<code>\1</code>", html.escape(slide.verdict))
        parts.append(f"<p>{verdict}</p></section>")
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>'
    body = "".join(parts)
    return f'<!doctype html><html lang="en"><head>{head}<style>{STYLE}</style></head><body>{body}</body></html>'


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "course")
    parser.add_argument("--only", nargs="+", metavar="03", help="lessons whose names begin like this")
    options = parser.parse_args(arguments)
    out = options.out.resolve()
    for name in ("student", "slides"):
        (out / name).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for path in run.lessons(run.HERE, options.only):
            nb = clean.read(path)
            (out / "student" / path.name).write_text(clean.text(student(nb)), encoding="utf-8")
            (out / "slides" / f"{path.stem}.html").write_text(page(slides(nb)), encoding="utf-8")
            nbformat.write(instructor(nb, notes_of(path.stem)), Path(folder, path.name))
        return run.tutorial(Path(folder), None, {}, out / "instructor", run.CELL_TIMEOUT, jobs=2)


if __name__ == "__main__":
    sys.exit(main())
