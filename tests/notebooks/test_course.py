"""Copies to teach from: students get no solution, instructors all of them, slides need no network."""

import re

import clean
import course
import pytest
import run

LESSONS = {path.stem: clean.read(path) for path in run.lessons(run.HERE)}


def text(nb):
    return "\n".join(cell.source for cell in nb.cells)


def lines(code):
    """Those of a solution that nobody writes by chance."""
    return [line.strip() for line in code.splitlines() if len(line.strip()) > 30 and not line.startswith("def ")]


@pytest.mark.parametrize("lesson", LESSONS)
def test_a_student_copy_holds_no_solution_no_answer_and_no_output(lesson):
    nb = LESSONS[lesson]
    copied, solutions = course.student(nb), course.SOLUTION.findall(text(nb))
    given = "\n".join(cell.source for cell in nb.cells if "your turn" in cell.source)
    assert solutions
    own = [line for solution in solutions for line in lines(solution) if line not in given]
    assert [line for line in own if line in text(copied)] == []
    assert not re.search("<summary>(Solution|Answer)", text(copied))
    assert text(copied).count("<summary>Hint") == text(nb).count("<summary>Hint") > 0
    assert all(not cell.get("outputs") for cell in copied.cells)
    assert len(copied.cells) == len(nb.cells)


@pytest.mark.parametrize("lesson", LESSONS)
def test_an_instructor_copy_has_the_notes_and_the_solutions_in_their_cells(lesson):
    nb = LESSONS[lesson]
    copied = course.instructor(nb, course.notes_of(lesson))
    assert all(word in copied.cells[1].source for word in ("**Say:**", "**Misconception:**", "**Discuss:**"))
    code = "\n".join(cell.source for cell in copied.cells if cell.cell_type == "code")
    assert "your turn" not in code
    assert all(solution.strip() in code for solution in course.SOLUTION.findall(text(nb)))


@pytest.mark.parametrize("lesson", LESSONS)
def test_slides_show_sections_with_their_verdicts_and_ask_for_nothing_outside(lesson):
    found = course.slides(LESSONS[lesson])
    assert "?" in found[0].verdict
    assert 3 <= len(found) <= 12
    assert all(slide.verdict for slide in found)
    page = course.page(found)
    assert page.count("<section>") == len(found)
    assert all(slide.alt for slide in found if slide.picture)
    assert not re.search("(src|href)=.(?!data:)", page)


def test_a_lesson_without_notes_is_named():
    with pytest.raises(ValueError, match=r"teaching\.md has no section 99"):
        course.notes_of("99_new")


def test_the_command_writes_all_three_and_runs_the_solutions(tmp_path, capsys):
    """Slow, for a lesson is executed."""
    assert course.main(["--out", str(tmp_path), "--only", "02"]) == 0
    assert sorted(path.parent.name for path in tmp_path.rglob("02_*")) == ["instructor", "slides", "student"]
    assert "1 of 1 lessons ran to the end" in capsys.readouterr().out
    executed = clean.read(tmp_path / "instructor" / "02_pixels_as_samples.ipynb")
    printed = "".join(output.get("text", "") for cell in executed.cells for output in cell.get("outputs", []))
    assert "not started yet" not in printed
    assert len(re.findall(r"Exercise 2\.\d: right", printed)) == 2
