"""MapInspector: a panel of widgets that shows a learned map, probes its pixels and blanks them to see what that costs.

Thin: panel.py holds the widgets, scene.py says what a view shows, knockout.py does the experiment; here they are
wired. Needs ipywidgets (the `course` extra) and no CDN; with ipyevents a click on the picture chooses a pixel.
"""

import base64
import html
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from io import BytesIO
from pathlib import Path

from matplotlib.figure import Figure

from gsa_utils.arguments import bad_value
from gsa_utils.evaluation.knockout import KnockOut, knock_out
from gsa_utils.images import ImageSet
from gsa_utils.plots.overlay import png, zoom_of
from gsa_utils.training.loop import TrainingRun
from gsa_utils.widgets.panel import CONTROLS, PICTURE, TABS, WIDE, Panel
from gsa_utils.widgets.scene import Scene, knock_out_table
from gsa_utils.widgets.still import with_still
from gsa_utils.widgets.view import BACKGROUNDS, BLANKED, UNIT, View


class _CancelledError(Exception):
    """Raised between two evaluations to end a knock-out."""


def _reported(method: Callable) -> Callable:
    """An exception in a callback would vanish in a log: it is shown in the panel."""

    @wraps(method)
    def wrapper(self: "MapInspector", *args: object) -> None:
        try:
            method(self, *args)
        except Exception as error:
            self.status.value = f"<b style='color:#b00020'>{html.escape(f'{type(error).__name__}: {error}')}</b>"

    return wrapper


