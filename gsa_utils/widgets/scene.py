"""Scene: what the inspector shows of a run and an image set, as pure functions from a View to pictures and text."""

import html
import math
import zlib
from collections.abc import Iterable, Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from matplotlib.figure import Figure
from torch import Tensor

from gsa_utils.arguments import bad_value
from gsa_utils.attention import WeightMap
from gsa_utils.evaluation.knockout import KnockOut
from gsa_utils.evaluation.maps import stability
from gsa_utils.images import ImageSet
from gsa_utils.plots import images as plots
from gsa_utils.plots import overlay as pictures
from gsa_utils.plots.scores import loss_axis
from gsa_utils.plots.style import DIFFERENCES
from gsa_utils.training.loop import TrainingRun
from gsa_utils.widgets.view import BLANKED, View, decimals


class Scene:
    """What does not change while one looks: maps at the images' size, predictions, pixel features, and two figures.

    Raises:
        ValueError: a run without maps, among the others too.
    """

    def __init__(self, run: TrainingRun, image_set: ImageSet, others: Mapping[str, TrainingRun], wide: int):
        self.run, self.image_set, self.others, self.wide = run, image_set, dict(others), wide
        if not run.maps:
            raise bad_value("run", "a run without weight maps", "the run of a model with attention")
        for name, other in self.others.items():
            if not other.maps:
                raise bad_value("others", f"{name!r} without weight maps", "runs of models with attention")
        self.size = tuple(image_set.images.shape[-2:])
        self.maps = [_resized(weights, self.size) for weights in run.maps]
        self.kept = {name: _resized(other.maps[other.best_epoch], self.size) for name, other in self.others.items()}
        self.limits = min(m.min().item() for m in self.maps), max(m.max().item() for m in self.maps)
        self._correlations: dict[tuple[int, str], str] = {}
        self.mean_image = image_set.images.float().mean(dim=0)  # (C, H, W)
        self.probabilities = _probabilities(run, image_set)  # (N, classes)
        self.right = self.probabilities.argmax(dim=1) == image_set.labels.cpu()  # (N,)
        self.features = _features(run)  # (K, h, w), or None
        names = {"training": "train_loss", "validation": "valid_loss"}
        self.losses = {name: [row[key] for row in run.history] for name, key in names.items()}
        self.loss_axis = loss_axis(self.losses, size=(wide, 190))
        self.intensity_axis = plots.intensity_axis(image_set.class_names, size=(wide, 150))
        # Of what a view shows, so that a view of another run, or beside another, is not taken for one of this; and of
        # what is saved with a run alone: what is computed here may be rounded otherwise on another machine.
        beside = [part for name, other in self.others.items() for part in (name, other.maps[other.best_epoch])]
        parts = [*run.maps, str(self.losses), image_set.images, image_set.labels, *beside]
        self.mark = f"{_checksum(parts):08x}"

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

    def picture(self, view: View, side: int, rectangle: bool = False, frame: bool = False) -> pictures.RGB:
        """The map over the image, with the boundary (or the outline of the rectangle), and a frame around the pixel."""
        outlined = self.mask(view) if rectangle else self.inside(view)
        cross = (view.row, view.column) if frame else None
        under = self._under(view)
        return pictures.overlay(under, self.maps[view.epoch], view.opacity / 100, self.limits, outlined, cross, side)

    def _under(self, view: View) -> Tensor:
        return self.mean_image if view.background else self.image_set.images[view.image]

    def prediction(self, view: View) -> str:
        """One line of HTML."""
        names, row = self.image_set.class_names, self.probabilities[view.image]
        label, guess = int(self.image_set.labels[view.image]), int(row.argmax())
        verdict = "right" if label == guess else f"<b>wrong</b>, it is {html.escape(names[label])}"
        return f"predicted <b>{html.escape(names[guess])}</b> with probability {row[guess]:.3f}, {verdict}"

    def share(self, view: View) -> float:
        """Of the area that is inside the boundary."""
        return float(pictures.array(self.inside(view)).mean())

    def curve(self, view: View) -> pictures.RGB:
        return pictures.with_cursor(self.loss_axis, view.epoch + 1)

    def intensities(self, view: View) -> Float[Tensor, "images"]:
        """Of the framed pixel in every image; the mean of the channels where there are three."""
        return self.image_set.images[:, :, view.row, view.column].float().mean(dim=1)

    def dots(self, view: View) -> pictures.RGB:
        return pictures.with_dots(self.intensity_axis, self.intensities(view), self.image_set.labels)

    def pixel(self, view: View) -> str:
        """Weight, logit and rank of the framed pixel."""
        weights = self.maps[view.epoch]
        weight = weights[view.row, view.column]
        rank = int((weights > weight).sum()) + 1
        # In float32 a sigmoid is exactly 1 from about 17 on, and 0 from about -89 on.
        logit = f"{torch.logit(weight):+.3f}" if 0 < weight < 1 else ("above 16" if weight else "below -88")
        return f"weight {weight:.{max(4, decimals(*self.limits))}f}, logit {logit}, rank {rank} of {weights.numel()}"

    def strip(self, view: View) -> pictures.RGB | None:
        """The classifier's features of the framed pixel, one cell each; brown is negative, purple positive."""
        if self.features is None:
            return None
        height, width = self.features.shape[-2:]
        own = self.features[:, view.row * height // self.size[0], view.column * width // self.size[1]]  # (K,)
        cells = _differences(own[None], own.abs().max().item())
        return cells.repeat(16, axis=0).repeat(max(1, self.wide // len(own)), axis=1)

    def comparison(self, view: View, name: str) -> tuple[pictures.RGB, str]:
        """This map, the other run's kept map, and their difference; then in words."""
        mine, theirs = self.maps[view.epoch], self.kept[name]
        limits = [(weights.min().item(), weights.max().item()) for weights in (mine, theirs)]
        most = (mine - theirs).abs().max().item()
        digits = max(3, *(decimals(*ends) for ends in limits))
        side = self.wide // 3 - 8
        zoom, thin = pictures.zoom_of(self.size, side), -(-max(self.size) // side)  # a third shows no more pixels
        few = [weights[::thin, ::thin] for weights in (mine, theirs)]
        painted = [*map(pictures.coloured, few, limits), _differences(few[0] - few[1], most)]
        shown = [picture.repeat(zoom, axis=0).repeat(zoom, axis=1) for picture in painted]
        first, second = (f"{low:.{digits}f} to {high:.{digits}f}" for low, high in limits)
        words = (
            f"left: this map, {first}; middle: {html.escape(name)}, {second} (each on its own colours); "
            f"right: this minus that, brown -{most:.{digits}f} to purple {most:.{digits}f}.<br>"
            f"rank correlation <b>{self._alike(view.epoch, name)}</b>"
        )
        return pictures.side_by_side(*shown), words

    def _alike(self, epoch: int, name: str) -> str:
        """The rank correlation in words; kept, since ranking a large map takes longer than a frame may."""
        if (epoch, name) not in self._correlations:
            value = stability([self.maps[epoch], self.kept[name]])
            words = "not defined: a constant map has no order" if math.isnan(value) else f"{value:.3f}"
            self._correlations[epoch, name] = words
        return self._correlations[epoch, name]

    def summary(self, view: View) -> str:
        """The view in one line of plain text."""
        return (
            f"epoch {view.epoch + 1} of {len(self.maps)}: {self.share(view):.1%} of the pixels have a weight of at "
            f"least {view.weight:g}; {self.right.float().mean():.1%} of {len(self.right)} predictions are right"
        )

    def figure(self, view: View) -> Figure:
        """The view for a report."""
        rectangle = BLANKED[view.blanked] == "rectangle"
        outlined = f"; outlined: {self.blanked_in_words(view)}" if rectangle else ""
        values, labels = self.intensities(view), self.image_set.labels
        return plots.inspector_report(
            self.picture(view, 400, rectangle, frame=True),
            self.limits,
            self.losses,
            view.epoch + 1,
            {name: values[labels == number] for number, name in enumerate(self.image_set.class_names)},
            f"row {view.row}, column {view.column}",
            f"{self.summary(view)}{outlined}\nview {view.text(self.mark)}",
        )

    def sheet(self) -> Figure:
        """Maps of up to four epochs at three thresholds, over the mean image."""
        last, (low, high) = len(self.maps), self.limits
        epochs = sorted({1, (last + 3) // 4, (last + 1) // 2, last})
        thresholds = [low + share * (high - low) for share in (0.35, 0.5, 0.65)]
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
    return pictures.coloured(values, (-(most or 1.0), most or 1.0), DIFFERENCES)


def _resized(weights: Float[Tensor, "h w"], size: tuple[int, int]) -> Float[Tensor, "height width"]:
    """A map on a coarser or finer grid, as `WeightMap.forward` resizes it for finer activations."""
    return weights if weights.shape == size else F.interpolate(weights[None, None], size, mode="bilinear")[0, 0]


def _probabilities(run: TrainingRun, image_set: ImageSet) -> Float[Tensor, "images classes"]:
    device = next(run.model.parameters()).device
    run.model.eval()
    with torch.no_grad():
        logits = [run.model(batch.to(device).float() / 255).float().cpu() for batch in image_set.images.split(256)]
    return torch.cat(logits).softmax(dim=1)


def _features(run: TrainingRun) -> Float[Tensor, "features h w"] | None:
    for part in run.model.modules():
        if isinstance(part, WeightMap) and hasattr(part, "features"):
            return part.features[0].detach().cpu()
    return None


def _checksum(parts: Iterable[Tensor | str]) -> int:
    value = 0
    for part in parts:
        content = part.encode() if isinstance(part, str) else part.detach().cpu().contiguous().numpy()
        value = zlib.crc32(content, value)
    return value
