"""What a reader meets in every lesson: few words and figures, told to those who can't see them, and questions."""

import html
import math
import re
from pathlib import Path

import nbformat
import pytest
from nbconvert import HTMLExporter

from gsa_utils.widgets.standalone import MIME, script

LESSONS = sorted((Path(__file__).parents[2] / "notebooks").glob("[0-9][0-9]_*.ipynb"))
README = (LESSONS[0].parents[1] / "README.md").read_text(encoding="utf-8")
WORDS, FIGURES = 2500, 8
QUESTION = re.compile(
    r"\*\*\d\. .+?\*\*\n\n((?:- [abc]\) .+\n){3})\n"
    r"<details><summary>Answer</summary>\n\n\*\*([abc])\.\*\* (.+)\n\n</details>"
)


def words(lesson):
    return len(re.sub(r"```.*?```", "", prose(lesson), flags=re.DOTALL).split())


PATH = ["images", "pixel features", "classifier", "map", "CNN", "loss"]


def figures(lesson):
    cells = nbformat.read(lesson, as_version=4).cells
    return [output for cell in cells for output in cell.get("outputs", []) if "image/png" in output.get("data", {})]


def prose(lesson):
    cells = nbformat.read(lesson, as_version=4).cells
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.stem)
def test_a_lesson_is_read_in_a_quarter_of_an_hour(lesson):
    """2,500 words at most, code apart, and eight figures."""
    assert words(lesson) <= WORDS
    assert len(figures(lesson)) <= FIGURES


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.stem)
def test_a_lesson_shows_the_whole_path_at_its_top_and_where_it_is_itself(lesson):
    strip = next(line for line in prose(lesson).splitlines() if " → " in line)
    assert strip.replace("**", "").split(" → ") == PATH
    assert "**" in strip


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.stem)
def test_those_who_cannot_see_a_figure_find_its_sentence_in_vs_code_and_in_what_nbconvert_exports(lesson):
    """And on the site (tests/browser/test_site.py); JupyterLab has no place for it, captions below say the same."""
    shown = figures(lesson)
    assert all(output.metadata["vscode_altText"] == output.metadata["image/png"]["alt"] for output in shown)
    alts = [output.metadata["image/png"]["alt"] for output in shown]
    exporter = HTMLExporter(template_name="gsa", extra_template_basedirs=[str(lesson.parent / "templates")])
    page, _ = exporter.from_filename(str(lesson))
    inspectors = [output.data[MIME] for output in shown if MIME in output.data]
    assert all(script() in inspector for inspector in inspectors), "another script: make notebooks ARGS='--only 06'"
    assert page.count(script()) == len(inspectors)
    assert [html.unescape(alt) for alt in re.findall(r'<img alt="([^"]*)" [^>]*src="data:image/png', page)] == alts


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.stem)
def test_the_minutes_are_two_readings_and_the_exercises_here_and_in_the_readme(lesson):
    """At 200 words a minute, up to the next five."""
    exercises = re.findall(r"^### Exercise [^\n]*\((\d+) minutes", prose(lesson), re.MULTILINE)
    minutes = 5 * math.ceil((2 * words(lesson) / 200 + sum(map(int, exercises))) / 5)
    assert f"**Time and memory:** {minutes} minutes of" in prose(lesson)
    row = next(line for line in README.splitlines() if f"(notebooks/{lesson.name})" in line and line.startswith("|"))
    assert row.endswith(f"| {minutes} |")


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.stem)
def test_a_lesson_asks_three_questions_whose_answers_say_what_is_wrong_with_the_others(lesson):
    found = QUESTION.findall(prose(lesson).partition("## Three questions")[2])
    assert len(found) == 3
    for _, right, why in found:
        assert all(re.search(rf"\((not )?.*\b{wrong}\b.*\)", why) for wrong in "abc".replace(right, ""))


def test_the_right_answer_is_not_always_the_same_letter():
    rights = [right for lesson in LESSONS for _, right, _ in QUESTION.findall(prose(lesson))]
    assert all(8 <= rights.count(letter) <= 12 for letter in "abc")


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.stem)
def test_a_lesson_has_three_exercises_with_minutes_and_what_a_good_answer_is_where_nothing_checks(lesson):
    found = re.split(r"^### Exercise ", prose(lesson), flags=re.MULTILINE)[1:]
    assert len(found) >= 3
    for number, exercise in enumerate(found, start=1):
        assert re.match(rf"{int(lesson.stem[:2])}\.{number}[^\n]*\(\d+ minutes, [^\n]+\)\n", exercise)
        steps = re.findall("<summary>(.+?)</summary>", exercise)
        if "A good answer" not in exercise:
            assert steps[:3] == ["Hint 1", "Hint 2", "Solution"]
