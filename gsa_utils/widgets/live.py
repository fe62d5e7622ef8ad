"""LiveTraining: loss curves and map while `fit` trains; an interrupt stops it and keeps what it has."""

import math
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType

from gsa_utils.arguments import check_whole
from gsa_utils.training.state import TrainingRun
from gsa_utils.widgets.standalone import with_still

ALT = "Loss curves of training and validation, and the map of the last epoch."


class LiveTraining:
    """For `fit(..., callbacks=[LiveTraining()])`: a picture that follows the epochs, lines of text, stop and keep.

    The picture needs a notebook with ipywidgets; in a terminal there are the lines alone, and in a notebook that
    papermill or nbval runs they stay, with the last picture as a PNG (the first, where another callback or an error
    ended the training).

    Interrupting (the stop button of the notebook, Ctrl-C in a terminal) ends the training after the running epoch, as
    if it had been the last: by default it is the one that is kept. A second interrupt, or one in the first epoch, when
    there is nothing to keep, is the usual KeyboardInterrupt. Not a button of its own: while a cell runs, a kernel does
    not hear one.

    Args:
        lines: at most about so many lines a run.

    Attributes:
        stopped: whether the training was interrupted; setting it does the same.

    Raises:
        ValueError: lines below 1.
    """

    def __init__(self, lines: int = 10):
        check_whole("lines", lines, 1)
        self.lines = lines
        self.stopped = False
        self._run: TrainingRun | None = None
        self._screen: _Screen | None = None
        self._before: Callable | int | None = None  # the handler of interrupts that this one stands in for

    def __call__(self, run: TrainingRun, epochs: int) -> bool:
        if run is not self._run:
            self._run, self.stopped = run, False
            self._screen = _Screen() if _in_a_notebook() else None
            self._listen()
        stop, done = self.stopped, len(run.history)
        last = stop or done == epochs
        if self._screen is not None:
            self._screen.draw(run, epochs, self._line(run, epochs), last)
        if last or done == 1 or done % math.ceil(epochs / self.lines) == 0:
            end = f": stopped, epoch {run.kept_epoch + 1} is kept" if stop else ""
            print(self._line(run, epochs) + end, flush=True)
        if last:
            self._stop_listening()
        return stop

    def _listen(self) -> None:
        # After a run that failed it may still be there, and a kernel brings its own handler for every cell.
        listening = signal.getsignal(signal.SIGINT) == self._interrupted
        if threading.current_thread() is threading.main_thread() and not listening:
            before = signal.signal(signal.SIGINT, self._interrupted)
            if self._before is None:  # else it could be another view's: two would hand an interrupt to each other
                self._before = before

    def _stop_listening(self) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self._before = None

    def _interrupted(self, number: int, frame: FrameType | None) -> None:
        """The first time in this training: a wish to stop. Else, as where an error had ended it, as before."""
        first, self.stopped = self._run is not None and self._run.running and not self.stopped, True
        if not first:
            self._stop_listening()
            signal.raise_signal(number)

    @staticmethod
    def _line(run: TrainingRun, epochs: int) -> str:
        row = run.history[-1]
        losses = f"loss {row['train_loss']:.3f}, validation {row['valid_loss']:.3f}"
        weights = f", map {run.maps[-1].min():.3f} to {run.maps[-1].max():.3f}" if run.maps else ""
        return f"epoch {len(run.history)} of {epochs}: {losses}, AUROC {row['valid_auroc']:.3f}{weights}"


class _Screen:
    """One image that is replaced in place, at most twice a second: a Figure takes as long as some epochs."""

    def __init__(self):
        import ipywidgets as widgets

        self.image = widgets.Image(layout={"max_width": "100%"})
        self.hint = widgets.HTML("<i>Interrupt the kernel to stop after this epoch and keep what was learned.</i>")
        self.box = widgets.VBox([self.image, self.hint])
        self.box.add_class("gsa-live")
        self.drawn = -math.inf
        self.shown = None  # IPython's handle of what is displayed

    def draw(self, run: TrainingRun, epochs: int, line: str, last: bool) -> None:
        from IPython.display import display

        from gsa_utils.plots.images import training_progress
        from gsa_utils.plots.scores import losses
        from gsa_utils.plots.style import as_file

        if not last and time.monotonic() < self.drawn + 0.5:
            return
        self.drawn = time.monotonic()
        weights = run.maps[-1] if run.maps else None
        picture = as_file(training_progress(losses(run.history), epochs, weights, line))
        self.image.value = picture
        data, metadata = with_still(self.box, picture, line, ALT)
        if self.shown is None:
            self.shown = display(data, metadata=metadata, raw=True, display_id=True)
        if last:  # the hint goes, and the still picture becomes the last one
            self.hint.value = ""
            self.shown.update(data, metadata=metadata, raw=True)


def _in_a_notebook() -> bool:
    """A kernel with widgets: what is not imported yet is not imported for the question."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if not hasattr(shell, "kernel"):
        return False
    try:
        import ipywidgets  # noqa: F401
    except ImportError:
        return False
    return True
