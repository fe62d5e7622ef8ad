"""The panel in JupyterLab, Notebook 7 and Voila: moved by mouse and by keyboard, compared with the panel in Python.

Slow (half a minute and more a front end): a server, a kernel and a browser are started, and a lesson is run.
"""

import hashlib
import re

import pytest
from front_end import LOOPBACK, SHOTS, checksum, open_page, serve

from gsa_utils.evaluation.knockout import knock_out
from gsa_utils.widgets.panel import CONTROLS, TABS

SLIDERS = {"position": "epochs", "opacity": "epochs", "threshold": "epochs", "epoch": "epochs"}
SLIDERS |= {"row": "pixel", "column": "pixel", "rows": "knock-out", "columns": "knock-out"}
MENUS = {"background": "epochs", "right_filter": "epochs", "class_filter": "epochs"}
MENUS |= {"blanked": "knock-out", "other": "compare"}
HOW = ["mouse", "keyboard"]
NARROW = {"lab": 1000, "notebook": 700, "voila": 600}  # windows in which the two halves do not fit side by side
# Voila's own page asks for an icon font, which the panel does not use; it is not let through.
ICONS = "cdn.jsdelivr.net/npm/@fortawesome/fontawesome-free@%5E5/css"
ASKED = {"lab": {LOOPBACK}, "notebook": {LOOPBACK}}
ASKED["voila"] = {LOOPBACK, f"{ICONS}/all.min.css", f"{ICONS}/v4-shims.min.css"}


@pytest.fixture(scope="module", params=list(ASKED))
def page(request, lesson, tmp_path_factory):
    """The lesson, run in one front end."""
    folder = tmp_path_factory.mktemp("server")
    with serve(request.param, lesson, folder) as address, open_page(address) as page:
        page.app = request.param
        page.at_start = []
        if page.app == "voila":
            page.wait_for_end()
        else:
            page.wait_for_kernel()
            page.at_start = list(page.errors)  # Notebook 7.6 logs one before any cell has run
            page.run_all()
        page.panel.scroll_into_view_if_needed()
        yield page


def numbers(text):
    return re.findall(r"\d+\.\d+|\d+", re.sub(r"<[^>]*>", " ", text))


def same_view(page, panel, tab):
    """The panel in Python under the view of the page, and the page back in its tab."""
    panel.view_text = page.view()  # refused, were the maps or the images others by a single bit
    page.tab(tab)
    panel.tabs.selected_index = TABS.index(tab)
    return panel


def check_against_python(page, panel, tab, before=""):
    """Picture and numbers are those of the panel in Python under the same view, and the picture is not that before."""
    same_view(page, panel, tab)
    expected = checksum(panel)
    page.becomes(expected)
    assert expected != before
    # without the place among the images that pass the filters
    shown, expected = (re.sub(r"\(\d+ of .*?\)", "", text) for text in (page.text("caption"), panel.caption.value))
    assert numbers(shown) == numbers(expected)


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("name", SLIDERS)
def test_a_slider_changes_the_view_and_the_picture_which_is_that_of_python(page, panel, name, how):
    tab = SLIDERS[name]
    page.tab("knock-out")
    page.control("blanked", "select").select_option("rectangle" if tab == "knock-out" else "above")
    before = page.view()
    page.tab(tab)
    picture = page.settled()
    handles = page.control(name, ".noUi-handle")  # two of a range; a click on the track moves the upper one
    handle = handles.last if how == "mouse" else handles.first
    now, low, high = (float(handle.get_attribute(f"aria-value{end}")) for end in ("now", "min", "max"))
    upper = now > (low + high) / 2
    if how == "mouse":
        track = page.control(name, ".noUi-target")
        box = track.bounding_box()
        track.click(position={"x": box["width"] * (0.2 if upper else 0.9), "y": box["height"] / 2})
    else:
        handle.focus()
        # A page of the threshold may lie between two weights of a concentrated map: almost to its other end.
        far = ["Home", "PageUp"] if upper else ["End", "PageDown"]
        for key in far if name == "threshold" else ["ArrowLeft" if upper else "ArrowRight"]:
            handle.press(key)
    page.view(before)
    check_against_python(page, panel, tab, picture)


