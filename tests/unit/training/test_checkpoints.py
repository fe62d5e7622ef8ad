"""Runs that end by Ctrl-C, kill or full disk go on to the same bits; files that are not theirs are left alone."""

import hashlib
import io
import itertools
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from small_runs import FEATURES, TRAIN, attended, run, same_run, small_cnn
from torch import nn

from gsa_utils.attention import GlobalSpatialAttention
from gsa_utils.datasets.phantoms import make_phantom
from gsa_utils.evaluation.scores import evaluate
from gsa_utils.images import ImageSet
from gsa_utils.training import checkpoints, checks, loop

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def uninterrupted():
    return run()


def as_torch(thing):
    buffer = io.BytesIO()
    torch.save(thing, buffer)
    return buffer.getvalue()


def with_checksum(content):
    return content + hashlib.sha256(content).digest()


def interrupt(monkeypatch, after):
    """Ctrl-C in the epoch after so many whole ones."""
    calls = itertools.count()

    def evaluate_or_stop(*arguments, **rest):
        if next(calls) == after:
            raise KeyboardInterrupt
        return evaluate(*arguments, **rest)

    monkeypatch.setattr(checks, "evaluate", evaluate_or_stop)


def test_a_checkpoint_dir_changes_nothing(uninterrupted, tmp_path):
    assert same_run(run(checkpoint_dir=tmp_path / "new" / "folder"), uninterrupted)
    names = sorted(path.name for path in (tmp_path / "new" / "folder").glob("*.pt*"))
    assert names == ["checkpoint.before.pt", "checkpoint.pt"]
    assert same_run(run(checkpoint_dir=str(tmp_path / "text")), uninterrupted)


