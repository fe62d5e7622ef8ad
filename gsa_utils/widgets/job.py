"""Job: a function off the main thread, so that a panel goes on answering meanwhile. It knows no widgets."""

import threading
from collections.abc import Callable


class _CancelledError(Exception):
    """Raised between two steps of the work to end it."""


class Job:
    """A call of `work(step)` in a thread of its own, begun at once.

    The work calls `step(done, of)` after each of its steps, and this `on_step(done, of)`; `on_end(job)` comes last.

    Attributes:
        result, error: what the work returned, or the exception that ended it.
        cancelled: whether `cancel` ended it.
    """

    def __init__(
        self,
        work: Callable[[Callable[[int, int], None]], object],
        on_step: Callable[[int, int], object],
        on_end: Callable[["Job"], object],
    ):
        self._work, self._on_step, self._on_end = work, on_step, on_end
        self._wish = threading.Event()
        self.cancelled = False
        self.result: object = None
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        """Until `on_end` has returned."""
        return self._thread.is_alive()

    def cancel(self) -> None:
        """End the work after the step that it is at."""
        self._wish.set()

    def wait(self) -> None:
        """Until the work and `on_end` have ended."""
        self._thread.join()

    def _run(self) -> None:
        try:
            self.result = self._work(self._step)
        except _CancelledError:
            self.cancelled = True
        except Exception as error:
            self.error = error
        self._on_end(self)

    def _step(self, done: int, of: int) -> None:
        self._on_step(done, of)
        if self._wish.is_set():
            raise _CancelledError
