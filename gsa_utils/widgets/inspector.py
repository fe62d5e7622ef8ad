"""MapInspector: a panel of widgets that shows a learned map, probes its pixels and blanks them to see what that costs.

Thin: panel.py holds the widgets, scene.py says what a view shows, knockout.py does the experiment in a job; here they
are wired. Needs ipywidgets and anywidget (the `course` extra), and in Jupyter's front ends no CDN.
"""

import base64
import html
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import wraps
from pathlib import Path

from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor, nn

from gsa_utils.arguments import at_home, bad_value, check_switch, check_whole
from gsa_utils.evaluation.knockout import KnockOut, knock_out
from gsa_utils.files import whole_file
from gsa_utils.images import ImageSet
from gsa_utils.plots.overlay import png
from gsa_utils.plots.style import as_file
from gsa_utils.widgets.job import Job
from gsa_utils.widgets.panel import CONTROLS, TABS, WIDE, Panel
from gsa_utils.widgets.scene import Maps, Scene, knock_out_table
from gsa_utils.widgets.standalone import MIME, fragment, page, page_data, with_still
from gsa_utils.widgets.view import BLANKED, UNIT, View

# Controls of a field of the view by its name: sliders, and menus.
AS_THEY_ARE, MENUS = ("opacity", "row", "column"), ("background", "blanked", "other")


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
    """A learned map over the images of a set, with every control labelled and within reach of the keyboard.

    Args:
        run: what `fit` returned, of a model with a weight map. Predictions are those of the weights that were kept
            (`kept_epoch`); the map is that of the epoch chosen. Or plain maps from anywhere: one (H, W), or a list, one
            an epoch. What can't be shown without losses, predictions or a model is off, and the panel says so.
        image_set: images to look at and to evaluate on, with labels: the validation split, say.
        others: runs or maps to compare with, by name.
        probabilities: predictions for the images, by default the model's.
        model: images to logits, for predictions, pixel features and the knock-out; by default the run's.
        portable: leave in the notebook, for those who read it on a site without a kernel, a smaller inspector with 24
            of the images and 12 of the maps. Not by default: whoever gets the notebook gets these images.

    Attributes:
        knocked_out: the last finished knock-out, or None.

    Raises:
        ValueError: names the argument, what came and what was expected, such as a run with maps.
    """

    _ipython_display_ = None  # under ipywidgets 7 it would come before _repr_mimebundle_

    def __init__(
        self,
        run: Maps,
        image_set: ImageSet,
        others: Mapping[str, Maps] | None = None,
        *,
        probabilities: Float[Tensor, "images classes"] | None = None,
        model: nn.Module | None = None,
        portable: bool = False,
    ):
        check_switch("portable", portable)
        super().__init__(Scene(run, image_set, others or {}, WIDE, probabilities, model))
        self.portable = portable
        self.knocked_out: KnockOut | None = None
        self._job: Job | None = None
        opening = self.scene.opening()
        self.epoch.value, self.threshold.value = opening.epoch + 1, opening.weight
        self.row.value, self.column.value = opening.row, opening.column
        self._quiet = False  # while several controls are set at once
        self._cursor: int | None = None  # the epoch that the loss curve shows
        self._compared: tuple[int, str] | None = None  # the epoch and the run that the comparison shows
        self._connect()
        self._refresh()

    def _connect(self) -> None:
        self.picture.observe(self._picked, ["pixel", "framed"])
        self.tabs.observe(self._changed, "selected_index")
        clicks = {"start": self._start, "cancel": self._cancel, "png": self._link, "svg": self._link}
        changes = {"class_filter": self._filter, "right_filter": self._filter, "text": self._restore}
        for name in CONTROLS:
            if name in clicks:
                getattr(self, name).on_click(clicks[name])
            else:
                getattr(self, name).observe(changes.get(name, self._changed), "value")

    @property
    def view(self) -> View:
        """What is shown now; assign one to show it."""
        (top, bottom), (left, right) = self.rows.value, self.columns.value
        return View(
            image=self._chosen()[self.position.value],
            threshold=round(self.threshold.value * UNIT),
            epoch=self.epoch.value - 1,
            **{name: getattr(self, name).value for name in AS_THEY_ARE},
            **{name: getattr(self, name).index for name in MENUS},
            **{"top": top, "bottom": bottom, "left": left, "right": right},
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
            self.threshold.value, self.epoch.value = view.weight, view.epoch + 1
            self.rows.value, self.columns.value = (view.top, view.bottom), (view.left, view.right)
            for name in AS_THEY_ARE:
                getattr(self, name).value = getattr(view, name)
            for name in MENUS:
                getattr(self, name).index = getattr(view, name)
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
    def _picked(self, _: object) -> None:
        """In the browser, by a click or a key: the pixel there, and the tab that shows it."""
        if self._quiet:
            return
        with self._quietly():
            self.row.value, self.column.value = self.picture.pixel
            self.tabs.selected_index = TABS.index("pixel")
        self._refresh()

    def _refresh(self) -> None:
        """Only what can be seen: the picture, and the tab in front."""
        view, tab = self.view, TABS[self.tabs.selected_index or 0]
        rectangle = tab in ("knock-out", "export") and self.blanked.value == "rectangle"
        with self._quietly():
            self.picture.show(self.scene, view, rectangle, frame=tab == "pixel")
        none = "" if self._passing() else "; none passes the filters, so all are shown"
        self.caption.value = (
            f"image {view.image} ({self.position.value + 1} of {len(self._chosen())}{none}): "
            f"{self.scene.prediction(view)}<br>inside the line: {self.scene.share(view):.1%} of the area; "
            f"effective area {self.scene.effective_area(view)}"
        )
        self.status.value = self.scene.missing()
        if tab == "epochs" and self.scene.losses and view.epoch != self._cursor:
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
        free = "a free or a frozen map" if self.scene.losses else "a plain map"
        kind = f"no pixel features: {free}" if strip is None else "classifier features:"
        self.probe.value = f"{self.scene.pixel(view)}; {kind}"
        if strip is not None:
            self.strip.value = png(strip)
        self.dots.value = png(self.scene.dots(view))

    @_reported
    def _start(self, _: object) -> None:
        if self._job is not None and self._job.running:
            return
        if self.scene.model is None:
            raise bad_value("model", "none", "the model to evaluate, for a knock-out")
        self.start.disabled, self.cancel.disabled = True, False
        self.result.value, self.progress.value, self.status.value = "", 0, self.scene.missing()
        scene, view = self.scene, self.view
        blanked = scene.blanked_in_words(view)
        # Off the main thread: the other controls go on working meanwhile.
        self._job = Job(
            lambda step: knock_out(scene.model, scene.image_set, scene.mask(view), on_step=step),
            on_step=self._step,
            on_end=lambda job: self._ended(job, blanked),
        )

    @_reported
    def _cancel(self, _: object) -> None:
        if self._job is not None and self._job.running:  # a click may come after the end
            self.result.value = "cancelled: ends after the running evaluation"
            self._job.cancel()

    def _step(self, done: int, of: int) -> None:
        self.progress.max, self.progress.value = of, done

    @_reported
    def _ended(self, job: Job, blanked: str) -> None:
        try:
            if job.error is not None:
                raise job.error
            if job.cancelled:
                self.result.value = "cancelled"
            else:
                self.knocked_out = job.result
                # Said below the numbers, which stay when the controls move on.
                self.result.value = f"{knock_out_table(job.result)}<br>blanked: {blanked}"
        finally:
            self.start.disabled, self.cancel.disabled = False, True

    def wait(self) -> None:
        """Until a running knock-out has ended: for scripts and tests."""
        if self._job is not None:
            self._job.wait()

    def figure(self) -> Figure:
        """This view as a Figure, for a report."""
        return self.scene.figure(self.view)

    def save(self, path: str | Path) -> Path:
        """Write this view as the kind of file that the ending says: .png, .svg or .pdf."""
        path = at_home("path", path)
        if path.suffix not in (".png", ".svg", ".pdf"):
            raise bad_value("path", str(path), "an ending of .png, .svg or .pdf")
        self.figure().savefig(path)
        return path

    def export_html(self, path: str | Path, images: int = 100, epochs: int = 50, knock_outs: bool = True) -> Path:
        """Write the inspector as one page that a browser opens offline, without a kernel; it begins at this view.

        Args:
            path: of the page, .html.
            images: of the set, at most so many: this one, mistakes, and others evenly spread.
            epochs: whose maps are there, at most so many.
            knock_outs: with the scores without the pixels of at least the threshold's weight, and without those below;
                that takes some evaluations of the set, and a model.

        Raises:
            ValueError: another ending; a number below 1.
        """
        path, view = at_home("path", path), self.view
        if path.suffix != ".html":
            raise bad_value("path", str(path), "an ending of .html")
        check_whole("images", images, 1)
        check_whole("epochs", epochs, 1)
        results = {}
        for kind in ("above", "below") if knock_outs and self.scene.model is not None else ():
            one = replace(view, blanked=BLANKED.index(kind))
            mask = self.scene.mask(one)
            if mask.any() and not mask.all():  # else there is nothing to compare with
                words = self.scene.blanked_in_words(one)
                results[words] = knock_out(self.scene.model, self.scene.image_set, mask)
        part = fragment(page_data(self.scene, view, images, epochs, results), "inspector")
        with whole_file(path) as file:
            file.write(page(part, "What the map weights", self.summary()).encode())
        return path

    @_reported
    def _link(self, button: object) -> None:
        kind = button.description.lower()
        mime = {"png": "image/png", "svg": "image/svg+xml"}[kind]
        name = f"view-{self.view_text}.{kind}"
        content = base64.b64encode(as_file(self.figure(), kind)).decode()
        self.link.value = f"<a download='{name}' href='data:{mime};base64,{content}'><u>save {name}</u></a>"

    def summary(self) -> str:
        """The view in one line of text."""
        return self.scene.summary(self.view)

    def _repr_mimebundle_(self, **kwargs: object) -> tuple[dict, dict]:
        """The panel where widgets live, and for paper and GitHub a contact sheet and a line of text."""
        alt = "Contact sheet of the inspector: the map over the mean image, epochs across, thresholds down."
        data, metadata = with_still(self, as_file(self.scene.sheet()), self.summary(), alt)
        metadata |= self.picture._repr_mimebundle_()[1]  # what Colab asks for, to draw a widget that is not its own
        if self.portable:
            data[MIME] = fragment(page_data(self.scene, self.view, 24, 12), f"inspector-{self.scene.mark}")
        return data, metadata
