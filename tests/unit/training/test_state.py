"""What an epoch changes: whether a run is running, and a state that is saved and loaded into another."""

import io

import pytest
import torch
from small_runs import VALID, attended, run

from gsa_utils import training
from gsa_utils.evaluation.scores import evaluate
from gsa_utils.training import checks, loop
from gsa_utils.training.state import Standardised, TrainingRun, TrainingState, weight_maps

# ---------------------------------------------------------------- running


class Watch:
    """A callback that keeps the run and whether it was running, and ends it after so many epochs in some way."""

    def __init__(self, after=99, end=lambda: True):
        self.after, self.end, self.run, self.running = after, end, None, []

    def __call__(self, run, epochs):
        self.run = run
        self.running.append(run.running)
        return self.end() if len(run.history) == self.after else None


def throw(error):
    raise error


def test_a_run_is_running_in_its_callbacks_and_between_them_and_not_once_it_is_returned(monkeypatch):
    watch, between = Watch(), []

    def spy(*arguments, **rest):
        between.extend([watch.run.running] if watch.run else [])
        return evaluate(*arguments, **rest)

    monkeypatch.setattr(checks, "evaluate", spy)
    result = run(callbacks=[watch])
    assert watch.run is result
    assert watch.running == [True] * 4
    assert between == [True] * 3
    assert result.running is False


def test_a_run_that_a_callback_ends_is_not_running_any_more():
    watch = Watch(after=2)
    assert run(callbacks=[watch]).running is False
    assert watch.running == [True] * 2


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, SystemExit])
@pytest.mark.parametrize("place", ["callback", "epoch"])
def test_a_run_that_an_exception_ends_is_not_running_any_more(error, place, monkeypatch):
    watch = Watch(after=2, end=lambda: throw(error) if place == "callback" else monkeypatch.setattr(checks, *failing))
    failing = "evaluate", lambda *_, **__: throw(error)
    with pytest.raises(error):
        run(callbacks=[watch])
    assert watch.running == [True] * 2
    assert watch.run.running is False


def test_a_finished_run_that_is_loaded_is_not_running(tmp_path):
    watch = Watch()
    run(checkpoint_dir=tmp_path)
    assert run(checkpoint_dir=tmp_path, callbacks=[watch]).running is False
    assert watch.run is None


# ---------------------------------------------------------------- the state


def fresh(seed, keep="loss"):
    model = Standardised(attended(seed=seed), 0.5, 0.25)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 5)
    return TrainingState(TrainingRun(model), optimiser, scheduler, keep)


def step(state, epoch, loss):
    state.run.model.eval()(VALID.to_float()).square().sum().backward()
    state.optimiser.step()
    state.optimiser.zero_grad()
    state.scheduler.step()
    state.remember({"epoch": epoch, "valid_loss": loss, "seconds": 0.5})


def same(one, two):
    if isinstance(one, torch.Tensor):
        return torch.equal(one, two)
    if isinstance(one, dict):
        return list(one) == list(two) and all(same(one[name], two[name]) for name in one)
    if isinstance(one, list):
        return len(one) == len(two) and all(map(same, one, two))
    return one == two


def test_a_state_that_was_loaded_goes_on_like_the_one_that_was_saved():
    one, two, file = fresh(seed=0), fresh(seed=1), io.BytesIO()
    step(one, 0, loss=0.5)
    step(one, 1, loss=0.7)
    torch.save(one.state_dict(), file)
    file.seek(0)
    assert not same(one.state_dict(), two.state_dict())
    two.load_state_dict(torch.load(file, weights_only=True))
    assert same(one.state_dict(), two.state_dict())
    step(one, 2, loss=0.6)
    step(two, 2, loss=0.6)
    assert same(one.state_dict(), two.state_dict())
    assert two.run.seconds == 1.5
    assert two.run.kept_epoch == 0


def test_the_kept_weights_and_the_maps_are_copies_that_later_epochs_leave_alone():
    state = fresh(seed=0)
    step(state, 0, loss=0.5)
    kept = {name: value.clone() for name, value in state.kept.items()}
    first = state.run.maps[0].clone()
    step(state, 1, loss=0.9)
    assert same(state.kept, kept)
    assert torch.equal(state.run.maps[0], first)
    assert not torch.equal(state.run.maps[1], first)
    assert not same(dict(state.run.model.state_dict()), kept)
    step(state, 2, loss=0.1)
    assert same(state.kept, dict(state.run.model.state_dict()))


def test_of_the_last_epoch_no_copy_is_kept_as_the_model_holds_it():
    state = fresh(seed=0, keep="last")
    step(state, 0, loss=0.1)
    step(state, 1, loss=0.9)
    trained = {name: value.clone() for name, value in state.run.model.state_dict().items()}
    state.finish()
    assert state.kept == {}
    assert state.run.kept_epoch == 1
    assert same(dict(state.run.model.state_dict()), trained)


def test_the_maps_of_a_model_are_found_wherever_they_are():
    model = attended(at="second")
    assert weight_maps(model) == [model.attention]
    assert weight_maps(model.model) == []


def test_saved_models_and_runs_find_their_classes_in_the_places_of_today_and_before():
    assert training.Standardised is loop.Standardised is Standardised
    assert training.TrainingRun is loop.TrainingRun is TrainingRun
