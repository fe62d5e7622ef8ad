"""Annotated types and tensor shapes are checked whenever a test calls the package (by jaxtyping and beartype)."""

import pytest
from jaxtyping import config, install_import_hook

install_import_hook("gsa_utils", "numeric_tower.check")


class RefusedByThePackage(pytest.RaisesExc):
    """`pytest.raises`, within which annotations are not checked: wrong input is for the package itself to refuse."""

    def __enter__(self):
        self.before = config.jaxtyping_disable
        config.update("jaxtyping_disable", True)
        return super().__enter__()

    def __exit__(self, *error):
        config.update("jaxtyping_disable", self.before)
        return super().__exit__(*error)


pytest.raises = RefusedByThePackage


@pytest.fixture
def unchecked(request):
    """For what can't be checked: a stand-in of another type, or a model that torch compiles."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)


ANSWERS = {"wrong": "test_a_wrong_answer_", "right": "test_a_right_answer_", "folded": "test_the_folded_solution_"}
ENDS = {"wrong": "accepted or not rejected by name", "right": "refused", "folded": "refused"}


# Where inputs are bad and things break; a test is one case, or as many as it says that it tried.
BAD = (
    "test_any_input",
    "test_bad_input",
    "test_download",
    "test_files",
    "test_checkpoints",
    "test_saved",
    "test_folder",
)


def pytest_terminal_summary(terminalreporter):
    """How many answers the exercises' checks judged, and how many bad inputs and faults were tried."""
    reports = {end: terminalreporter.stats.get(end, []) for end in ("passed", "failed")}

    def count(of, case=lambda report: 1):
        return [sum(case(report) for report in found if of(report.nodeid)) for found in reports.values()]

    answers = {kind: count(lambda nodeid, name=name: f"::{name}" in nodeid) for kind, name in ANSWERS.items()}
    if any(map(any, answers.values())):
        said = (f"{sum(ends)} {kind} answers, {ends[1]} {ENDS[kind]}" for kind, ends in answers.items())
        terminalreporter.write_line(f"Exercise checks: {'; '.join(said)}")
    bad = count(lambda nodeid: any(f"/{name}.py::" in nodeid for name in BAD), _cases)
    if any(bad):
        terminalreporter.write_line(f"Bad inputs and faults: {sum(bad)} cases, {bad[1]} in tests that failed")


def _cases(report):
    return dict(report.user_properties).get("cases", 1)
