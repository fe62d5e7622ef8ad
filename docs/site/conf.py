"""The course as a site: `make site`. Nothing is fetched, neither while it is built nor by a reader's browser.

Lessons appear as they are committed, executed; the reference is made from the package's docstrings.
"""

import html
import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

project = "Global spatial attention"
extensions = ["myst_nb", "sphinx.ext.napoleon", "autoapi.extension", "sphinx-mathjax-offline"]
html_theme = "pydata_sphinx_theme"
html_title = project
html_favicon = "icon.svg"
html_context = {"default_mode": "auto"}
html_theme_options = {
    "show_prev_next": True,
    "navigation_with_keys": True,
    "navbar_center": [],
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
}
html_sidebars = {"**": ["globaltoc.html"]}
html_show_sourcelink = False
copyright = "the global spatial attention course authors, MIT"

nb_execution_mode = "off"
nb_merge_streams = True
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
# Links to files that are no pages (results/*.csv, tests) stay as they are written.
suppress_warnings = ["myst.xref_missing", "myst.header", "mystnb.unknown_mime_type", "autoapi.python_import_resolution"]

# For `make check-links`. The badges lead to services that start a machine, and to a fork's own address; behind doi.org
# many publishers refuse robots.
linkcheck_ignore = [
    rf"https://({host})/" for host in ("colab.*", "kaggle.com", "mybinder.org", "codespaces.new", "doi.org")
]
linkcheck_timeout, linkcheck_retries = 20, 3

autoapi_dirs = [str(ROOT / "gsa_utils")]
autoapi_root = "reference"
autoapi_options = ["members", "show-module-summary"]
autoapi_add_toctree_entry = False
autoapi_keep_files = False

# Of gsa_utils/widgets/standalone.py, which is not imported here.
INSPECTOR = "application/vnd.gsa-inspector+html"
BADGE = re.compile(r"\[!\[([^\]]+)\]\(https://[^)]+\)\]\((https://[^)]+)\)")


def local(text: str) -> str:
    """Badges as links with words: their pictures would be fetched from elsewhere."""
    return BADGE.sub(r"[\1](\2)", text)


def as_page(text: str) -> str:
    """A notebook whose set-up is folded, whose figures keep their alternative texts, and whose inspector works.

    myst-nb looks for these texts in a cell's metadata, and shows HTML in place of a PNG.
    """
    notebook = json.loads(text)
    notebook["cells"][1]["metadata"]["tags"] = ["hide-input"]
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = local("".join(cell["source"]))
        for output in cell.get("outputs", []):
            if inspector := output.get("data", {}).get(INSPECTOR):
                still, alt = output["data"]["image/png"], html.escape(output["metadata"]["image/png"]["alt"])
                image = f'<img alt="{alt}" src="data:image/png;base64,{"".join(still).strip()}">'
                output["data"]["text/html"] = f"{''.join(inspector)}<noscript>{image}</noscript>"
        kinds = [output.get("metadata", {}).get("image/png", {}) for output in cell.get("outputs", [])]
        if alts := [kind["alt"] for kind in kinds if "alt" in kind]:
            cell["metadata"]["mystnb"] = {"image": {"alt": " ".join(alts)}}
    return json.dumps(notebook)


def badges() -> str:
    """The README's, which `make links` keeps."""
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    return next(line for line in lines if BADGE.match(line))


def read(app: object, docname: str, source: list[str]) -> None:
    if docname == "index":
        source[0] = source[0].replace("BADGES", badges())
    notebook = Path(app.srcdir, f"{docname}.ipynb").exists()
    source[0] = as_page(source[0]) if notebook else local(source[0])


def setup(app: object) -> None:
    app.connect("source-read", read)
