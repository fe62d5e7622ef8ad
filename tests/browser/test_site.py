"""The site as `make site` left it, in Chromium, wide and narrow, light and dark: nothing fails, nothing is fetched."""

import json
import os
import re
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import front_end
import pytest

from gsa_utils.widgets.standalone import MIME as INSPECTOR

ROOT = Path(__file__).parents[2]
HTML, SHOTS = ROOT / "build" / "site" / "html", front_end.SHOTS
PAGES = {path.relative_to(HTML).as_posix() for path in HTML.rglob("*.html") if "_static" not in path.parts}
LOOKED_AT = [
    *("index.html", "docs/glossary.html"),
    *("notebooks/03_from_boundary_to_attention.html", "notebooks/06_inspect_the_map.html"),
]


@pytest.fixture(scope="module", autouse=True)
def site():
    if not PAGES:
        assert not os.environ.get("GSA_REQUIRE_SITE"), "build/site is not there: make site"
        pytest.skip("no test of the site without build/site (make site)")


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        """Nothing: each request would be a line of the test report."""


@pytest.fixture(scope="module")
def address():
    """Of the site, served on this machine: from files a browser would not let the search read pages."""
    handler = partial(Quiet, directory=HTML)
    with ThreadingHTTPServer((front_end.LOOPBACK, 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://{front_end.LOOPBACK}:{server.server_port}/"
        server.shutdown()


def visit(browser, address, page, width=1280, scheme="light"):
    """The opened page, and what went wrong: failed or outside requests, errors on the console."""
    settings = {"viewport": {"width": width, "height": 900}, "color_scheme": scheme}
    return front_end.open_tab(browser, address + page, address, **settings)


@pytest.mark.parametrize("lesson", sorted(page for page in PAGES if page.startswith("notebooks/")))
def test_a_lesson_shows_every_figure_formula_and_alternative_text(browser, address, lesson):
    tab, wrong = visit(browser, address, lesson)
    tab.wait_for_function("() => !window.MathJax || MathJax.startup.promise.then(() => true)")
    formulas = tab.locator(".math").count()
    assert tab.locator("mjx-container").count() == formulas
    assert formulas > 10 or "03_from" not in lesson
    pictures = tab.evaluate("Array.from(document.images).map(i => [i.src.slice(-40), i.alt, i.naturalWidth])")
    assert all(alt and width for _, alt, width in pictures)
    assert wrong == []
    tab.close()


def test_the_inspector_of_lesson_06_works_without_a_kernel(browser, address):
    """Its pictures are compared in test_page_in_browser.py; here are the numbers of the committed lesson."""
    cells = json.loads((ROOT / "notebooks" / "06_inspect_the_map.ipynb").read_text(encoding="utf-8"))["cells"]
    data = next(o["data"] for cell in cells for o in cell.get("outputs", []) if INSPECTOR in o.get("data", {}))
    share = re.search(r"([\d.]+%) of the pixels", "".join(data["text/plain"]))[1]
    tab, wrong = visit(browser, address, "notebooks/06_inspect_the_map.html")
    assert f"inside the line: {share} of the area" in tab.locator(".gsa-caption").inner_text()
    tab.locator(".gsa-page canvas").click()
    tab.keyboard.press("ArrowUp")
    assert re.search(r"row \d+, column \d+: weight \d\.\d{4}, rank", tab.locator(".gsa-probe").inner_text())
    tab.locator(".gsa-page").screenshot(path=SHOTS / "site-inspector.png")
    assert wrong == []
    tab.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("page", LOOKED_AT)
def test_a_page_fits_its_window(browser, address, page, width, scheme):
    tab, wrong = visit(browser, address, page, width, scheme)
    SHOTS.mkdir(parents=True, exist_ok=True)
    tab.screenshot(path=SHOTS / f"site-{Path(page).stem}-{width}-{scheme}.png")
    assert tab.evaluate("document.documentElement.scrollWidth") <= width + 1
    assert wrong == []
    tab.close()


def test_the_search_finds_a_word(browser, address):
    tab, wrong = visit(browser, address, "search.html?q=knock-out")
    tab.wait_for_selector("#search-results li")
    assert wrong == []
    tab.close()


@pytest.mark.parametrize("page", ["index.html", *sorted(page for page in PAGES if page.startswith("notebooks/"))])
def test_the_index_and_each_lesson_can_be_opened_where_it_runs(page):
    links = re.findall(r'href="(https://[^"]+)"', (HTML / page).read_text(encoding="utf-8"))
    lesson = "01_one_map" if page == "index.html" else Path(page).stem
    for service in ("colab.research.google.com", "kaggle.com", "mybinder.org", "codespaces.new"):
        own = [link for link in links if service in link]
        assert own
        assert service != "colab.research.google.com" or any(lesson in link for link in own)


def test_every_link_leads_somewhere():
    """Without the browser, which would take a minute to open all pages."""
    broken = []
    for page in PAGES:
        for link in re.findall(r'(?:href|src)="([^"#]+)', (HTML / page).read_text(encoding="utf-8")):
            path = unquote(link.partition("?")[0])
            if not re.match(r"[a-z]+:", path) and not (HTML / page).parent.joinpath(path).exists():
                broken.append((page, link))
    assert broken == []
