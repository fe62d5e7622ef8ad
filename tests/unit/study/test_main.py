"""The command: python -m gsa_utils.study."""

import re
import subprocess
import sys

from gsa_utils.study import __main__ as command


def test_the_command_lists_what_is_missing_and_runs_nothing(tmp_path, capsys, write_grid):
    assert command.main([str(write_grid(tmp_path)), "--list"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("12 runs, 12 of them missing")
    assert said.count("Recipe(") == 12
    assert not (tmp_path / "runs.csv").exists()


def test_the_command_says_what_is_wrong_and_how_many_failed(tmp_path, capsys, write_grid):
    assert command.main([str(tmp_path / "nothing.toml")]) == 2
    assert "nothing.toml" in capsys.readouterr().err
    config = write_grid(tmp_path, lambda grid: grid.replace('"mlp"', '"region"').replace("[0, 1, 2, 3]", "0"))
    assert command.main([str(config), "--jobs", "1"]) == 0
    assert "3 runs done, 0 failed" in capsys.readouterr().out
    failing = write_grid(
        tmp_path, lambda grid: grid.replace('"free"', '"eca"').replace("[0, 1, 2, 3]", "0") + 'at = "nowhere"'
    )
    assert command.main([str(failing), "--jobs", "1"]) == 1
    captured = capsys.readouterr()
    assert "1 failed" in captured.out
    assert "at: got 'nowhere'" in captured.err


def test_the_command_names_the_file_that_a_full_disk_left_unwritten(tmp_path, capsys, write_grid, room_for):
    config = write_grid(
        tmp_path, lambda grid: grid.replace("[0, 1, 2, 3]", "0").replace('["none", "mlp", "free"]', '"none"')
    )
    with room_for(100):
        assert command.main([str(config), "--jobs", "1"]) == 2
    assert re.search(r"\.npy could not be written \(File too large\)", capsys.readouterr().err)
    assert command.main([str(config), "--jobs", "1"]) == 0
    assert "1 runs done, 0 failed" in capsys.readouterr().out


def test_an_interrupted_command_says_how_to_go_on(tmp_path, capsys, monkeypatch, write_grid):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "run_all", interrupted)
    assert command.main([str(write_grid(tmp_path))]) == 130
    assert "interrupted with 0 runs done; the same command goes on" in capsys.readouterr().err


def test_the_help_needs_no_notebook():
    said = subprocess.run(
        [sys.executable, "-m", "gsa_utils.study", "--help"], capture_output=True, text=True, check=True
    )
    assert "usage: python -m gsa_utils.study" in said.stdout
    assert "[[grid]]" in said.stdout