@pytest.mark.parametrize("after", [0, 1, 2, 3])
def test_an_interrupted_run_continues_to_the_same_bits(after, uninterrupted, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt(patch, after)
        with pytest.raises(KeyboardInterrupt):
            run(checkpoint_dir=tmp_path)
    trained, train_epoch = [], loop._train_epoch

    def spy(*arguments):
        trained.append(arguments[-1])
        return train_epoch(*arguments)

    monkeypatch.setattr(loop, "_train_epoch", spy)
    resumed = run(checkpoint_dir=tmp_path)
    assert trained == list(range(after, 4))  # it went on, and did not begin anew
    assert same_run(resumed, uninterrupted)
    assert resumed.seconds == pytest.approx(sum(row["seconds"] for row in resumed.history))


def test_a_run_interrupted_again_and_again_ends_at_the_same_bits(uninterrupted, tmp_path, monkeypatch):
    for _ in range(3):
        with monkeypatch.context() as patch:
            interrupt(patch, after=1)
            with pytest.raises(KeyboardInterrupt):
                run(checkpoint_dir=tmp_path)
    assert same_run(run(checkpoint_dir=tmp_path), uninterrupted)


@pytest.mark.parametrize("keep", ["loss", "auroc"])  # "last" is what the others here keep
def test_an_interrupted_run_keeps_what_it_would_have_kept(keep, tmp_path, monkeypatch):
    """The kept epoch is in the first sitting: its weights come from the file."""
    scores = [(0.5, 0.6), (0.1, 0.9), (0.3, 0.7), (0.4, 0.8)]  # loss and AUROC

    def scripted(*arguments, calls, **rest):
        loss, auroc = scores[next(calls)]
        return {"accuracy": 0.5, "loss": loss, "auroc": auroc}

    monkeypatch.setattr(checks, "evaluate", partial(scripted, calls=itertools.count()))
    whole = run(keep=keep)
    monkeypatch.setattr(checks, "evaluate", partial(scripted, calls=itertools.count()))
    run(keep=keep, checkpoint_dir=tmp_path, callbacks=[lambda run, _: len(run.history) == 2])
    resumed = run(keep=keep, checkpoint_dir=tmp_path)
    assert whole.kept_epoch == 1
    assert not torch.equal(whole.maps[1], whole.maps[3])
    assert same_run(resumed, whole)


@pytest.mark.parametrize("kind", ["frozen map", "frozen cnn", "map in the middle", "no map"])
def test_other_kinds_of_model_resume_to_the_same_bits_too(kind, tmp_path, monkeypatch):
    def build():
        if kind == "no map":
            return small_cnn()
        model = attended(at="second" if kind == "map in the middle" else None)
        if kind == "frozen map":
            model.attention.freeze()
        if kind == "frozen cnn":
            model.model.requires_grad_(False)
        return model

    with monkeypatch.context() as patch:
        interrupt(patch, after=2)
        with pytest.raises(KeyboardInterrupt):
            run(build(), checkpoint_dir=tmp_path)
    assert same_run(run(build(), checkpoint_dir=tmp_path), run(build()))


KILLED = """
import sys, time
sys.path.insert(0, {folder!r})
import torch
torch.set_num_threads({threads})
import small_runs as t
from gsa_utils.training import checkpoints, checks
evaluate = checks.evaluate
def slow(*arguments, **rest):
    time.sleep(0.02)
    return evaluate(*arguments, **rest)
checks.evaluate = slow
t.run(checkpoint_dir={checkpoints!r}, epochs=40)
"""


def test_a_run_killed_in_mid_training_continues_to_the_same_bits(tmp_path):
    """Slow (7 s) because it needs a process of its own to kill, and that has to import torch."""
    script = KILLED.format(
        folder=str(Path(__file__).parent), threads=torch.get_num_threads(), checkpoints=str(tmp_path)
    )
    process = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    try:
        wait_until = time.monotonic() + 120
        while not (tmp_path / "checkpoint.pt").exists():
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < wait_until, "no checkpoint after two minutes"
            time.sleep(0.01)
        time.sleep(0.3)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        process.stderr.close()
    done = len(torch.load(tmp_path / "checkpoint.pt", weights_only=True)["history"])
    assert 0 < done < 40
    assert same_run(run(checkpoint_dir=tmp_path, epochs=40), run(epochs=40))


def test_a_half_written_file_of_a_killed_run_is_ignored(uninterrupted, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt(patch, after=2)
        with pytest.raises(KeyboardInterrupt):
            run(checkpoint_dir=tmp_path)
    for name in ("checkpoint.pt.12345", f"checkpoint.pt.{os.getpid()}"):
        (tmp_path / name).write_bytes((tmp_path / "checkpoint.pt").read_bytes()[:500])
    assert same_run(run(checkpoint_dir=tmp_path), uninterrupted)


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on the size of a file there")
def test_a_full_disk_is_named_with_its_path_and_leaves_the_checkpoint_before_it(uninterrupted, tmp_path, monkeypatch):
    import resource

    with monkeypatch.context() as patch:
        interrupt(patch, after=2)
        with pytest.raises(KeyboardInterrupt):
            run(checkpoint_dir=tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.pt*")}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before["checkpoint.pt"]) // 2, hard))  # as if there were no room
    try:
        with pytest.raises(OSError, match=r"checkpoint_dir: .*checkpoint\.pt could not be written .*0\.\d MB needed"):
            run(checkpoint_dir=tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.pt*")} == before
    assert same_run(run(checkpoint_dir=tmp_path), uninterrupted)


# ---------------------------------------------------------------- two runs, one folder


def test_a_second_run_in_a_folder_that_is_in_use_is_refused_and_the_first_goes_on(uninterrupted, tmp_path):
    refused = []

    def begin_another(*_):
        with pytest.raises(
            RuntimeError, match=r"checkpoint_dir: another run is writing into .*a folder of its own"
        ) as no:
            run(checkpoint_dir=tmp_path, seed=8)
        refused.append(no)

    first = run(checkpoint_dir=tmp_path, callbacks=[begin_another])
    assert len(refused) == 4
    assert same_run(first, uninterrupted)


def test_an_interrupted_run_gives_its_folder_back_while_its_traceback_is_kept(uninterrupted, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt(patch, after=1)
        with pytest.raises(KeyboardInterrupt) as kept:
            run(checkpoint_dir=tmp_path)
    assert same_run(run(checkpoint_dir=tmp_path), uninterrupted)
    assert kept.traceback


def test_a_finished_run_is_returned_at_once(uninterrupted, tmp_path, monkeypatch):
    first = run(checkpoint_dir=tmp_path)
    monkeypatch.setattr(loop, "_train_epoch", None)  # a call would fail
    monkeypatch.setattr(checks, "evaluate", None)
    again = run(checkpoint_dir=tmp_path)
    assert same_run(again, uninterrupted)
    assert again.history == first.history
    assert again.seconds == first.seconds
    assert not again.model.training


def test_a_file_has_the_entries_that_older_files_of_this_version_have(tmp_path):
    """Else the runs that people have saved could not go on."""
    run(epochs=1, checkpoint_dir=tmp_path)
    saved = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    learned = ["model", "optimiser", "kept", "scheduler"]
    assert list(saved) == ["identity", *learned, "history", "maps", "seconds", "kept_epoch"]
    settings = ["epochs", "batch_size", "lr", "attention_lr", "weight_decay", "seed", "keep", "processes", "precision"]
    of_model = ["weights' names and shapes", "layers", "trained weights", "place of the map", "pixel features"]
    identity = [*settings, "train images", "valid images", *of_model, "version of the maps"]
    assert list(saved["identity"]) == identity
    assert saved["identity"]["version of the maps"] == 2


@pytest.mark.parametrize("entry", [None, 1])
def test_a_file_of_an_earlier_version_of_the_maps_is_refused_by_name_and_left_alone(entry, tmp_path):
    run(epochs=1, checkpoint_dir=tmp_path)
    path = tmp_path / "checkpoint.pt"
    saved = torch.load(path, weights_only=True)
    del saved["identity"]["version of the maps"]  # as there was none
    if entry is not None:
        saved["identity"]["version of the maps"] = entry
    path.write_bytes(with_checksum(as_torch(saved)))
    before = path.read_bytes()
    words = rf"checkpoint_dir: .*checkpoint\.pt holds another run with version of the maps {entry}, expected .* maps 2"
    with pytest.raises(ValueError, match=words):
        run(epochs=1, checkpoint_dir=tmp_path)
    assert path.read_bytes() == before


def test_a_file_from_before_checksums_is_refused_by_name_and_left_alone(tmp_path):
    run(epochs=1, checkpoint_dir=tmp_path)
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(as_torch(torch.load(path, weights_only=True)))
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"checkpoint_dir: .*checkpoint\.pt .*an earlier version of fit wrote it"):
        run(epochs=1, checkpoint_dir=tmp_path)
    assert path.read_bytes() == before


# ---------------------------------------------------------------- files of other runs, and damaged ones

OTHER_TRAIN, OTHER_VALID = make_phantom("phantom-chest", 24, 16, seed=7), make_phantom("phantom-chest", 14, 16, seed=8)
RELABELLED = ImageSet(TRAIN.images, TRAIN.labels.flip(0), TRAIN.class_names)


def with_frozen(part):
    model = attended()
    part(model).requires_grad_(False)
    return model


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        (lambda: {"epochs": 5}, "epochs"),
        (lambda: {"batch_size": 6}, "batch_size"),
        (lambda: {"lr": 2e-3}, "lr"),
        (lambda: {"attention_lr": 2e-3}, "attention_lr"),
        (lambda: {"weight_decay": 1e-3}, "weight_decay"),
        (lambda: {"keep": "loss"}, "keep"),
        (lambda: {"seed": 4}, "seed"),
        (lambda: {"train": OTHER_TRAIN}, "train images"),
        (lambda: {"train": RELABELLED}, "train images"),
        (lambda: {"valid": OTHER_VALID}, "valid images"),
        (lambda: {"model": attended(hidden=4)}, "names and shapes"),
        (lambda: {"model": small_cnn()}, "names and shapes"),
        (lambda: {"model": attended(FEATURES.flip(1))}, "pixel features"),
        (lambda: {"model": attended(at="first")}, "place of the map second"),
        (lambda: {"model": with_frozen(lambda model: model.model.first)}, "trained weights"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_another_run_in_the_same_folder_is_refused_and_the_file_left_alone(changed, word, tmp_path):
    run(attended(at="second") if "second" in word else None, checkpoint_dir=tmp_path)
    before = (tmp_path / "checkpoint.pt").read_bytes()
    with pytest.raises(
        ValueError, match=rf"checkpoint_dir: .*checkpoint\.pt holds another run with .*{word}.*expected"
    ):
        run(**changed(), checkpoint_dir=tmp_path)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


@pytest.mark.parametrize("other", [nn.Dropout(0.5), nn.Sequential(nn.Dropout(0.3), nn.Tanh())])
def test_layers_without_weights_are_compared_too(other, tmp_path):
    run(epochs=1, checkpoint_dir=tmp_path)
    model = attended()
    model.model.drop = other
    with pytest.raises(ValueError, match="checkpoint_dir: .* holds another run with layers"):
        run(model, epochs=1, checkpoint_dir=tmp_path)


def test_numbers_of_numpy_are_settings_like_any_others(uninterrupted, tmp_path):
    settings = {"epochs": np.int64(4), "lr": np.float64(1e-3), "attention_lr": np.float64(1e-2)}
    run(**settings, seed=np.int32(3), checkpoint_dir=tmp_path)
    assert same_run(run(checkpoint_dir=tmp_path), uninterrupted)


def test_features_of_a_map_without_attend_are_compared_too(tmp_path):
    def build(features):
        torch.manual_seed(0)
        return nn.Sequential(GlobalSpatialAttention(features, 0), small_cnn())

    run(build(FEATURES), checkpoint_dir=tmp_path)
    with pytest.raises(ValueError, match="pixel features"):
        run(build(FEATURES.flip(1)), checkpoint_dir=tmp_path)


class NotPlain:
    """Only a whole pickle, which can run any code, could bring this back."""


@pytest.mark.parametrize(
    "damage",
    [
        lambda good: good[: len(good) // 2],
        lambda good: good[:-1],
        lambda good: b"",
        lambda good: b"not a checkpoint at all",
        lambda good: good[:-200] + bytes(200),
        lambda good: with_checksum(as_torch({"weight": torch.zeros(2)})),
        lambda good: with_checksum(as_torch([1, 2])),
        lambda good: with_checksum(as_torch({"identity": NotPlain()})),
    ],
    ids=["half", "all but a byte", "empty", "text", "end zeroed", "state dict", "list", "object"],
)
def test_a_file_that_is_no_checkpoint_is_named_and_left_alone(damage, tmp_path):
    run(epochs=1, checkpoint_dir=tmp_path)
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(damage(path.read_bytes()))
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"checkpoint_dir: .*checkpoint\.pt .*damaged.*delete") as caught:
        run(epochs=1, checkpoint_dir=tmp_path)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == before


def test_each_of_two_hundred_flipped_bits_is_noticed(tmp_path):
    run(epochs=1, checkpoint_dir=tmp_path)
    path, random = tmp_path / "checkpoint.pt", np.random.RandomState(0)
    good = path.read_bytes()
    for place, bit in zip(random.randint(0, len(good), 200), random.randint(0, 8, 200), strict=True):
        flipped = bytearray(good)
        flipped[place] ^= 1 << int(bit)
        path.write_bytes(flipped)
        with pytest.raises(checkpoints.Damaged):
            checkpoints._read(path)
    path.write_bytes(good)
    assert checkpoints._read(path)["history"]


@pytest.mark.parametrize(
    "damage", [lambda good: good[:-1], lambda good: b"", lambda good: good[:900] + b"!" + good[901:]]
)
def test_a_damaged_file_is_set_aside_and_the_run_goes_on_from_the_epoch_before(
    damage, uninterrupted, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        interrupt(patch, after=3)
        with pytest.raises(KeyboardInterrupt):
            run(checkpoint_dir=tmp_path)
    path = tmp_path / "checkpoint.pt"
    damaged = damage(path.read_bytes())
    path.write_bytes(damaged)
    with pytest.warns(UserWarning, match=r"checkpoint\.pt was damaged .* is now checkpoint\.damaged1\.pt; .*before"):
        resumed = run(checkpoint_dir=tmp_path)
    assert same_run(resumed, uninterrupted)
    assert (tmp_path / "checkpoint.damaged1.pt").read_bytes() == damaged


def test_where_the_one_before_is_damaged_too_nothing_is_begun_anew_and_both_are_left(tmp_path):
    run(epochs=2, checkpoint_dir=tmp_path)
    for path in tmp_path.glob("*.pt"):
        path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"checkpoint\.pt is damaged.*no good one of the epoch before.*delete both"):
        run(epochs=2, checkpoint_dir=tmp_path)
    assert [path.read_bytes() for path in tmp_path.glob("*.pt")] == [b"nothing"] * 2


def test_a_kill_between_the_two_renamings_loses_nothing(uninterrupted, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt(patch, after=2)
        with pytest.raises(KeyboardInterrupt):
            run(checkpoint_dir=tmp_path)
    (tmp_path / "checkpoint.pt").replace(tmp_path / "checkpoint.before.pt")
    assert same_run(run(checkpoint_dir=tmp_path), uninterrupted)
