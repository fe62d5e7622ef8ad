"""A grid in a file: its recipes and their order."""

from itertools import islice

import pytest

from gsa_utils.study.grid import load_grid


def test_a_grid_is_every_combination_seed_by_seed(tmp_path, write_grid):
    recipes = load_grid(write_grid(tmp_path))
    assert len(recipes) == 12
    assert [recipe.seed for recipe in recipes] == [seed for seed in range(4) for _ in range(3)]
    assert {recipe.attention for recipe in islice(recipes, 3)} == {"none", "mlp", "free"}
    assert all(recipe.size == 16 and recipe.epochs == 1 for recipe in recipes)


def test_what_two_tables_have_in_common_is_run_once(tmp_path, write_grid):
    more = '[[grid]]\ndataset = "phantom-chest"\nattention = ["mlp", "logistic"]\nseed = 0\n'
    assert len(load_grid(write_grid(tmp_path, lambda grid: grid + more))) == 13


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (
            lambda grid: grid.replace("attention =", "atention ="),
            "config: got 'atention', expected .* did you mean 'attention'",
        ),
        (lambda grid: grid.replace('"mlp"', '"mpl"'), "attention: got 'mpl'.* did you mean 'mlp'"),
        (lambda grid: grid.replace("[budget]", "[budgets]"), "config: got 'budgets'.* did you mean 'budget'"),
        (lambda grid: grid.replace("[0, 1, 2, 3]", "[]"), "seed: got an empty list"),
        (lambda grid: grid.replace("epochs = 1", 'epochs = "one"'), "epochs: got 'one', expected a whole number"),
        (lambda grid: grid.replace("rank = 4", "rank = 4.5"), "rank: got 4.5, expected a whole number"),
        (lambda grid: grid + "valid_images = 0\n", "valid_images: got 0, expected a whole number"),
        (lambda grid: grid.partition("[[grid]]")[0], "no \\[\\[grid\\]\\] table"),
        (lambda grid: grid + "=", "expected a TOML file"),
        (lambda grid: "grid = [1, 2]\n", r"config: .*grid = \[1, 2\], expected \[\[grid\]\] tables"),
        (lambda grid: "grid = [[1]]\n", r"config: .*grid = \[\[1\]\], expected \[\[grid\]\] tables"),
        (
            lambda grid: 'budget = 3\n[[grid]]\ndataset = "phantom-chest"\n',
            "no \\[\\[grid\\]\\] table",
        ),
        (lambda grid: grid + 'shuffled = "no"\n', "shuffled: got 'no', expected True or False"),
        (lambda grid: grid + "shuffled = 0\n", "shuffled: got 0, expected True or False"),
        (lambda grid: grid + 'keep = "no"\n', "keep: got 'no', expected True or False"),
        (lambda grid: grid + "lr = true\n", "lr: got True, expected a positive number"),
        (lambda grid: grid + "lr = [1e-3, inf]\n", "lr: got inf, expected a positive number"),
        (lambda grid: grid + "lr = nan\n", "lr: got nan, expected a positive number"),
        (lambda grid: grid + "at = 3\n", "at: got 3, expected a place by name"),
        (lambda grid: grid + 'at = [["late"]]\n', r"at: got \['late'\], expected a place by name"),
        (lambda grid: grid + "fold = true\n", "fold: got True, expected a whole number"),
        (lambda grid: grid.replace("[0, 1, 2, 3]", "true"), "seed: got True, expected a whole number"),
        (lambda grid: grid.replace("[0, 1, 2, 3]", "[[]]"), r"seed: got \[\], expected a whole number"),
        (lambda grid: grid.replace('"phantom-chest"', "2020-01-01"), "dataset: got datetime.date"),
    ],
)
def test_a_grid_with_a_mistake_is_refused_by_name(tmp_path, change, complaint, write_grid):
    with pytest.raises(ValueError, match=complaint):
        load_grid(write_grid(tmp_path, change))


def test_a_grid_that_windows_saved_is_read(tmp_path, write_grid):
    plain, marked = load_grid(write_grid(tmp_path)), tmp_path / "marked.toml"
    marked.write_bytes(b"\xef\xbb\xbf" + (tmp_path / "grid.toml").read_bytes().replace(b"\n", b"\r\n"))
    assert load_grid(marked) == plain


@pytest.mark.parametrize(("encoding", "byte"), [("latin-1", "0xe9"), ("utf-16", "0xff")])
def test_a_grid_in_another_encoding_is_refused_with_its_path_and_the_byte(tmp_path, write_grid, encoding, byte):
    path = write_grid(tmp_path, lambda grid: grid + "# é\n")
    path.write_bytes(path.read_text(encoding="utf-8").encode(encoding))
    with pytest.raises(ValueError, match=rf"config: got .*grid\.toml, where byte \d+ \({byte}\) is no UTF-8"):
        load_grid(path)


def test_a_grid_that_is_no_file_is_named(tmp_path):
    with pytest.raises(OSError, match=r"nothing\.toml"):
        load_grid(tmp_path / "nothing.toml")
    with pytest.raises(ValueError, match="path: got NoneType None, expected a path"):
        load_grid(None)
