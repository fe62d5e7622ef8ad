"""Callbacks of `fit`, and the live view: in a terminal, and in a kernel where it has a picture too."""

import base64
import itertools
import signal
import sys
from types import SimpleNamespace

import pytest
import torch
from IPython.display import DisplayHandle

from gsa_utils import GlobalSpatialAttention, LiveTraining, attend, build_backbone, fit, make_phantom

TRAIN, VALID = (make_phantom("phantom-chest", count, 16, seed=seed) for seed, count in enumerate((24, 20)))


@pytest.fixture(autouse=True)
def usual_interrupt():
    """Python's own: a run that a script started in the background ignores interrupts from the start."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def train(epochs=4, attention=True, **settings):
    torch.manual_seed(0)
    model = build_backbone("small", 1, 2, 16)
    if attention:
        features = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
        model = attend(model, GlobalSpatialAttention(features))
    return fit(model, TRAIN, VALID, epochs=epochs, progress=False, **settings)


# ---------------------------------------------------------------- callbacks


def test_each_callback_is_called_after_every_epoch_with_the_run_so_far():
    calls = []
    train(callbacks=[lambda run, epochs: calls.append((len(run.history), len(run.maps), epochs))])
    assert calls == [(1, 1, 4), (2, 2, 4), (3, 3, 4), (4, 4, 4)]


def test_a_callback_that_says_so_ends_the_training_and_the_others_are_still_called():
    seen = []
    run = train(callbacks=[lambda run, _: len(run.history) == 2, lambda run, _: seen.append(len(run.history))])
    assert len(run.history) == len(run.maps) == 2
    assert seen == [1, 2]


def test_a_stopped_run_keeps_the_epoch_it_was_stopped_after():
    from gsa_utils import evaluate

    run = train(callbacks=[lambda run, _: len(run.history) == 3])
    assert run.kept_epoch == 2
    assert evaluate(run.model, VALID)["loss"] == pytest.approx(run.history[2]["valid_loss"], abs=1e-6)


def test_a_stopped_run_goes_on_to_the_same_bits_as_one_that_was_never_stopped(tmp_path):
    train(checkpoint_dir=tmp_path, callbacks=[lambda run, _: len(run.history) == 2])
    resumed, whole = train(checkpoint_dir=tmp_path), train()
    assert [row["valid_loss"] for row in resumed.history] == [row["valid_loss"] for row in whole.history]
    assert all(torch.equal(a, b) for a, b in zip(resumed.maps, whole.maps, strict=True))


def test_callbacks_change_nothing_else():
    watched, plain = train(callbacks=[LiveTraining()]), train()
    assert all(torch.equal(a, b) for a, b in zip(watched.maps, plain.maps, strict=True))


def test_an_exception_in_a_callback_is_not_swallowed():
    def broken(run, epochs):
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        train(callbacks=[broken])


@pytest.mark.parametrize("callbacks", [LiveTraining(), [3], "print", None])
def test_callbacks_that_are_no_list_of_functions_are_refused(callbacks):
    with pytest.raises(ValueError, match=r"callbacks: got .*expected a list of functions"):
        train(callbacks=callbacks)


# ---------------------------------------------------------------- lines


def test_in_a_terminal_there_are_lines_of_text(capsys):
    run = train(callbacks=[LiveTraining()])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    row, weights = run.history[-1], run.maps[-1]
    assert lines[-1] == (
        f"epoch 4 of 4: loss {row['train_loss']:.3f}, validation {row['valid_loss']:.3f}, "
        f"AUROC {row['valid_auroc']:.3f}, map {weights.min():.3f} to {weights.max():.3f}"
    )


def test_a_long_run_prints_about_as_many_lines_as_asked_for_with_the_first_and_the_last(capsys):
    train(epochs=9, callbacks=[LiveTraining(lines=3)])
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == [
        f"epoch {number} of 9" for number in (1, 3, 6, 9)
    ]


def test_without_attention_there_is_no_map_to_tell_of(capsys):
    train(attention=False, callbacks=[LiveTraining()])
    assert "map" not in capsys.readouterr().out


@pytest.mark.parametrize("lines", [0, True, 2.5, None])
def test_lines_that_are_no_number_of_lines_are_refused(lines):
    with pytest.raises(ValueError, match="lines: got"):
        LiveTraining(lines=lines)


# ---------------------------------------------------------------- in a kernel


@pytest.fixture
def kernel(monkeypatch):
    """As in a kernel, and what would have been sent to the front end."""
    sent = []
    monkeypatch.setattr(sys.modules["IPython"], "get_ipython", lambda: SimpleNamespace(kernel=object()))
    monkeypatch.setattr("IPython.display.display", lambda shown, **_: sent.append(shown) or DisplayHandle("id"))
    monkeypatch.setattr(DisplayHandle, "update", lambda self, data, **how: sent.append((data, how)))
    return sent


VIEW = "application/vnd.jupyter.widget-view+json"


@pytest.mark.parametrize(("seconds", "drawn"), [(1, 4), (0, 2)])
def test_in_a_kernel_one_picture_is_replaced_in_place_but_not_more_often_than_anybody_can_see(
    kernel, monkeypatch, seconds, drawn
):
    clock = itertools.count(100, seconds)
    monkeypatch.setattr("gsa_utils.widgets.live.time", SimpleNamespace(monotonic=lambda: next(clock)))
    pictures = []
    live = LiveTraining()
    train(callbacks=[live, lambda *_: pictures.append(bytes(live._screen.image.value))])
    assert len(set(pictures)) == drawn
    assert pictures[-1] not in pictures[:-1]
    assert all(picture.startswith(b"\x89PNG") for picture in pictures)
    shown, (data, how) = kernel  # shown once, and once more at the end, for where no widget is drawn
    assert shown[VIEW]["model_id"] == data[VIEW]["model_id"] == live._screen.box.model_id
    assert set(shown) == set(data) == {VIEW, "image/png", "text/plain"}
    assert base64.b64decode(data["image/png"]) == live._screen.image.value
    assert how["metadata"]["image/png"]["alt"]


def interrupt_after(*epochs):
    return lambda run, _: len(run.history) in epochs and signal.raise_signal(signal.SIGINT)


def test_an_interrupt_stops_after_the_epoch_and_says_which_one_is_kept(capsys):
    live, before = LiveTraining(), signal.getsignal(signal.SIGINT)
    run = train(callbacks=[live, interrupt_after(2)])
    assert len(run.history) == 3
    assert live.stopped
    assert run.kept_epoch == 2
    assert capsys.readouterr().out.splitlines()[-1].endswith(": stopped, epoch 3 is kept")
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_interrupt_is_the_usual_one():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train(callbacks=[LiveTraining(), interrupt_after(2), interrupt_after(2)])
    assert signal.getsignal(signal.SIGINT) is before


def failed(live):
    """A training under this live view that ends with an error after its first epoch."""

    def broken(run, epochs):
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        train(callbacks=[live, broken])


def test_after_a_training_that_failed_an_interrupt_is_the_usual_one():
    before = signal.getsignal(signal.SIGINT)
    failed(LiveTraining())
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_after_a_training_that_failed_an_interrupt_of_the_next_one_is_the_usual_one():
    failed(LiveTraining())
    with pytest.raises(KeyboardInterrupt):
        train(callbacks=[interrupt_after(2)])


@pytest.mark.parametrize("new_cell", [False, True])
def test_a_live_view_whose_training_failed_stops_and_keeps_the_next_one(new_cell):
    live = LiveTraining()
    failed(live)
    if new_cell:  # for each of which a kernel brings Python's own handler
        signal.signal(signal.SIGINT, signal.default_int_handler)
    assert len(train(callbacks=[live, interrupt_after(2)]).history) == 3


def test_a_run_is_running_while_it_is_made_and_not_after_an_error():
    seen = []

    def broken(run, epochs):
        seen.append((run, run.running))
        if len(seen) == 3:
            raise RuntimeError("disk full")

    assert not train(epochs=2, callbacks=[broken]).running
    with pytest.raises(RuntimeError, match="disk full"):
        train(callbacks=[broken])
    assert [running for _, running in seen] == [True] * 3
    assert not any(run.running for run, _ in seen)


def test_an_interrupt_of_another_cell_after_a_training_that_failed_is_the_usual_one_for_its_live_view_too():
    live = LiveTraining()
    failed(live)
    with pytest.raises(KeyboardInterrupt):
        train(epochs=2, callbacks=[interrupt_after(1)])
    assert live.stopped


def test_two_live_views_whose_trainings_failed_do_not_hand_an_interrupt_to_each_other():
    one, other = LiveTraining(), LiveTraining()
    failed(one)
    failed(other)
    with pytest.raises(KeyboardInterrupt):
        train(callbacks=[one, interrupt_after(2), interrupt_after(2)])


def test_one_live_view_serves_several_runs(kernel):
    live = LiveTraining()
    live.stopped = True
    assert [len(train(epochs=2, callbacks=[live]).history) for _ in range(2)] == [2, 2]
    assert len(kernel) == 4