class MapInspector(Panel):
    """The learned map of a run over the images of a set, with every control labelled and within reach of the keyboard.

    Args:
        run: what `fit` returned, of a model with a weight map. Predictions are those of the weights that were kept
            (best epoch); the map is that of the epoch chosen.
        image_set: images to look at and to evaluate on, with labels: the validation split, say.
        others: runs to compare maps with, by name.

    Attributes:
        knocked_out: the last finished knock-out, or None.

    Raises:
        ValueError: a run without maps, among the others too.
    """

    _ipython_display_ = None  # under ipywidgets 7 it would come before _repr_mimebundle_

    def __init__(self, run: TrainingRun, image_set: ImageSet, others: Mapping[str, TrainingRun] | None = None):
        scene = self.scene = Scene(run, image_set, others or {}, WIDE)
        names = tuple(image_set.class_names), len(image_set)
        super().__init__(*names, scene.size, scene.limits, len(scene.maps), list(scene.others))
        self.knocked_out: KnockOut | None = None
        self._thread: threading.Thread | None = None
        self._cancelled = threading.Event()
        self.epoch.value = run.best_epoch + 1
        # To begin with, a fifth of the pixels is inside.
        step = self.threshold.step
        self.threshold.value = round(scene.maps[run.best_epoch].quantile(0.8).item() / step) * step
        self.row.value, self.column.value = divmod(int(scene.maps[run.best_epoch].argmax()), scene.size[1])
        self._quiet = False  # while several controls are set at once
        self._cursor: int | None = None  # the epoch that the loss curve shows
        self._compared: tuple[int, str] | None = None  # the epoch and the run that the comparison shows
        self._connect()
        self._refresh()

    def _connect(self) -> None:
        if self.clicks is not None:
            self.clicks.on_dom_event(self._clicked)
        self.tabs.observe(self._changed, "selected_index")
        clicks = {"start": self._start, "cancel": self._cancel, "png": self._link_png, "svg": self._link_svg}
        changes = {"class_filter": self._filter, "right_filter": self._filter, "text": self._restore}
        for name in CONTROLS:
            if name in clicks:
                getattr(self, name).on_click(clicks[name])
            else:
                getattr(self, name).observe(changes.get(name, self._changed), "value")

    # ---------------------------------------------------------------- state

    @property
    def view(self) -> View:
        """What is shown now; assign one to show it."""
        (top, bottom), (left, right) = self.rows.value, self.columns.value
        return View(
            image=self._chosen()[self.position.value],
            background=BACKGROUNDS.index(self.background.value),
            opacity=self.opacity.value,
            threshold=round(self.threshold.value * UNIT),
            epoch=self.epoch.value - 1,
            row=self.row.value,
            column=self.column.value,
            blanked=BLANKED.index(self.blanked.value),
            top=top,
            bottom=bottom,
            left=left,
            right=right,
            other=self.other.index,
        )

    @view.setter
    def view(self, view: View) -> None:
        ends = (round(self.threshold.min * UNIT), round(self.threshold.max * UNIT))
        counts = len(self.scene.image_set), len(self.scene.maps)
        view.check(*counts, self.scene.size, ends, len(self.scene.others))
        with self._quietly():
            self.class_filter.value = self.right_filter.value = "all"
            self.position.max = len(self.scene.image_set) - 1
            self.position.value = view.image
            self.background.value, self.blanked.value = BACKGROUNDS[view.background], BLANKED[view.blanked]
            self.opacity.value, self.threshold.value = view.opacity, view.weight
            self.epoch.value, self.row.value, self.column.value = view.epoch + 1, view.row, view.column
            self.rows.value, self.columns.value = (view.top, view.bottom), (view.left, view.right)
            self.other.index = view.other
        self._refresh()

    @property
    def view_text(self) -> str:
        """The view as a short text, to cite it; assign one to show it."""
        return self.view.text(self.scene.mark)

    @view_text.setter
    def view_text(self, text: str) -> None:
        self.view = View.parse(text, self.scene.mark)

    def _passing(self) -> list[int]:
        name, right = self.class_filter.value, self.right_filter.value
        return self.scene.passing(None if name == "all" else name, None if right == "all" else right == "right")

    def _chosen(self) -> list[int]:
        """The images to choose from: those that pass both filters, or all where none does."""
        return self._passing() or list(range(len(self.scene.image_set)))

    # ---------------------------------------------------------------- what happens when a control moves

    @contextmanager
    def _quietly(self) -> Iterator[None]:
        """Several controls are set, and nothing is drawn before the last; an error leaves no panel that is deaf."""
        self._quiet = True
        try:
            yield
        finally:
            self._quiet = False

    @_reported
    def _changed(self, _: object) -> None:
        if not self._quiet:
            self._refresh()

    @_reported
    def _filter(self, _: object) -> None:
        if self._quiet:
            return
        with self._quietly():
            self.position.value = 0
            self.position.max = len(self._chosen()) - 1
        self._refresh()

    @_reported
    def _restore(self, change: dict) -> None:
        if not self._quiet and change["new"] != self.view_text:
            self.view_text = change["new"]

    @_reported
    def _clicked(self, event: dict) -> None:
        """On the picture: the pixel there, and the tab that shows it."""
        zoom = zoom_of(self.scene.size, PICTURE)
        with self._quietly():
            self.row.value, self.column.value = event["dataY"] // zoom, event["dataX"] // zoom
            self.tabs.selected_index = TABS.index("pixel")
        self._refresh()

    def _refresh(self) -> None:
        """Only what can be seen: the picture, and the tab in front."""
        view, tab = self.view, TABS[self.tabs.selected_index or 0]
        rectangle = tab in ("knock-out", "export") and self.blanked.value == "rectangle"
        picture = self.scene.picture(view, PICTURE, rectangle, frame=tab == "pixel")
        # Where a pixel is one of the screen, there is little to compress, and it would take longer than the painting.
        self.picture.value = png(picture, compress_level=int(zoom_of(self.scene.size, PICTURE) > 1))
        none = "" if self._passing() else "; none passes the filters, so all are shown"
        self.caption.value = (
            f"image {view.image} ({self.position.value + 1} of {len(self._chosen())}{none}): "
            f"{self.scene.prediction(view)}<br>inside the boundary: {self.scene.share(view):.1%} of the area"
        )
        self.status.value = ""
        if tab == "epochs" and view.epoch != self._cursor:
            self.curve.value, self._cursor = png(self.scene.curve(view)), view.epoch
        elif tab == "pixel":
            self._show_pixel(view)
        elif tab == "compare" and self.scene.others and self._compared != (view.epoch, self.other.value):
            picture, self.difference.value = self.scene.comparison(view, self.other.value)
            self.comparison.value, self._compared = png(picture), (view.epoch, self.other.value)
        elif tab == "export":
            with self._quietly():
                self.text.value = self.view_text

    def _show_pixel(self, view: View) -> None:
        strip = self.scene.strip(view)
        kind = "no pixel features: a free or a frozen map" if strip is None else "classifier features:"
        self.probe.value = f"{self.scene.pixel(view)}; {kind}"
        if strip is not None:
            self.strip.value = png(strip)
        self.dots.value = png(self.scene.dots(view))

    # ---------------------------------------------------------------- knock-out

    @_reported
    def _start(self, _: object) -> None:
        if self._thread is not None and self._thread.is_alive():
            return
        self._cancelled.clear()
        self.start.disabled, self.cancel.disabled = True, False
        self.result.value, self.progress.value, self.status.value = "", 0, ""
        # Off the main thread: the other controls go on working meanwhile.
        self._thread = threading.Thread(target=self._work, args=(self.view,), daemon=True)
        self._thread.start()

    @_reported
    def _cancel(self, _: object) -> None:
        if self._thread is not None and self._thread.is_alive():  # a click may come after the end
            self.result.value = "cancelled: ends after the running evaluation"
            self._cancelled.set()

    @_reported
    def _work(self, view: View) -> None:
        try:
            mask = self.scene.mask(view)
            self.knocked_out = knock_out(self.scene.run.model, self.scene.image_set, mask, on_step=self._step)
            # Said below the numbers, which stay when the controls move on.
            self.result.value = f"{knock_out_table(self.knocked_out)}<br>blanked: {self.scene.blanked_in_words(view)}"
        except _CancelledError:
            self.result.value = "cancelled"
        finally:
            self.start.disabled, self.cancel.disabled = False, True

    def _step(self, done: int, of: int) -> None:
        self.progress.max, self.progress.value = of, done
        if self._cancelled.is_set():
            raise _CancelledError

    def wait(self) -> None:
        """Until a running knock-out has ended: for scripts and tests."""
        if self._thread is not None:
            self._thread.join()

    # ---------------------------------------------------------------- export, and where no widget is drawn

    def figure(self) -> Figure:
        """This view as a Figure, for a report."""
        return self.scene.figure(self.view)

    def save(self, path: str | Path) -> Path:
        """Write this view as the kind of file that the ending says: .png, .svg or .pdf."""
        path = Path(path)
        if path.suffix not in (".png", ".svg", ".pdf"):
            raise bad_value("path", str(path), "an ending of .png, .svg or .pdf")
        self.figure().savefig(path)
        return path

    @_reported
    def _link_png(self, _: object) -> None:
        self._link("png", "image/png")

    @_reported
    def _link_svg(self, _: object) -> None:
        self._link("svg", "image/svg+xml")

    def _link(self, kind: str, mime: str) -> None:
        name = f"view-{self.view_text}.{kind}"
        content = base64.b64encode(_file(self.figure(), kind)).decode()
        self.link.value = f"<a download='{name}' href='data:{mime};base64,{content}'><u>save {name}</u></a>"

    def summary(self) -> str:
        """The view in one line of text."""
        return self.scene.summary(self.view)

    def _repr_mimebundle_(self, **kwargs: object) -> tuple[dict, dict]:
        """The panel where widgets live, and for paper and GitHub a contact sheet and a line of text."""
        alt = "Contact sheet of the inspector: the map over the mean image, epochs across, thresholds down."
        return with_still(self, _file(self.scene.sheet(), "png"), self.summary(), alt)


def _file(figure: Figure, kind: str) -> bytes:
    file = BytesIO()
    figure.savefig(file, format=kind)
    return file.getvalue()
