"""What stands where no kernel runs: a still picture with its words, and an inspector that the browser alone drives."""

import base64
import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from gsa_utils.plots.overlay import array
from gsa_utils.plots.style import WEIGHTS, alternative
from gsa_utils.widgets.view import BACKGROUNDS, View

if TYPE_CHECKING:  # with scikit-learn: 70 MB that a still picture does not need
    from gsa_utils.evaluation.knockout import KnockOut
    from gsa_utils.widgets.scene import Scene

EXPORT = "export default { render };\n"  # for anywidget; in a page the script is not imported
SCRIPTS = [Path(__file__).with_name(name) for name in ("picture.js", "inspector.js")]
# In an output of a notebook: front ends that don't know it show another part of the output, the site shows this.
MIME = "application/vnd.gsa-inspector+html"
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>:root {{ color-scheme: light dark }} body {{ font: 16px/1.5 system-ui, sans-serif; margin: 2rem }}</style>
</head><body><h1>{title}</h1><p>{words}</p>
{fragment}
<noscript>The inspector needs JavaScript.</noscript>
</body></html>
"""
FRAGMENT = """<div id="{name}" class="gsa-inspector-page"></div>
<script type="module">
{script}
const data = {data};
// A panel may be shown twice in one notebook, by the same name: each script draws into the first that is still empty.
const places = Array.from(document.querySelectorAll('[id="{name}"]'));
inspect(data, places.find((place) => !place.hasChildNodes()));
</script>
"""


def with_still(widget: object, picture: bytes, text: str, alt: str) -> tuple[dict, dict]:
    """Data and metadata to display a widget where widgets live, and elsewhere, on GitHub, on paper, a PNG and a line.

    Made by hand, since under ipywidgets 7 a widget can't do it.
    """
    view = {"version_major": 2, "version_minor": 0, "model_id": widget.model_id}
    still = {"image/png": base64.b64encode(picture).decode(), "text/plain": text}
    return {"application/vnd.jupyter.widget-view+json": view} | still, alternative(alt)


def page_data(
    scene: "Scene",
    view: View,
    images: int,
    epochs: int,
    knock_outs: Mapping[str, "KnockOut"] = MappingProxyType({}),
    map_of: str = "epoch",
) -> dict[str, object]:
    """What inspector.js needs of a scene, in JSON: so many of its images and epochs, the view's among them.

    `map_of` is what there is a map of, where it is not each epoch.
    """
    image_set = scene.image_set
    mistakes = [] if scene.right is None else scene.passing(None, right=False)
    numbers = _some(images, view.image, len(image_set), mistakes)
    shown = _some(epochs, view.epoch, len(scene.maps), [scene.kept_epoch, 0])
    low, high, digits = scene.thresholds
    rows = scene.probabilities
    return {
        "size": scene.size,
        "channels": image_set.images.shape[1],
        "classes": list(image_set.class_names),
        "labels": image_set.labels[numbers].tolist(),
        "numbers": numbers,
        "of_images": len(image_set),
        "images": _base64(image_set.images[numbers].to(torch.uint8)),
        "mean": _base64(scene.mean_image.to(torch.uint8)),
        "maps": _base64(torch.stack([scene.maps[epoch] for epoch in shown])),
        "epochs": [epoch + 1 for epoch in shown],
        "of_epochs": len(scene.maps),
        "map_of": map_of,
        "areas": [scene.effective_area(replace(view, epoch=epoch)) for epoch in shown],
        "scale": scene.scale,
        "colours": base64.b64encode(WEIGHTS.tobytes()).decode(),
        "digits": digits,
        "ends": [round(low, digits), round(high, digits)],
        "probabilities": None if rows is None else rows[numbers].double().tolist(),
        "knock_outs": [{"blanked": words, "rows": _rows(result)} for words, result in knock_outs.items()],
        "start": {
            "image": numbers.index(view.image),
            "epoch": shown.index(view.epoch),
            "mean": BACKGROUNDS[view.background] == "mean image",
            "opacity": view.opacity,
            "threshold": view.weight,
            "row": view.row,
            "column": view.column,
        },
    }


def fragment(data: Mapping[str, object], name: str) -> str:
    """The inspector as a part of a page, in an element of this name. Nothing is fetched from anywhere.

    Names of classes go through JSON, in which "<" is written so that no tag can begin; the script shows them as text.
    """
    return FRAGMENT.format(name=name, script=script(), data=json.dumps(data).replace("<", "\\u003c"))


def script() -> str:
    """What stands in a page: the painter, and behind it the controls."""
    return "\n".join(path.read_text(encoding="utf-8").removesuffix(EXPORT) for path in SCRIPTS)


def page(part: str, title: str, words: str) -> str:
    return PAGE.format(title=html.escape(title), words=html.escape(words), fragment=part)


def _some(most: int, always: int, count: int, first: Sequence[int]) -> list[int]:
    """At most so many of `count` numbers: one for certain, up to a third of those first, others, all evenly spread."""
    chosen = {always, *_spread(first, min(max(most // 3, 1), most - 1))}
    others = [number for number in range(count) if number not in chosen]
    return sorted([*chosen, *_spread(others, most - len(chosen))])


def _spread(numbers: Sequence[int], most: int) -> list[int]:
    places = np.linspace(0, len(numbers) - 1, num=min(most, len(numbers))).round().astype(int)
    return [numbers[place] for place in places]


def _rows(result: "KnockOut") -> list[tuple[str, list[float], list[float]]]:
    return [
        (name, [one["accuracy"] for one in scores], [one["auroc"] for one in scores])
        for name, scores in result.rows().items()
    ]


def _base64(values: Tensor) -> str:
    return base64.b64encode(array(values).tobytes()).decode()
