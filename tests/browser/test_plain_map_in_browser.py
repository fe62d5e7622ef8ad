"""A plain map in JupyterLab: it is inspected as a run's is, and what needs a model or a run is off and said.

Slow (15 s): a server, a kernel and a browser are started.
"""

import nbformat
import torch
from front_end import END, LOOPBACK, SHOTS, checksum, open_page, serve

from gsa_utils import MapInspector, make_phantom

INSPECT = """
import torch
from gsa_utils import MapInspector, make_phantom

MapInspector(torch.linspace(0, 1, 256).view(16, 16), make_phantom("phantom-chest", 20, 16, seed=0))
"""


def test_a_plain_map_is_inspected_and_what_is_missing_is_off_and_said(folder):
    panel = MapInspector(torch.linspace(0, 1, 256).view(16, 16), make_phantom("phantom-chest", 20, 16, seed=0))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in (INSPECT, END)])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, folder / "map.ipynb")
    with serve("lab", folder / "map.ipynb", folder) as address, open_page(address) as page:
        page.run_all()
        page.becomes(checksum(panel))
        assert page.text("status") == panel.status.value
        assert not page.panel.locator("img.gsa-curve").is_visible()
        assert page.control("right_filter", "select").is_disabled()
        page.control("opacity", ".noUi-handle").press("Home")
        panel.view_text = page.view()
        assert panel.view.opacity == 0
        page.becomes(checksum(panel))
        page.tab("knock-out")
        assert page.control("start").is_disabled()
        SHOTS.mkdir(parents=True, exist_ok=True)
        page.page.screenshot(path=SHOTS / "lab_plain_map.png")
        assert page.overflowing() == []
        assert page.asked == {LOOPBACK}
