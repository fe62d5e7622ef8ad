"""Panel: the inspector's widgets, labelled and laid out for a 13-inch screen; inspector.py makes them do something."""

from collections.abc import Sequence
from pathlib import Path

try:
    import ipywidgets as widgets
    import traitlets
    from anywidget import AnyWidget
except ImportError as error:
    raise ImportError("the inspector needs ipywidgets and anywidget: pip install 'gsa-utils[course]'") from error

from gsa_utils.plots.overlay import Scale, array
from gsa_utils.plots.style import WEIGHTS
from gsa_utils.widgets.scene import Scene
from gsa_utils.widgets.view import BACKGROUNDS, BLANKED, View

# In screen pixels. Side by side they fit into a cell of a 1280 pixels wide JupyterLab with its side bar open.
PICTURE = 352
WIDE = 430
# What a test or a screen reader can reach, by attribute name.
CONTROLS = (
    *("class_filter", "right_filter", "position", "background", "opacity", "threshold", "epoch", "row", "column"),
    *("blanked", "rows", "columns", "start", "cancel", "other", "text", "png", "svg"),
)
PICTURES = ("curve", "dots", "strip", "comparison")  # painted here, and the one of the map in the browser
TEXTS = ("caption", "probe", "result", "difference", "link", "status")
TABS = ("epochs", "pixel", "knock-out", "compare", "export")

# Pictures without smoothing: a pixel of the image stays a square.
CSS = """
img.gsa-pixels { image-rendering: pixelated }
.gsa-inspector canvas:focus-visible { outline: 3px solid #3b82f6; outline-offset: 2px }
.gsa-inspector .widget-html-content { line-height: 1.5 }
.gsa-inspector td { padding-right: 12px; vertical-align: top }
.gsa-inspector td + td { white-space: nowrap }
"""

# In command mode JupyterLab and Notebook 7 take keys for themselves: an arrow would leave a menu for the next cell, and
# "m" on a slider would turn the cell into text. With this attribute on what has the focus they let them pass.
OWN_KEYS = (
    "this.closest('.gsa-inspector')?.addEventListener("
    "'focusin', event => event.target.setAttribute('data-lm-suppress-shortcuts', 'true'))"
)


class Picture(AnyWidget):
    """The map over an image, painted by the browser (picture.js), to the pixels of `Scene.picture`.

    The browser sets `pixel`, and that it is framed, when one is clicked or gone to by the arrow keys.
    """

    _esm = Path(__file__).with_name("picture.js")
    size = traitlets.List().tag(sync=True)  # height and width of the image
    under = traitlets.Bytes().tag(sync=True)  # C x H x W, one byte each
    weights = traitlets.Bytes().tag(sync=True)  # H x W, 32-bit floats
    colours = traitlets.Bytes(WEIGHTS.tobytes()).tag(sync=True)
    scale = traitlets.List().tag(sync=True)  # the weights of the first, the middle and the last colour
    opacity = traitlets.Int().tag(sync=True)  # per cent
    threshold = traitlets.Float().tag(sync=True)
    pixel = traitlets.List().tag(sync=True)  # row and column
    framed = traitlets.Bool().tag(sync=True)
    rectangle = traitlets.List().tag(sync=True)  # first and last row and column, outlined in place of the boundary

    def __init__(self, size: tuple[int, int], scale: Scale, **settings: object):
        empty = {"under": bytes(size[0] * size[1]), "weights": bytes(4 * size[0] * size[1]), "pixel": [0, 0]}
        super().__init__(size=list(size), scale=list(scale), **empty, **settings)

    def show(self, scene: Scene, view: View, rectangle: bool, frame: bool) -> None:
        """All but opacity and threshold, which follow their sliders in the browser; in one message."""
        with self.hold_sync():
            self.under = array(scene.under(view)).tobytes()
            self.weights = array(scene.maps[view.epoch]).tobytes()
            self.pixel, self.framed = [view.row, view.column], frame
            self.rectangle = [view.top, view.bottom, view.left, view.right] if rectangle else []


