"""LiveTraining in JupyterLab and Notebook 7: redrawn while the cell runs, and stopped by the stop button above it.

Slow (15 s a front end): a server, a kernel and a browser are started.
"""

import nbformat
import pytest
from front_end import END, LOOPBACK, open_page, serve

TRAIN = """
import torch
from gsa_utils import GlobalSpatialAttention, LiveTraining, attend, build_backbone, fit, make_phantom, pixel_features

train, valid = (make_phantom("phantom-chest", 40, 16, seed=seed) for seed in range(2))
model = attend(build_backbone("small", 1, 2, 16), GlobalSpatialAttention(pixel_features(train, 16)))
run = fit(model, train, valid, epochs=2000, progress=False, callbacks=[LiveTraining(lines=1)])
print(len(run.history), "epochs,", len(run.maps), "maps")
"""


@pytest.mark.parametrize("app", ["lab", "notebook"])
def test_the_picture_follows_the_training_and_an_interrupt_stops_and_keeps(app, folder):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in (TRAIN, END)])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, folder / "live.ipynb")
    with serve(app, folder / "live.ipynb", folder) as address, open_page(address) as page:
        page.wait_for_kernel()
        page.page.evaluate("() => { jupyterapp.commands.execute('notebook:run-all-cells') }")
        picture = page.page.locator(".gsa-live img")
        picture.wait_for()
        first = picture.get_attribute("src")
        assert page.differs(lambda: picture.get_attribute("src"), first) != first
        page.page.locator("[data-command='notebook:interrupt-kernel'], [data-jp-item-name=interrupt]").first.click()
        page.wait_for_end(20)  # 2,000 epochs would take minutes
        output = page.page.locator(".jp-OutputArea-output", has_text="epochs,").inner_text()
        epochs = int(output.splitlines()[-1].split()[0])
        assert 1 < epochs < 1000
        assert f"stopped, epoch {epochs} is kept" in output
        assert output.splitlines()[-1] == f"{epochs} epochs, {epochs} maps"
        assert picture.is_visible()
        assert page.asked == {LOOPBACK}
