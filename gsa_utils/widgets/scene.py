"""Scene: what the inspector shows of maps, predictions and images, as pure functions from a View to pictures and text.

It takes tensors; a TrainingRun is one way to give them.
"""

import html
import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from matplotlib.figure import Figure
from torch import Tensor, nn

from gsa_utils.arguments import bad_value, describe
from gsa_utils.evaluation.knockout import KnockOut
from gsa_utils.evaluation.maps import effective_area, stability
from gsa_utils.evaluation.scores import predict
from gsa_utils.files import checksum
from gsa_utils.images import ImageSet
from gsa_utils.plots import images as plots
from gsa_utils.plots import overlay as pictures
from gsa_utils.plots.scores import loss_axis, losses
from gsa_utils.plots.style import DIFFERENCES
from gsa_utils.training.state import TrainingRun, weight_maps
from gsa_utils.widgets.view import BLANKED, UNIT, View, decimals

# A run, one plain map, or one an epoch, the last of which is kept.
Maps = TrainingRun | Float[Tensor, "_ _"] | Sequence[Float[Tensor, "_ _"]]


class Scene:
    """What does not change while one looks: maps at the images' size, predictions, pixel features, and two figures.

    Takes and refuses what `MapInspector` does; `wide` is the width of the figures in pixels.
    """

    def __init__(
        self,
        run: Maps,
        image_set: ImageSet,
        others: Mapping[str, Maps],
        wide: int,
        probabilities: Float[Tensor, "images classes"] | None = None,
        model: nn.Module | None = None,
    ):
        if not isinstance(image_set, ImageSet):
            raise bad_value("image_set", describe(image_set), "an ImageSet")
        if not isinstance(model, nn.Module | None):
            raise bad_value("model", describe(model), "a torch module")
        self.image_set, self.wide = image_set, wide
        self.size = tuple(image_set.images.shape[-2:])
        maps, self.kept_epoch = _maps_of("run", "a run", run)
        beside = {name: _maps_of("others", repr(name), other) for name, other in others.items()}
        kept = {name: theirs[epoch] for name, (theirs, epoch) in beside.items()}
        # Of what is given: resized, a map is a little smoother, and its average moves by less than a step.
        self.boundary = float(maps[self.kept_epoch].mean())  # 1 for the map of a `WeightMap`
        self.areas = [effective_area(weights) if weights.any() else math.nan for weights in maps]
        self.maps = [_resized(weights, self.size) for weights in maps]
        self.others = {name: _resized(weights, self.size) for name, weights in kept.items()}
        self.limits, self.scale = pictures.limits_of(self.maps), pictures.scale_of(self.maps)
        self._correlations: dict[tuple[int, str], str] = {}
        self.mean_image = image_set.images.float().mean(dim=0)  # (C, H, W)
        self._mean_image = self.mean_image.to(torch.uint8)
        is_run = isinstance(run, TrainingRun)
        self.losses = losses(run.history) if is_run else {}
        self.model = run.model if is_run and model is None else model
        self.features = None if self.model is None else _features(self.model)  # (K, h, w), or None
        self.probabilities = self._predictions(probabilities)  # (N, classes), or None
        self.right = None if self.probabilities is None else self.probabilities.argmax(dim=1) == image_set.labels.cpu()
        self.loss_axis = loss_axis(self.losses, size=(wide, 190)) if self.losses else None
        self.intensity_axis = plots.intensity_axis(image_set.class_names, size=(wide, 150))
        # Of what a view shows, so that a view of another run, or beside another, is not taken for one of this; and of
        # what is given alone: what is computed here may be rounded otherwise on another machine.
        parts = [*maps, str(self.losses), image_set.images, image_set.labels]
        parts += [part for name_and_map in kept.items() for part in name_and_map]
        self.mark = checksum(*parts, *([] if probabilities is None else [probabilities]))

    def _predictions(self, given: Float[Tensor, "images classes"] | None) -> Float[Tensor, "images classes"] | None:
        """Those given, or the model's, or None."""
        if given is None:
            return None if self.model is None else predict(self.model, self.image_set)
        shape = len(self.image_set), len(self.image_set.class_names)
        fits = isinstance(given, Tensor) and given.shape == shape and given.is_floating_point()
        if not fits or given.min() < 0 or not ((given.sum(dim=1) - 1).abs() < 1e-3).all():
            expected = f"floats of shape {shape}, none negative, each row with the sum 1"
            raise bad_value("probabilities", describe(given), expected)
        return given.detach().float().cpu()

    @property
    def thresholds(self) -> tuple[float, float, int]:
        """The lowest and the highest threshold to choose, and the decimals that it has."""
        digits = decimals(*self.limits)
        step = 10**-digits
        low, high = math.floor(self.limits[0] / step), math.ceil(self.limits[1] / step)
        return low * step, max(high, low + 1) * step, digits

    def opening(self) -> View:
        """The kept map over the first image, the threshold at its average, the pixel of most weight, no rectangle."""
        row, column = divmod(int(self.maps[self.kept_epoch].argmax()), self.size[1])
        threshold = round(round(self.boundary, self.thresholds[2]) * UNIT)
        shown = {"image": 0, "background": 0, "opacity": 50, "threshold": threshold, "epoch": self.kept_epoch}
        return View(**shown, row=row, column=column, blanked=0, top=0, bottom=0, left=0, right=0, other=0)

    def missing(self) -> str:
        """What is not shown for want of something, in words; empty for a run."""
        gaps = {
            "no loss curves without a run": not self.losses,
            "no predictions without probabilities or a model": self.probabilities is None,
            "no knock-out without a model": self.model is None,
        }
        return "; ".join(gap for gap, is_there in gaps.items() if is_there)

    def passing(self, class_name: str | None, right: bool | None) -> list[int]:
        """Numbers of the images of this class whose prediction is right or wrong; None for any."""
        chosen = torch.ones(len(self.image_set), dtype=torch.bool)
        if class_name is not None:
            chosen &= self.image_set.labels.cpu() == self.image_set.class_names.index(class_name)
        if right is not None:
            chosen &= self.right == right
        return chosen.nonzero()[:, 0].tolist()

    def inside(self, view: View) -> Bool[Tensor, "height width"]:
        """Pixels of at least the threshold's weight."""
        # By NumPy, in this thread: for a large map torch would wake others, and wait for them while cores are busy.
        return torch.from_numpy(pictures.array(self.maps[view.epoch]) >= view.weight)

    def mask(self, view: View) -> Bool[Tensor, "height width"]:
        """The pixels that a knock-out would blank."""
        if BLANKED[view.blanked] != "rectangle":
            return self.inside(view) if BLANKED[view.blanked] == "above" else ~self.inside(view)
        mask = torch.zeros(self.size, dtype=torch.bool)
        mask[view.top : view.bottom + 1, view.left : view.right + 1] = True
        return mask

    def blanked_in_words(self, view: View) -> str:
        """In words, which pixels those are."""
        if BLANKED[view.blanked] == "rectangle":
            return f"rows {view.top} to {view.bottom}, columns {view.left} to {view.right}"
        kind = "of at least" if BLANKED[view.blanked] == "above" else "below"
        return f"weights {kind} {view.weight:g} after epoch {view.epoch + 1}"

    def under(self, view: View) -> UInt8[Tensor, "channels height width"]:
        """What lies under the map: the image, or the mean of all."""
        return self._mean_image if view.background else self.image_set.images[view.image]

    def picture(self, view: View, side: int, rectangle: bool = False, frame: bool = False) -> pictures.RGB:
        """The map over the image, with the boundary (or the outline of the rectangle), and a frame around the pixel."""
        outlined = self.mask(view) if rectangle else self.inside(view)
        cross = (view.row, view.column) if frame else None
        under, weights = self.under(view), self.maps[view.epoch]
        return pictures.overlay(under, weights, view.opacity / 100, self.scale, outlined, cross, side)

    def prediction(self, view: View) -> str:
        """One line of HTML."""
        if self.probabilities is None:
            return "not predicted"
        names, row = self.image_set.class_names, self.probabilities[view.image]
        label, guess = int(self.image_set.labels[view.image]), int(row.argmax())
        verdict = "right" if label == guess else f"<b>wrong</b>, it is {html.escape(names[label])}"
        return f"predicted <b>{html.escape(names[guess])}</b> with probability {row[guess]:.3f}, {verdict}"

    def share(self, view: View) -> float:
        """Of the area that is inside the boundary."""
        return float(pictures.array(self.inside(view)).mean())

    def effective_area(self, view: View) -> str:
        """Of this epoch's map, in words: 1 for one that weights every pixel alike."""
        area = self.areas[view.epoch]
        return "not defined: no weight anywhere" if math.isnan(area) else f"{area:.2f}"

    def curve(self, view: View) -> pictures.RGB:
        return pictures.with_cursor(self.loss_axis, view.epoch + 1)

    def intensities(self, view: View) -> Float[Tensor, "images"]:
        """Of the framed pixel in every image; the mean of the channels where there are three."""
        return self.image_set.images[:, :, view.row, view.column].float().mean(dim=1)

    def dots(self, view: View) -> pictures.RGB:
        return pictures.with_dots(self.intensity_axis, self.intensities(view), self.image_set.labels)

    def pixel(self, view: View) -> str:
        """Weight and rank of the framed pixel."""
        weights = self.maps[view.epoch]
        weight = weights[view.row, view.column]
        rank = int((weights > weight).sum()) + 1
        return f"weight {weight:.{max(4, decimals(*self.limits))}f}, rank {rank} of {weights.numel()}"

    def strip(self, view: View) -> pictures.RGB | None:
        """The classifier's features of the framed pixel, one cell each; brown is negative, purple positive."""
        if self.features is None:
            return None
        height, width = self.features.shape[-2:]
        own = self.features[:, view.row * height // self.size[0], view.column * width // self.size[1]]  # (K,)
        cells = _differences(own[None], own.abs().max().item())
        return pictures.enlarged(cells, 16, max(1, self.wide // len(own)))

    def comparison(self, view: View, name: str) -> tuple[pictures.RGB, str]:
        """This map, the other run's kept map, and their difference; then in words."""
        mine, theirs = self.maps[view.epoch], self.others[name]
        limits, scale = [pictures.limits_of([each]) for each in (mine, theirs)], pictures.scale_of([mine, theirs])
        most = (mine - theirs).abs().max().item()
        digits = max(3, *(decimals(*ends) for ends in limits))
        side = self.wide // 3 - 8
        zoom, thin = pictures.zoom_of(self.size, side), -(-max(self.size) // side)  # a third shows no more pixels
        few = [weights[::thin, ::thin] for weights in (mine, theirs)]
        painted = [*(pictures.coloured(each, scale) for each in few), _differences(few[0] - few[1], most)]
        shown = [pictures.enlarged(picture, zoom, zoom) for picture in painted]
        first, second = (f"{low:.{digits}f} to {high:.{digits}f}" for low, high in limits)
        words = (
            f"left: this map, {first}; middle: {html.escape(name)}, {second}; "
            f"right: this minus that, brown -{most:.{digits}f} to purple {most:.{digits}f}.<br>"
            f"rank correlation <b>{self._alike(view.epoch, name)}</b>"
        )
        return pictures.side_by_side(*shown), words

    def _alike(self, epoch: int, name: str) -> str:
        """The rank correlation in words; kept, since ranking a large map takes longer than a frame may."""
        if (epoch, name) not in self._correlations:
            value = stability([self.maps[epoch], self.others[name]])
            words = "not defined: a constant map has no order" if math.isnan(value) else f"{value:.3f}"
            self._correlations[epoch, name] = words
        return self._correlations[epoch, name]

    def summary(self, view: View) -> str:
        """The view in one line of plain text."""
        right = self.right
        known = "" if right is None else f"; {right.float().mean():.1%} of {len(right)} predictions are right"
        share = f"{self.share(view):.1%} of the pixels have a weight of at least {view.weight:g}"
        area = f"effective area {self.effective_area(view)}"
        return f"epoch {view.epoch + 1} of {len(self.maps)}: {share}; {area}{known}"

    def figure(self, view: View) -> Figure:
        """The view for a report."""
        rectangle = BLANKED[view.blanked] == "rectangle"
        outlined = f"; outlined: {self.blanked_in_words(view)}" if rectangle else ""
        values, labels = self.intensities(view), self.image_set.labels
        return plots.inspector_report(
            self.picture(view, 400, rectangle, frame=True),
            self.scale,
            self.losses,
            view.epoch + 1,
            {name: values[labels == number] for number, name in enumerate(self.image_set.class_names)},
            f"row {view.row}, column {view.column}",
            f"{self.summary(view)}{outlined}\nview {view.text(self.mark)}",
        )

    def sheet(self) -> Figure:
        """Maps of up to four epochs over the mean image: at the boundary, and halfway to the lowest and the highest."""
        last, middle = len(self.maps), self.boundary
        epochs = sorted({1, (last + 3) // 4, (last + 1) // 2, last})
        thresholds = [(self.limits[0] + middle) / 2, middle, (middle + self.limits[1]) / 2]
        return plots.contact_sheet(self.mean_image, {f"epoch {e}": self.maps[e - 1] for e in epochs}, thresholds)


def knock_out_table(result: KnockOut) -> str:
    """Accuracy and AUROC of the four kinds, as HTML."""
    lines = "<tr><td></td><td>accuracy</td><td>AUROC</td></tr>"
    for name, scores in result.rows().items():
        cells = [_cell([one[score] for one in scores]) for score in ("accuracy", "auroc")]
        lines += f"<tr><td>{name}</td>{''.join(cells)}</tr>"
    return f"<table>{lines}</table>mean (lowest to highest) of {len(result.moved)} draws"


def _cell(values: list[float]) -> str:
    spread = f"<br>({min(values):.3f} to {max(values):.3f})" if len(values) > 1 else ""
    return f"<td>{sum(values) / len(values):.3f}{spread}</td>"


def _differences(values: Float[Tensor, "height width"], most: float) -> pictures.RGB:
    """From brown for -most over white for 0 to purple for most; all white where there is no difference."""
    return pictures.coloured(values, (-(most or 1.0), 0.0, most or 1.0), DIFFERENCES)


def _resized(weights: Float[Tensor, "h w"], size: tuple[int, int]) -> Float[Tensor, "height width"]:
    """A map on a coarser or finer grid, as `WeightMap.forward` resizes it for finer activations."""
    return weights if weights.shape == size else F.interpolate(weights[None, None], size, mode="bilinear")[0, 0]


def _maps_of(argument: str, called: str, given: Maps) -> tuple[list[Float[Tensor, "_ _"]], int]:
    """The maps of a run, or plain ones; and which of them is kept."""
    if isinstance(given, TrainingRun):
        if not given.maps:
            raise bad_value(argument, f"{called} without weight maps", "the run of a model with attention")
        return given.maps, given.kept_epoch
    maps = [given] if isinstance(given, Tensor) else list(given) if isinstance(given, Sequence) else []
    for weights in maps or [given]:
        if not isinstance(weights, Tensor) or weights.ndim != 2 or not weights.is_floating_point():
            expected = "a TrainingRun, a weight map (H, W) or a list of them, one an epoch"
            raise bad_value(argument, describe(weights), expected)
        if not ((weights >= 0) & (weights < math.inf)).all():
            raise bad_value(argument, "a map with weights that are negative or not finite", "finite weights from 0 on")
    return [weights.detach().float().cpu() for weights in maps], len(maps) - 1


def _features(model: nn.Module) -> Float[Tensor, "features h w"] | None:
    for part in weight_maps(model):
        if hasattr(part, "features"):
            return part.features[0].detach().cpu()
    return None
