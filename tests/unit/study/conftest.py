"""A small grid in a file."""

from contextlib import contextmanager

import pytest

GRID = """
[budget]
size = 16
train_images = 12
valid_images = 12
epochs = 1
rank = 4
[[grid]]
dataset = "phantom-chest"
attention = ["none", "mlp", "free"]
seed = [0, 1, 2, 3]
"""


@pytest.fixture
def write_grid():
    """Writes the grid, 12 runs of a second or less each, or what `change` makes of it; gives the file's path."""

    def write(folder, change=lambda grid: grid):
        path = folder / "grid.toml"
        path.write_text(change(GRID))
        return path

    return write


@pytest.fixture
def room_for():
    """Within `with room_for(bytes):` no file gets longer than so many bytes, as if the disk were full."""
    resource = pytest.importorskip("resource", reason="no limit on the size of a file there")

    @contextmanager
    def limited(bytes_left):
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_left, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limited