def choose(page, name, how):
    """From the first entry of a menu to the second."""
    page.tab(MENUS[name])
    menu = page.control(name, "select")
    menu.select_option(index=0)
    before = page.view()
    page.tab(MENUS[name])
    page.settled()
    if how == "mouse":  # the list itself is the browser's, outside of the page
        menu.select_option(index=1)
    else:
        menu.focus()
        menu.press("ArrowDown")
    return before


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("name", ["background", "blanked"])
def test_a_menu_changes_the_view_and_the_picture_is_that_of_python(page, panel, name, how):
    before = choose(page, name, how)
    page.view(before)
    check_against_python(page, panel, MENUS[name])


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("name", ["class_filter", "right_filter"])
def test_a_filter_leaves_as_many_images_as_in_python(page, panel, name, how):
    for other in ("class_filter", "right_filter"):
        page.control(other, "select").select_option("all")
    choose(page, name, how)
    value = getattr(panel, name).options[1]
    left = panel.scene.passing(value if name == "class_filter" else None, True if name == "right_filter" else None)
    assert page.differs(lambda: f"image {left[0]} (1 of {len(left)})" in page.text("caption"), False)
    check_against_python(page, panel, MENUS[name])


@pytest.mark.parametrize("how", HOW)
def test_another_run_is_compared_with_the_numbers_and_pictures_of_python(page, panel, how):
    choose(page, "other", how)
    same_view(page, panel, "compare")
    panel.other.value = panel.other.options[1]
    page.becomes(hashlib.sha256(panel.comparison.value).hexdigest(), "comparison")
    assert numbers(page.text("difference")) == numbers(panel.difference.value)


def pixel_is(page, panel, row, column):
    """The tab in front is of this pixel, with the words and pictures of Python."""
    assert page.differs(lambda: page.tab_in_front() == "pixel", False)
    panel.tabs.selected_index = TABS.index("pixel")
    panel.row.value, panel.column.value = row, column
    page.differs(lambda: page.text("probe") == panel.probe.value, False)
    same_view(page, panel, "pixel")
    assert (panel.row.value, panel.column.value) == (row, column)
    assert numbers(page.text("probe")) == numbers(panel.probe.value)
    page.becomes(checksum(panel))
    for name in ("dots", "strip"):
        page.becomes(hashlib.sha256(getattr(panel, name).value).hexdigest(), name)


@pytest.mark.parametrize("how", HOW)
def test_a_pixel_of_the_picture_is_chosen_by_a_click_or_by_the_arrow_keys(page, panel, how):
    page.tab("epochs")
    same_view(page, panel, "epochs")
    picture, (height, width) = page.control("picture", "canvas"), panel.scene.size
    if how == "mouse":
        box = picture.bounding_box()
        picture.click(position={"x": box["width"] * 0.4, "y": box["height"] * 0.7})
        row, column = int(0.7 * height), int(0.4 * width)
    else:
        row, column = panel.row.value, panel.column.value
        picture.focus()
        for key in ("ArrowUp", "ArrowUp", "ArrowLeft"):  # the first shows where the pixel is
            picture.press(key)
        row, column = max(row - 1, 0), max(column - 1, 0)
    pixel_is(page, panel, row, column)


def test_the_time_scrubber_moves_the_cursor_of_the_loss_curve(page, panel):
    page.tab("epochs")
    before = page.settled("curve")
    handle = page.control("epoch", ".noUi-handle")
    handle.press("ArrowLeft" if handle.get_attribute("aria-valuenow") != "1.0" else "ArrowRight")
    page.changed(before, "curve")
    same_view(page, panel, "epochs")
    page.becomes(hashlib.sha256(panel.curve.value).hexdigest(), "curve")


def divide(page):
    """Some pixels inside the line and some outside, wherever the sliders were left; the knock-out's tab in front."""
    page.tab("epochs")
    page.control("epoch", ".noUi-handle").press("End")  # the first map may lie above the threshold as a whole
    page.tab("knock-out")


@pytest.mark.parametrize("how", HOW)
def test_the_knock_out_shows_the_numbers_that_python_computes(page, panel, how):
    divide(page)
    page.control("blanked", "select").select_option("above")
    same_view(page, panel, "knock-out")
    page.press("start", how)
    page.enabled("cancel")  # else the result may still be that of the knock-out before
    page.enabled("start")
    panel.start.click()
    panel.wait()
    assert panel.knocked_out == knock_out(panel.scene.model, panel.scene.image_set, panel.scene.mask(panel.view))
    assert numbers(page.text("result")) == numbers(panel.result.value)


