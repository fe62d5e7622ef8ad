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


def pytest_terminal_summary(terminalreporter):
    """The exercises' checks can be fooled, or refuse what is right: how many answers were tried, and with what end."""
    tried = {}
    for kind, name in ANSWERS.items():
        passed, failed = (
            sum(f"::{name}" in report.nodeid for report in terminalreporter.stats.get(end, []))
            for end in ("passed", "failed")
        )
        tried[kind] = f"{passed + failed} {kind} answers, {failed} {ENDS[kind]}"
    if any(not line.startswith("0 ") for line in tried.values()):
        terminalreporter.write_line(f"Exercise checks: {'; '.join(tried.values())}")
