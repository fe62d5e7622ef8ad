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
