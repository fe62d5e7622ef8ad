"""All steps, from a folder to a verdict and a report; what an interrupted call has done is not done again."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from gsa_utils import plots
from gsa_utils.arguments import at_home
from gsa_utils.evaluation.maps import stability
from gsa_utils.export.report import Section, write_report
from gsa_utils.export.saved import save_model
from gsa_utils.images import ImageSet
from gsa_utils.own.compare import FOLDS, Outcome, compare_on, difference, final_model, measured_seconds
from gsa_utils.own.findings import Findings, find
from gsa_utils.own.images import Found, read_images
from gsa_utils.own.verdicts import Alignment, check_alignment, gain_sentence, shortcut_alarm
from gsa_utils.study.comparison import FoldDifference
from gsa_utils.widgets.scene import Scene
from gsa_utils.widgets.standalone import fragment, page_data

MEDICAL = (
    "For research and teaching. This is not a medical device, and nothing here is a diagnosis. The images stay on this "
    "machine; pictures of means and of single images are in this file: mind whom you send it to."
)


@dataclass(frozen=True)
class Examined:
    """What `examine` found, each part with its own verdict.

    Attributes:
        maps: (folds, h, w), the mean shared map of each fold; mean 1.
        stability: how alike these are, the mean rank correlation of pairs.
        alarm: zone -> weight, of the zones at the border that look like a shortcut.
    """

    found: Found
    findings: Findings
    alignment: Alignment
    outcomes: list[Outcome]
    gain: FoldDifference
    maps: Float[Tensor, "folds h w"]
    stability: float
    alarm: dict[str, float]
    report: Path


def examine(
    source: str | Path,
    out: str | Path,
    size: int = 96,
    persons: str | None = None,
    maps: int = 4,
    repeats: int = 2,
    most: int = 2000,
    say: Callable[[str], None] = print,
) -> Examined:
    """Read the images, check them, compare average pooling with shared maps over folds, and write `out`/report.html.

    Args:
        source: a folder with one sub-folder per class, or a CSV (`own.images.list_images`).
        out: where the results are kept; the same call goes on there.
        size: rows and columns to which all images are resized.
        persons: a regular expression that finds the person in a path.
        maps: how many shared maps.
        repeats: of the five folds.
        most: images that are looked at.

    Raises:
        ValueError: names the argument: no images, a class with too few, a bad pattern.
    """
    out = at_home("out", out)
    out.mkdir(parents=True, exist_ok=True)
    found = read_images(source, size, persons, most)
    findings, alignment = find(found.image_set), check_alignment(found.image_set.images)
    for sentence in findings.sentences:
        say(sentence)
    if found.left_out:
        say(f"{len(found.left_out)} files were left out; the report says why.")
    say(alignment.sentence)
    seconds, megabytes = measured_seconds(found.image_set, maps, repeats)
    say(f"comparing now: about {max(1, round(seconds / 60))} minutes, {megabytes} MB on disk; interrupt at any time")
    outcomes, started = [], time.monotonic()
    for one in compare_on(found.image_set, out, maps, repeats):
        outcomes.append(one)
        of = f"{len(outcomes)} of {2 * FOLDS * repeats}, {time.monotonic() - started:.0f} s"
        say(f"{of}: {one.arm}, repeat {one.repeat}, fold {one.fold}: AUROC {one.auroc:.3f}")
    gain = difference(outcomes)
    say(gain_sentence(gain))
    weight_maps = torch.tensor([one.weight_map for one in outcomes if one.weight_map is not None])
    alarm, alike = shortcut_alarm(weight_maps), stability(list(weight_maps))
    say(alarm_sentence(alarm))
    examined = Examined(found, findings, alignment, outcomes, gain, weight_maps, alike, alarm, out / "report.html")
    metrics = {"AUROC, shared maps minus average": [gain.mean, gain.low, gain.high]}
    for arm in ("average", "shared"):
        of_arm = [one.auroc for one in outcomes if one.arm == arm]
        metrics[f"AUROC, {arm}, mean of the folds"] = sum(of_arm) / len(of_arm)
    model = final_model(found.image_set, out, outcomes, maps)
    save_model(model, out / "model.safetensors", metrics, found.reader)
    say(f"the model: {out / 'model.safetensors'}")
    write_report(examined.report, f"One shared map on {found.image_set.name}?", sections(examined))
    say(f"the report: {examined.report}")
    return examined


def alarm_sentence(alarm: dict[str, float]) -> str:
    """In plain words, and what to do."""
    if not alarm:
        return "no alarm: no corner and no edge has much more weight than the average."
    places = ", ".join(f"{zone} ({weight:.1f} times the average)" for zone, weight in alarm.items())
    return (
        f"a shortcut? Look at: {places}. Is there a letter, a caption, a frame? Blank it in all images and run again."
    )


def sections(examined: Examined) -> list[Section]:
    """Of the report."""
    findings, alignment, found = examined.findings, examined.alignment, examined.found
    brightest = alignment.deviation / alignment.deviation.max().clamp(min=1e-6)
    left_out = [("file", "why"), *((file.name, why) for file, why in found.left_out[:50])]
    pairs = [(found.files[a].name, found.files[b].name) for a, b in (findings.contradictions + findings.leaks)[:20]]
    return [
        Section(
            "What was found",
            paragraphs=findings.sentences + ([f"{len(found.left_out)} files were left out."] if found.left_out else []),
            table=left_out if found.left_out else [("suspicious pair", ""), *pairs] if pairs else (),
            figures=[(_classes(found), "The mean image of each class, and one image of each.")],
        ),
        Section(
            "Are the images aligned?",
            alignment.sentence,
            figures=[
                (
                    plots.image_rows({"": [alignment.mean, brightest]}, ["mean", "deviation"], limits=(0, 1)),
                    "The mean of all images, and their deviation, brightest where they differ most.",
                )
            ],
        ),
        Section(
            "Does one shared map help?",
            gain_sentence(examined.gain),
            [
                "A frozen pretrained network (EfficientNet-Lite0) is read by average pooling and by shared maps. Both "
                "had six trials on each fold, chosen on other persons; nobody is trained on and tested at once. The "
                "interval is the corrected resampled one (Nadeau and Bengio 2003).",
                gain_sentence(difference(examined.outcomes, "accuracy"), "accuracy"),
            ],
            _scores(examined.outcomes),
        ),
        Section(
            "Where does it look?",
            alarm_sentence(examined.alarm),
            [
                f"The maps of {len(examined.maps)} folds agree by a rank correlation of {examined.stability:.2f}.",
                "Below the figure: maps of single trainings over the mean image of each class, pixel by pixel.",
            ],
            figures=[
                (
                    plots.weight_maps(
                        {"mean of all folds": _as_large(examined.maps.mean(dim=0), alignment.mean)}, alignment.mean
                    ),
                    "The mean image, and the shared map: weights above 1 are above the average.",
                )
            ],
            inspector=_inspector(examined),
        ),
        Section("Mind", paragraphs=[MEDICAL]),
    ]


def _inspector(examined: Examined) -> str:
    """Over means, and not over images: no single person is in it."""
    whole = examined.found.image_set
    labels = torch.arange(len(whole.class_names))
    means = torch.stack([whole.images[whole.labels == label].float().mean(dim=0) for label in labels])
    classes = ImageSet(means.round().to(torch.uint8), labels, whole.class_names)
    scene = Scene(list(examined.maps), classes, {}, wide=400)
    return fragment(page_data(scene, scene.opening(), len(labels), FOLDS, map_of="training"), "map")


def _as_large(weights: Float[Tensor, "h w"], image: Float[Tensor, "height width"]) -> Float[Tensor, "height width"]:
    return F.interpolate(weights[None, None], image.shape, mode="nearest")[0, 0]


def _scores(outcomes: list[Outcome]) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = [("arm", "repeat", "fold", "accuracy", "AUROC", "log-loss")]
    return rows + [
        (one.arm, one.repeat, one.fold, f"{one.accuracy:.3f}", f"{one.auroc:.3f}", f"{one.loss:.3f}")
        for one in outcomes
    ]


def _classes(found: Found) -> Figure:
    """The mean image of each class above one image of it, in grey."""
    grey = found.image_set.images.float().mean(dim=1) / 255  # (N, H, W)
    of_class = [found.image_set.labels == label for label in range(len(found.image_set.class_names))]
    rows = {"mean": [grey[one].mean(dim=0) for one in of_class], "one image": [grey[one][0] for one in of_class]}
    return plots.image_rows(rows, [plain(name) for name in found.image_set.class_names], limits=(0, 1))


def plain(name: str) -> str:
    """A class name as a figure shows it: a dollar sign would begin a formula."""
    return name.replace("$", r"\$")
