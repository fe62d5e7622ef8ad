"""How long does the inspector take from a slider to a new picture, in the kernel and in a browser?

    .venv/bin/python benchmarks/inspector_latency.py

Kernel: a move of a slider, in Python, with the tabs in front that draw something, at several image sizes. The first
look at an epoch of a comparison ranks all its pixels; a later one remembers.
Browser: a key on the slider in JupyterLab until the new picture is painted, measured by the page itself: for the
opacity, which needs no kernel, and for the epoch, whose map comes from it. Needs Chromium.
Writes results/inspector_latency.csv; run it on a machine that has nothing else to do.
"""

import csv
import datetime
import platform
import sys
import tempfile
import time
from pathlib import Path
from statistics import median, quantiles

import anywidget
import ipywidgets
import nbformat
import torch

from gsa_utils import GlobalSpatialAttention, ImageSet, MapInspector, TrainingRun, attend, build_backbone
from gsa_utils.widgets.panel import TABS

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "browser"))
from front_end import END, open_page, serve  # noqa: E402

MOVES = 60
SLIDERS = [("epochs", "opacity"), ("epochs", "epoch"), ("pixel", "row"), ("knock-out", "opacity")]
SLIDERS += [("compare", "epoch"), ("compare again", "epoch")]
PANEL = """
import sys; sys.path.insert(0, {folder!r})
from inspector_latency import panel_of
panel_of({size})
"""
MEASURE = """async ([slider, moves]) => {
    const handle = document.querySelector(`.gsa-inspector .gsa-${slider} .noUi-handle`);
    const context = document.querySelector('.gsa-inspector .gsa-picture canvas').getContext('2d');
    const times = [], paint = context.putImageData.bind(context);
    for (let move = 0; move < moves; move++) {
        await new Promise(done => setTimeout(done, 150));
        const start = performance.now();
        const painted = new Promise(done => { context.putImageData = (...given) => { paint(...given); done(); }; });
        const key = move % 20 < 10 ? 'ArrowRight' : 'ArrowLeft';
        handle.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true}));
        await painted;
        times.push(performance.now() - start);
    }
    return times;
}"""


def panel_of(size: int) -> MapInspector:
    """A panel over random images with a smooth random map; nothing is trained."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (32, 1, size, size), generator=generator, dtype=torch.uint8)
    coarse = torch.rand(1, 1, 8, 8, generator=generator)
    weights = torch.nn.functional.interpolate(coarse, (size, size), mode="bicubic")[0, 0].clamp(0.01, 0.99)
    features = torch.rand(1, 4, size, size, generator=generator)
    model = attend(build_backbone("small", 1, 2, size), GlobalSpatialAttention(features)).eval()
    row = {"train_loss": 1.0, "valid_loss": 1.0}
    maps = [weights.roll(shift, dims=1) for shift in range(MOVES)]
    run, other = (TrainingRun(model, [row] * MOVES, some, kept_epoch=0) for some in (maps, maps[5:]))
    return MapInspector(run, ImageSet(images, torch.arange(32) % 2, ("a", "b")), {"other": other})


def kernel(size: int) -> dict[str, list[float]]:
    """Milliseconds of a move of a slider, by tab and slider."""
    panel, times = panel_of(size), {}
    for tab, name in SLIDERS:
        panel.tabs.selected_index = TABS.index(tab.split()[0])
        slider = getattr(panel, name)
        taken = times[f"{tab}: {name}"] = []
        for number in range(MOVES):
            value = slider.min + (number + 1) % (slider.max - slider.min + 1)
            start = time.perf_counter()
            slider.value = value
            taken.append(1000 * (time.perf_counter() - start))
    return times


def browser(size: int) -> dict[str, list[float]]:
    """Milliseconds from a key on the slider to the painted picture, in JupyterLab, by slider."""
    cells = [PANEL.format(folder=str(ROOT / "benchmarks"), size=size), END]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "latency.ipynb"
        nbformat.write(notebook, path)
        with serve("lab", path, Path(folder)) as address, open_page(address) as page:
            page.run_all()
            page.settled()
            return {name: page.page.evaluate(MEASURE, [name, MOVES]) for name in ("opacity", "epoch")}


def main() -> None:
    rows = []
    for size in (28, 64, 224):
        for what, times in kernel(size).items():
            rows.append(("kernel", what, size, times))
        for name, times in browser(size).items():
            rows.append(("JupyterLab in Chromium", f"epochs: {name}", size, times))
    widgets = f"ipywidgets {ipywidgets.__version__}, anywidget {anywidget.__version__}"
    versions = f"{widgets}, Python {platform.python_version()}, {torch.get_num_threads()} threads"
    with (ROOT / "results" / "inspector_latency.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["where", "what", "image_side", "median_ms", "p90_ms", "moves", "date", "versions"])
        for where, what, size, times in rows:
            figures = f"{median(times):.1f}", f"{quantiles(times, n=10)[-1]:.1f}"
            table.writerow([where, what, size, *figures, len(times), datetime.date.today(), versions])
            print(f"{where:23} {what:20} {size:4} px  median {figures[0]:>6} ms, 9 of 10 within {figures[1]:>6} ms")


if __name__ == "__main__":
    main()
