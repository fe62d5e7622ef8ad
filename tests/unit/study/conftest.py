"""A small grid in a file."""

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
