"""The inspector without a kernel, in Chromium: pictures and numbers are those of the panel in Python.

Slow (10 s): a network is trained for three epochs, and a browser is started.
"""

import html
import re
from dataclasses import replace

import front_end
import numpy as np
import pytest
import torch

from gsa_utils import GlobalSpatialAttention, ImageSet, MapInspector, attend, build_backbone, fit, make_phantom
from gsa_utils.export.report import Section, write_report
from gsa_utils.widgets.panel import PICTURE
from gsa_utils.widgets.scene import Scene
from gsa_utils.widgets.standalone import fragment, page_data

TRAIN, VALID = (make_phantom("phantom-chest", count, 16, seed=seed) for seed, count in enumerate((40, 30)))
SLIDERS = {"opacity": 20, "threshold": 1.02, "epoch": 1, "position": 7}


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(0)
    features = torch.randn(1, 8, 16, 16, generator=torch.Generator().manual_seed(0))
    model = attend(build_backbone("small", 1, 2, 16), GlobalSpatialAttention(features))
    return MapInspector(fit(model, TRAIN, VALID, epochs=3, progress=False), VALID)


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    return trained.export_html(tmp_path_factory.mktemp("page") / "map.html")


@pytest.fixture
def panel(trained, exported):
    """At the view that was exported, whatever tests did to it."""
    view = trained.view
    yield trained
    trained.view = view


def opened(browser, path, **settings):
    """A page from a file, which asks for nothing but itself."""
    return front_end.open_tab(browser, path.as_uri(), path.as_uri(), **settings)


@pytest.fixture
def page(browser, exported):
    tab, wrong = opened(browser, exported, viewport={"width": 1000, "height": 900})
    yield tab
    tab.close()
    assert wrong == []


def painted(page):
    """The canvas as an RGB array."""
    read = "c => [c.height, c.width, Array.from(c.getContext('2d').getImageData(0, 0, c.width, c.height).data)]"
    height, width, values = page.locator("canvas").evaluate(read)
    return np.array(values, dtype=np.uint8).reshape(height, width, 4)[..., :3]


def slide(page, name, value):
    page.locator(f".gsa-{name}").evaluate(
        "(node, value) => { node.value = value; node.dispatchEvent(new Event('input')) }", value
    )


def words(caption):
    return html.unescape(re.sub(r"<br>", "\n", re.sub(r"</?b>", "", caption)))


def check_against_python(page, panel):
    assert np.array_equal(painted(page), panel.scene.picture(panel.view, PICTURE))
    assert page.locator(".gsa-caption").inner_text() == words(panel.caption.value)


def test_it_opens_at_the_view_that_was_exported(page, panel):
    check_against_python(page, panel)


def test_each_slider_and_menu_leads_to_the_picture_and_the_numbers_of_python(page, panel):
    for name, value in SLIDERS.items():
        slide(page, name, value)
    page.locator(".gsa-background").select_option("mean image")
    panel.opacity.value, panel.threshold.value, panel.epoch.value, panel.position.value = 20, 1.02, 2, 7
    panel.background.value = "mean image"
    check_against_python(page, panel)


@pytest.mark.parametrize("name", ["class_filter", "right_filter"])
def test_a_filter_leaves_the_images_that_it_leaves_in_python(page, panel, name):
    value = getattr(panel, name).options[-1]
    page.locator(f".gsa-{name}").select_option(value)
    getattr(panel, name).value = value
    check_against_python(page, panel)


def test_a_pixel_is_chosen_by_a_click_or_by_the_arrow_keys(page, panel):
    box = page.locator("canvas").bounding_box()
    page.locator("canvas").click(position={"x": box["width"] * 5.5 / 16, "y": box["height"] * 3.5 / 16})
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowLeft")
    panel.row.value, panel.column.value = 4, 4
    expected = f"row 4, column 4: {panel.scene.pixel(panel.view)}"
    assert page.locator(".gsa-probe").inner_text() == expected
    assert np.array_equal(painted(page), panel.scene.picture(panel.view, PICTURE, frame=True))
    for label, name in enumerate(VALID.class_names):
        values = panel.scene.intensities(panel.view)[VALID.labels == label]
        assert f"{name}: {len(values)} images, mean {values.mean():.1f}" in page.locator(".gsa-pixel p").inner_text()


def test_what_the_knock_outs_found_is_there(page, panel):
    for table in page.locator("details").all():
        table.locator("summary").click()
    shown = page.locator("details").all_inner_texts()
    assert [re.search("weights (.*) after", text)[1] for text in shown] == ["of at least 1", "below 1"]
    whole = f"{panel.scene.right.float().mean():.3f}"
    assert all(re.search(rf"all pixels\s+{whole}", text) for text in shown)


def test_it_is_labelled_and_fits_a_phone_and_the_dark(browser, exported):
    tab, wrong = opened(browser, exported, viewport={"width": 390, "height": 800}, color_scheme="dark")
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    for control in tab.locator("input, select").all():
        assert control.evaluate("node => node.closest('label').textContent.trim()")
    assert tab.locator("canvas").get_attribute("aria-label")
    front_end.SHOTS.mkdir(parents=True, exist_ok=True)
    tab.locator("canvas").click()
    tab.screenshot(path=front_end.SHOTS / "page_phone_dark.png", full_page=True)
    assert wrong == []
    tab.close()


def test_an_image_larger_than_its_place_is_made_smaller_and_no_pixel_is_left_out(browser, tmp_path):
    large = ImageSet(VALID.images[:2].repeat_interleave(25, 2).repeat_interleave(25, 3), torch.arange(2), ["a", "b"])
    panel = MapInspector(torch.rand(400, 400, generator=torch.Generator().manual_seed(0)), large)
    tab, wrong = opened(browser, panel.export_html(tmp_path / "large.html"), viewport={"width": 390, "height": 800})
    assert np.array_equal(painted(tab), panel.scene.picture(panel.view, PICTURE))
    assert tab.locator("canvas").bounding_box()["width"] < 390
    assert tab.locator("canvas").evaluate("canvas => getComputedStyle(canvas).imageRendering") == "auto"
    assert wrong == []
    tab.close()


def test_in_a_report_it_shows_maps_of_folds_and_class_names_stay_text(browser, tmp_path):
    name = "</script><b onclick=alert(1)>{x}"
    classes = ImageSet(VALID.images[:2], torch.arange(2), [name, "other"])
    maps = [torch.rand(16, 16, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
    scene = Scene(maps, classes, {}, wide=400)
    part = fragment(page_data(scene, scene.opening(), 2, 3, map_of="fold"), "map")
    write_report(tmp_path / "report.html", "A report", [Section("Where does it look?", inspector=part)])
    tab, wrong = opened(browser, tmp_path / "report.html")
    slide(tab, "epoch", 0)
    view = replace(scene.opening(), epoch=0)
    assert np.array_equal(painted(tab), scene.picture(view, PICTURE))
    assert "fold" in tab.locator(".gsa-page").inner_text()
    assert f"of class {name}, not predicted" in tab.locator(".gsa-caption").inner_text()
    assert wrong == []
    tab.close()