class Panel(widgets.VBox):
    """All widgets of the inspector, for what there is in a scene.

    Written for ipywidgets 8; what is done for 7, which Colab still seems to have, is said there.
    """

    def __init__(self, scene: Scene):
        self.scene = scene
        self._make_picking()
        self._make_map_controls()
        self._make_tab_controls()
        self._make_displays()
        super().__init__(self._lay_out())
        self.add_class("gsa-inspector")
        for name in ("picture", *CONTROLS, *PICTURES, *TEXTS):
            getattr(self, name).add_class(f"gsa-{name}")

    def _make_picking(self) -> None:
        names = ["all", *self.scene.image_set.class_names]
        self.class_filter = _menu("class", "Show images of one class only", names)
        self.right_filter = _menu("predicted", "Right or wrong predictions only", ["all", "right", "wrong"])
        self.right_filter.disabled = self.scene.right is None
        last = len(self.scene.image_set) - 1
        self.position = _slider("image", "Which image, of those that pass the filters", 0, last)

    def _make_map_controls(self) -> None:
        self.background = _menu("under", "What lies under the map: the image or the mean of all images", BACKGROUNDS)
        self.opacity = _slider("opacity", "Opacity of the map, per cent", 0, 100, 50)
        low, high, digits = self.scene.thresholds
        tip = "Pixels of at least this weight are inside the line; the decision boundary is the average, 1"
        ends = {"min": low, "max": high, "step": 10**-digits, "readout_format": f".{digits}f"}
        self.threshold = _control(widgets.FloatSlider, "threshold", tip, **ends)
        tip, last = "The map after this epoch; predictions are the kept epoch's", len(self.scene.maps)
        self.epoch = _slider("epoch", tip, 1, last, last)

    def _make_tab_controls(self) -> None:
        height, width = self.scene.size
        self.row = _slider("row", "Row of the pixel, from the top", 0, height - 1)
        self.column = _slider("column", "Column of the pixel, from the left", 0, width - 1)
        self.blanked = _menu("blank", "Which pixels to blank: by the threshold, or a rectangle", BLANKED)
        self.rows = _range("rows", "First and last row of the rectangle", height)
        self.columns = _range("columns", "First and last column of the rectangle", width)
        tip = "Blank these pixels in all images of the set and evaluate, with two controls"
        self.start = widgets.Button(description="knock out", tooltip=tip, button_style="primary")
        self.start.disabled = self.scene.model is None
        self.cancel = widgets.Button(description="cancel", tooltip="End the running knock-out", disabled=True)
        self.progress = widgets.IntProgress(0, 0, 1, layout={"width": "120px"})
        others = list(self.scene.others) or ["no other run given"]
        self.other = _menu("compare", "The run whose map to compare with this one", others)
        tip = "This view as text. Paste one and press Enter to come back to it"
        self.text = _control(widgets.Text, "view", tip, continuous_update=False)
        self.png = widgets.Button(description="PNG", tooltip="Make a link to this view as a PNG picture")
        self.svg = widgets.Button(description="SVG", tooltip="Make a link to this view as an SVG drawing")

    def _make_displays(self) -> None:
        # Not stretched to the width of the column: a pixel of the image would get an uneven number of the screen's.
        layout = {"max_width": "100%", "align_self": "flex-start"}
        self.picture = Picture(self.scene.size, self.scene.scale, layout=layout)
        # Between two widgets of the browser: a slider moves the picture while the kernel trains, too.
        widgets.jsdlink((self.opacity, "value"), (self.picture, "opacity"))
        widgets.jsdlink((self.threshold, "value"), (self.picture, "threshold"))
        for name in PICTURES:
            setattr(self, name, widgets.Image(layout=layout))
        self.curve.layout.display = None if self.scene.losses else "none"
        for name in ("strip", "comparison"):
            getattr(self, name).add_class("gsa-pixels")
        for name in TEXTS:
            setattr(self, name, widgets.HTML())

    def _lay_out(self) -> list[widgets.Widget]:
        colours = ", ".join(f"rgb({r},{g},{b})" for r, g, b in WEIGHTS[::51])
        bar = f"display:inline-block;width:110px;height:12px;background:linear-gradient(to right, {colours})"
        low, middle, high = self.scene.scale
        legend = widgets.HTML(f"weight {low:.3g} <span style='{bar}'></span> {high:.3g}, in the middle {middle:.3g}")
        style = widgets.HTML(f'<style onload="{OWN_KEYS}">{CSS}</style>', layout={"display": "none"})
        contents = [
            [self.epoch, self.curve],
            [self.row, self.column, self.probe, self.strip, self.dots],
            [self.blanked, self.rows, self.columns, _row(self.start, self.cancel, self.progress), self.result],
            [self.other, self.comparison, self.difference],
            [self.text, _row(self.png, self.svg), self.link],
        ]
        self.tabs = widgets.Tab([widgets.VBox(parts) for parts in contents])
        for place, title in enumerate(TABS):  # ipywidgets 7 has no titles=
            self.tabs.set_title(place, title)
        # Colab draws widgets that are not its own by a front end of version 8, which shows no tabs without these:
        # https://github.com/googlecolab/colab-cdn-widget-manager/issues/30
        if not self.tabs.has_trait("titles"):
            self.tabs.add_traits(titles=traitlets.Tuple(TABS).tag(sync=True))
        left = widgets.VBox([self.picture, legend, self.caption], layout={"width": f"{PICTURE + 8}px"})
        filters = _row(self.class_filter, self.right_filter)
        over = [filters, self.position, self.background, self.opacity, self.threshold]
        right = widgets.VBox([*over, self.tabs, self.status], layout={"width": f"{WIDE + 45}px"})
        return [style, widgets.HBox([left, right], layout={"flex_flow": "row wrap"})]


def _row(*parts: widgets.Widget) -> widgets.HBox:
    return widgets.HBox(parts)


def _control(kind: type, label: str, tip: str, **settings: object) -> widgets.DOMWidget:
    layout = {"width": f"{WIDE // 2}px" if kind is widgets.Dropdown else f"{WIDE}px"}
    settings["tooltip" if "tooltip" in kind.class_trait_names() else "description_tooltip"] = tip  # ipywidgets 8 or 7
    return kind(description=label, layout=layout, style={"description_width": "72px"}, **settings)


def _menu(label: str, tip: str, options: Sequence[str]) -> widgets.Dropdown:
    return _control(widgets.Dropdown, label, tip, options=list(options))


def _slider(label: str, tip: str, low: int, high: int, value: int | None = None) -> widgets.IntSlider:
    return _control(widgets.IntSlider, label, tip, min=low, max=high, value=low if value is None else value)


def _range(label: str, tip: str, count: int) -> widgets.IntRangeSlider:
    middle = (count // 4, max(count // 4, count // 2 - 1))
    return _control(widgets.IntRangeSlider, label, tip, min=0, max=count - 1, value=middle)
