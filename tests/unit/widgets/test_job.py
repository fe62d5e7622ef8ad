"""Job: work in a thread of its own, step by step, to its end, to an error, or until it is cancelled."""

import threading

import pytest

from gsa_utils.widgets.job import Job


def count_to_three(step):
    for done in (1, 2, 3):
        step(done, 3)
    return "three"


def ignore(*_):
    pass


def test_the_result_and_every_step_are_told_in_order_from_another_thread():
    told = []
    job = Job(
        count_to_three,
        lambda *progress: told.append((threading.current_thread(), progress)),
        lambda job: told.append((threading.current_thread(), job.result)),
    )
    job.wait()
    assert [what for _, what in told] == [(1, 3), (2, 3), (3, 3), "three"]
    assert {thread for thread, _ in told} != {threading.current_thread()}
    assert (job.result, job.error, job.cancelled, job.running) == ("three", None, False, False)


def test_it_runs_beside_the_caller_and_ends_after_the_step_at_which_it_is_cancelled():
    reached, go_on, steps, ended = threading.Event(), threading.Event(), [], []

    def work(step):
        step(1, 3)
        reached.set()
        go_on.wait(10)
        step(2, 3)
        raise AssertionError("went on")

    job = Job(work, lambda *progress: steps.append(progress), ended.append)
    assert reached.wait(10)
    assert job.running
    assert not ended
    job.cancel()
    assert job.running
    go_on.set()
    job.wait()
    assert ended == [job]
    assert steps == [(1, 3), (2, 3)]
    assert (job.result, job.error, job.cancelled, job.running) == (None, None, True, False)


def test_an_error_of_the_work_is_kept_for_the_end():
    def work(step):
        raise RuntimeError("out of memory")

    ended = []
    job = Job(work, ignore, ended.append)
    job.wait()
    assert ended == [job]
    assert isinstance(job.error, RuntimeError)
    assert not job.cancelled


def test_an_error_while_a_step_is_told_ends_the_work():
    def broken(done, of):
        raise ZeroDivisionError

    job = Job(count_to_three, broken, ignore)
    job.wait()
    assert isinstance(job.error, ZeroDivisionError)
    assert job.result is None


@pytest.mark.parametrize("times", [1, 2])
def test_to_cancel_what_has_ended_changes_nothing(times):
    job = Job(count_to_three, ignore, ignore)
    job.wait()
    for _ in range(times):
        job.cancel()
    assert (job.result, job.cancelled) == ("three", False)