@pytest.mark.parametrize("how", HOW)
def test_a_running_knock_out_is_cancelled(page, how):
    divide(page)
    page.press("start", how)
    page.press("cancel", how)
    page.enabled("start")
    assert page.text("result") == "cancelled"


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("kind", ["png", "svg"])
def test_an_export_button_makes_a_link_to_a_file(page, kind, how):
    text = page.view()
    page.press(kind, how)
    assert page.differs(lambda: f"save view-{text}.{kind}" in page.text("link"), False)
    with page.page.expect_download() as download:
        page.control("link", "a").click()
    assert download.value.suggested_filename == f"view-{text}.{kind}"
    assert download.value.path().stat().st_size > 5000


def test_a_pasted_text_brings_the_view_back(page, panel):
    text = page.view()
    before = page.settled()
    page.tab("epochs")
    page.control("opacity", ".noUi-handle").press("Home")
    page.changed(before)
    page.tab("export")
    # Pasted before the kernel has written the text of the moved view, it would be what is there already.
    page.differs(page.control("text", "input").input_value, text)
    page.control("text", "input").fill(text)
    page.control("text", "input").press("Enter")
    page.becomes(before)
    assert page.view() == text


def test_an_error_is_shown_in_the_panel(page):
    page.tab("export")
    page.control("text", "input").fill("no view at all")
    page.control("text", "input").press("Enter")
    assert page.differs(lambda: "ValueError: view: got" in page.text("status"), False)
    page.tab("epochs")
    assert page.differs(lambda: page.text("status") == "", False)


def test_the_tabs_have_a_keyboard_path(page):
    page.tab("epochs")
    page.panel.get_by_role("tab", name="epochs", exact=True).focus()
    page.page.keyboard.press("ArrowRight")
    page.page.keyboard.press("Enter")
    assert page.differs(lambda: page.tab_in_front(), "epochs") == "pixel"


def test_the_tab_key_reaches_every_control(page):
    reached = set()
    for tab in TABS:
        page.tab(tab)
        page.control("class_filter", "select").focus()
        for _ in range(25):
            reached |= set(page.focused()) & {f"gsa-{name}" for name in CONTROLS}
            page.page.keyboard.press("Tab")
    # A button that can't be used now is not reached either.
    assert {f"gsa-{name}" for name in CONTROLS} - reached == {"gsa-cancel"}


def test_nothing_is_clipped_and_nothing_scrolls_at_1280_by_800(page):
    size = page.page.viewport_size
    page.page.set_viewport_size({"width": 1280, "height": 800})
    SHOTS.mkdir(parents=True, exist_ok=True)
    for tab in TABS:
        page.tab(tab)
        page.panel.evaluate("panel => panel.scrollIntoView()")
        page.settled()
        page.page.screenshot(path=SHOTS / f"{page.app}_{tab}.png")
        assert page.overflowing() == []
        assert page.panel.bounding_box()["height"] < 700
    page.page.set_viewport_size(size)


def test_in_a_narrow_window_the_controls_go_below_the_picture_and_nothing_is_clipped(page):
    size = page.page.viewport_size
    page.page.set_viewport_size({"width": NARROW[page.app], "height": size["height"]})
    for tab in TABS:
        page.tab(tab)
        page.settled()
        assert page.overflowing() == []
        picture, control = (page.control(name).bounding_box() for name in ("picture", "class_filter"))
        assert control["y"] > picture["y"] + picture["height"]
    page.page.set_viewport_size(size)


def test_the_browser_asked_no_host_but_loopback_and_logged_no_error(page):
    assert page.asked <= ASKED[page.app]
    assert page.errors == page.at_start


def test_after_a_restart_of_the_kernel_the_controls_show_that_they_are_dead_and_opacity_needs_none(page):
    """Last, since it ends the panel."""
    if page.app == "voila":
        pytest.skip("Voila has no command to restart its kernel")
    assert page.dead() == 0
    page.page.evaluate("() => jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
    assert page.differs(page.dead, 0) >= len(CONTROLS)
    page.tab("epochs")
    page.page.screenshot(path=SHOTS / f"{page.app}_restarted.png")
    page.control("opacity", ".noUi-handle").press("Home")
    before = page.settled()
    page.control("opacity", ".noUi-handle").press("End")
    page.changed(before)
