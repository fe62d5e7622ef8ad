"""MapInspector without a browser: every control is set in turn, and what the panel then shows is compared."""

import base64
import gc
import io
import sys
import threading
import tracemalloc
import types
from dataclasses import replace

import ipywidgets
import matplotlib.pyplot
import numpy as np
import pytest
import torch
import traitlets
from ipywidgets.widgets.widget_link import DirectionalLink
from PIL import Image

from gsa_utils import FreeMap, GlobalSpatialAttention, MapInspector, attend, build_backbone, fit, make_phantom
from gsa_utils.evaluation.knockout import knock_out
from gsa_utils.evaluation.maps import effective_area
from gsa_utils.plots.overlay import overlay, png
from gsa_utils.widgets import inspector as inspector_module
from gsa_utils.widgets.panel import CONTROLS, PICTURE, PICTURES, TABS, TEXTS
from gsa_utils.widgets.standalone import MIME, page_data
from gsa_utils.widgets.view import UNIT, View

TRAIN, VALID = (make_phantom("phantom-chest", count, 16, seed=seed) for seed, count in enumerate((40, 30)))


FEATURES = torch.randn(1, 8, 16, 16, generator=torch.Generator().manual_seed(0))


def trained(attention, *arguments, epochs=3):
    torch.manual_seed(0)  # before the attention is made, too: else it is another in another order of the tests
    model = attend(build_backbone("small", 1, 2, 16), attention(*arguments))
    return fit(model, TRAIN, VALID, epochs=epochs, progress=False)


@pytest.fixture(scope="module")
def run():
    return trained(GlobalSpatialAttention, FEATURES)


@pytest.fixture(scope="module")
def free():
    return trained(FreeMap, 16)


@pytest.fixture
def panel(run, free):
    return MapInspector(run, VALID, {"free map": free, "itself": run})


def show(panel, tab):
    panel.tabs.selected_index = TABS.index(tab)


def shown(panel):
    """What a browser paints of what the panel tells it, by Python's rules; browser tests hold picture.js to them."""
    sent, size = panel.picture, panel.picture.size
    weights = torch.frombuffer(bytearray(sent.weights), dtype=torch.float32).view(*size)
    under = torch.frombuffer(bytearray(sent.under), dtype=torch.uint8).view(-1, *size)
    outlined = weights >= panel.threshold.value  # this and opacity come to the picture in the browser
    if sent.rectangle:
        top, bottom, left, right = sent.rectangle
        outlined = torch.zeros(*size, dtype=torch.bool)
        outlined[top : bottom + 1, left : right + 1] = True
    cross = tuple(sent.pixel) if sent.framed else None
    return overlay(under, weights, panel.opacity.value / 100, tuple(sent.scale), outlined, cross, PICTURE)


def shows(panel, **how):
    """Whether that is the picture of the view."""
    return np.array_equal(shown(panel), panel.scene.picture(panel.view, PICTURE, **how))


# ---------------------------------------------------------------- reach


def test_every_control_has_a_label_a_tooltip_and_a_place_in_the_panel(panel):
    def within(widget):
        yield widget
        for child in getattr(widget, "children", ()):
            yield from within(child)

    placed = {id(widget) for widget in within(panel)}
    for name in CONTROLS:
        control = getattr(panel, name)
        assert control.description
        assert control.tooltip
        assert id(control) in placed, name
        assert f"gsa-{name}" in control._dom_classes
    assert {id(getattr(panel, name)) for name in ("picture", *PICTURES, *TEXTS)} <= placed


def test_no_label_is_wider_than_its_place(panel):
    assert all(len(getattr(panel, name).description) <= 10 for name in CONTROLS)


def test_it_opens_on_the_kept_epoch_with_the_threshold_at_the_boundary_of_important_pixels(panel, run):
    assert panel.epoch.value == run.kept_epoch + 1
    assert panel.view.weight == 1
    assert panel.scene.share(panel.view) == (run.maps[run.kept_epoch] >= 1).float().mean()
    assert 0 < panel.scene.share(panel.view) < 1
    assert panel.status.value == ""


@pytest.mark.parametrize("size", [16, 13, 40])
def test_a_map_of_another_size_than_the_images_opens_at_1_as_well(size):
    weights = torch.rand(size, size, generator=torch.Generator().manual_seed(size)) ** 3
    assert MapInspector(weights / weights.mean(), VALID).view.weight == 1


def test_a_plain_map_on_another_scale_opens_at_its_average(run):
    assert MapInspector(255 * run.maps[-1], VALID).view.weight == pytest.approx(255, abs=1e-3)


def test_it_opens_on_the_pixel_of_the_largest_weight(panel):
    show(panel, "pixel")
    assert "rank 1 of 256" in panel.probe.value


# ---------------------------------------------------------------- every control moves what it should


@pytest.mark.parametrize(
    ("control", "value"),
    [("position", 7), ("background", "mean image"), ("epoch", 1)],
)
def test_a_control_of_the_picture_changes_it_to_what_the_view_says(panel, control, value):
    before = shown(panel)
    getattr(panel, control).value = value
    assert shows(panel)
    assert not np.array_equal(shown(panel), before)


def test_the_threshold_moves_the_boundary_and_the_share_of_the_area(panel, run):
    weight = run.maps[run.kept_epoch].quantile(0.25).item()  # not the median: as many pixels may be above the average
    panel.threshold.value = weight
    inside = run.maps[run.kept_epoch] >= round(weight * UNIT) / UNIT
    assert f"inside the line: {inside.float().mean():.1%} of the area" in panel.caption.value


def test_opacity_and_threshold_go_from_slider_to_picture_in_the_browser(panel):
    links = [one for one in ipywidgets.widgets.widget._instances.values() if isinstance(one, DirectionalLink)]
    ends = [(one.source, one.target) for one in links if one.target[0] is panel.picture]
    assert ends == [((getattr(panel, name), "value"), (panel.picture, name)) for name in ("opacity", "threshold")]


@pytest.mark.parametrize("spread", [1e-7, 3e-5, 0.02, 0.6, 1.0])
def test_the_threshold_crosses_any_range_of_weights_in_some_hundred_steps_of_readable_numbers(run, spread):
    weights = 0.5 + spread * (torch.linspace(0, 1, 256).view(16, 16) - 0.5)
    panel = MapInspector(replace(run, maps=[weights] * 3), VALID)
    slider, found = panel.threshold, float(weights.max() - weights.min())
    steps = (slider.max - slider.min) / slider.step
    assert steps == pytest.approx(round(steps))
    assert 100 <= round(steps) <= 1002 or found < 100 / UNIT
    assert slider.min <= weights.min()
    assert slider.max >= weights.max()
    if found >= 100 / UNIT:
        assert panel.scene.share(panel.view) == pytest.approx(0.5, abs=0.012)  # above the average
    for value in (slider.min, slider.max):
        slider.value = value
        text = panel.view_text
        panel.view_text = text
        assert panel.view_text == text
        assert panel.status.value == ""


def test_the_caption_tells_the_effective_area_of_the_epoch(panel, run):
    for epoch in (1, 3):
        panel.epoch.value = epoch
        assert f"effective area {effective_area(run.maps[epoch - 1]):.2f}" in panel.caption.value


def test_the_epoch_moves_the_cursor_of_the_loss_curve(panel):
    panel.epoch.value = 1
    first = panel.curve.value
    panel.epoch.value = 3
    assert panel.curve.value == png(panel.scene.curve(panel.view)) != first


def test_the_loss_curve_is_painted_anew_for_another_epoch_only(panel, monkeypatch):
    painted = []
    monkeypatch.setattr(panel.scene, "curve", lambda view: painted.append(view.epoch) or panel.scene.loss_axis.rgb)
    panel.epoch.value = 1
    panel.opacity.value, panel.position.value, panel.background.value = 33, 2, "mean image"
    panel.epoch.value = 2
    show(panel, "pixel")
    panel.epoch.value = 3
    show(panel, "epochs")
    assert painted == [0, 1, 2]


def test_the_caption_tells_the_prediction_and_its_probability(panel, run):
    panel.position.value = 4
    with torch.no_grad():
        probabilities = run.model(VALID.subset([4]).to_float()).softmax(dim=1)[0]
    name = VALID.class_names[int(probabilities.argmax())]
    assert f"predicted <b>{name}</b> with probability {probabilities.max():.3f}" in panel.caption.value
    assert ("wrong" in panel.caption.value) == (int(probabilities.argmax()) != int(VALID.labels[4]))


@pytest.mark.parametrize("name", VALID.class_names)
def test_the_class_filter_leaves_images_of_that_class(panel, name):
    panel.class_filter.value = name
    shown = []
    for position in range(panel.position.max + 1):
        panel.position.value = position
        shown.append(panel.view.image)
    assert shown == (VALID.labels == VALID.class_names.index(name)).nonzero()[:, 0].tolist()


def test_the_two_filters_of_predictions_divide_the_images(panel):
    shown = []
    for verdict in ("right", "wrong"):
        panel.right_filter.value = verdict
        for position in range(panel.position.max + 1):
            panel.position.value = position
            assert ("wrong" in panel.caption.value) == (verdict == "wrong")
            shown.append(panel.view.image)
    assert sorted(shown) == list(range(len(VALID)))


def test_where_no_image_passes_the_filters_all_are_shown_and_the_panel_says_so(panel):
    panel.scene.right[:] = True
    panel.right_filter.value = "wrong"
    assert panel.position.max == len(VALID) - 1
    assert "none passes the filters" in panel.caption.value


def test_the_probe_shows_weight_rank_and_features_of_the_pixel(panel, run):
    show(panel, "pixel")
    panel.row.value, panel.column.value = 5, 11
    weights = run.maps[panel.epoch.value - 1]
    rank = int((weights > weights[5, 11]).sum()) + 1
    assert f"weight {weights[5, 11]:.4f}, rank {rank} of 256" in panel.probe.value
    assert panel.dots.value == png(panel.scene.dots(panel.view))
    assert panel.strip.value == png(panel.scene.strip(panel.view))
    assert shows(panel, frame=True)


def test_row_and_column_each_move_the_probe(panel):
    show(panel, "pixel")
    seen = {panel.dots.value}
    panel.row.value = (panel.row.value + 5) % 16
    seen.add(panel.dots.value)
    panel.column.value = (panel.column.value + 5) % 16
    assert len(seen | {panel.dots.value}) == 3


def test_a_free_map_has_no_features_to_show(free):
    panel = MapInspector(free, VALID)
    show(panel, "pixel")
    assert "no pixel features" in panel.probe.value
    assert panel.strip.value == b""


def test_a_tall_image_is_shown_at_its_own_size(run):
    tall = replace(VALID, images=VALID.images[..., 4:12].contiguous(), region=None)
    panel = MapInspector(run, tall)
    assert shown(panel).shape == (PICTURE, PICTURE // 2, 3)
    assert shows(panel)
    assert panel.picture.layout.align_self == "flex-start"  # stretched to the width of the column it would be 720 high


@pytest.mark.parametrize(("row", "column"), [(0, 0), (15, 15), (1, 4)])
def test_a_pixel_that_is_picked_in_the_picture_is_probed_and_framed(panel, row, column):
    panel.picture.set_state({"pixel": [row, column], "framed": True})  # as a message of the browser does
    assert (panel.row.value, panel.column.value, panel.tabs.selected_index) == (row, column, TABS.index("pixel"))
    assert shows(panel, frame=True)
    assert panel.status.value == ""


def test_the_rectangle_is_outlined_while_it_is_chosen(panel):
    show(panel, "knock-out")
    panel.blanked.value = "rectangle"
    panel.rows.value, panel.columns.value = (2, 5), (3, 9)
    mask = panel.scene.mask(panel.view)
    assert mask[2:6, 3:10].all()
    assert mask.sum() == 28
    assert shows(panel, rectangle=True)
    show(panel, "export")
    assert shows(panel, rectangle=True)
    show(panel, "epochs")
    assert shows(panel)


def test_the_comparison_shows_the_other_run_and_the_rank_correlation(panel):
    show(panel, "compare")
    picture, words = panel.scene.comparison(panel.view, "free map")
    assert panel.comparison.value == png(picture)
    assert panel.difference.value == words
    assert "rank correlation" in words


def test_without_another_run_the_comparison_says_so(run):
    panel = MapInspector(run, VALID)
    show(panel, "compare")
    assert panel.other.options == ("no other run given",)
    assert panel.status.value == ""


# ---------------------------------------------------------------- errors are shown


def test_an_exception_in_a_callback_is_shown_in_the_panel_and_goes_when_the_next_move_succeeds(panel, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("no <picture> today")

    monkeypatch.setattr(panel.scene, "under", broken)
    panel.opacity.value = 12
    assert "RuntimeError: no &lt;picture&gt; today" in panel.status.value
    monkeypatch.undo()
    panel.opacity.value = 13
    assert panel.status.value == ""


def test_a_message_that_names_no_pixel_is_an_error_and_the_panel_still_answers(panel):
    panel.picture.set_state({"pixel": [], "framed": True})
    assert "ValueError" in panel.status.value
    panel.opacity.value = 12
    assert shows(panel)
    assert panel.status.value == ""


def test_an_exception_in_the_knock_out_is_shown_and_the_button_works_again(panel, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(inspector_module, "knock_out", broken)
    panel.start.click()
    panel.wait()
    assert "out of memory" in panel.status.value
    assert not panel.start.disabled
    assert panel.cancel.disabled


def test_a_rectangle_that_leaves_no_pixel_is_an_error_in_the_panel(panel):
    panel.blanked.value = "rectangle"
    panel.rows.value = panel.columns.value = (0, 15)
    panel.start.click()
    panel.wait()
    assert "mask: got 256 of 256 pixels" in panel.status.value


def test_a_run_without_maps_is_refused():
    torch.manual_seed(0)
    plain = fit(build_backbone("small", 1, 2, 16), TRAIN, VALID, epochs=1, progress=False)
    with pytest.raises(ValueError, match="run: got a run without weight maps"):
        MapInspector(plain, VALID)


# ---------------------------------------------------------------- knock-out


@pytest.mark.parametrize("blanked", ["above", "below", "rectangle"])
def test_the_knock_out_shows_the_numbers_that_come_without_the_panel(panel, run, blanked):
    panel.blanked.value = blanked
    panel.start.click()
    panel.wait()
    alone = knock_out(run.model, VALID, panel.scene.mask(panel.view))
    assert panel.knocked_out == alone
    for scores in (alone.whole, alone.without):
        assert f"{scores['accuracy']:.3f}" in panel.result.value
        assert f"{scores['auroc']:.3f}" in panel.result.value
    assert f"without these {alone.pixels}" in panel.result.value
    assert panel.progress.value == panel.progress.max == 22


def test_the_numbers_of_a_knock_out_say_what_was_blanked_also_when_the_controls_move_on(panel):
    panel.start.click()
    panel.wait()
    said = f"blanked: {panel.scene.blanked_in_words(panel.view)}"
    panel.threshold.value, panel.epoch.value, panel.blanked.value = panel.threshold.min, 1, "below"
    assert said in panel.result.value
    assert panel.scene.blanked_in_words(panel.view) not in said


def test_a_knock_out_runs_beside_the_controls_and_can_be_cancelled(panel, monkeypatch):
    started, go_on = threading.Event(), threading.Event()
    real = inspector_module.knock_out

    def slow(model, image_set, mask, on_step):
        def step(done, of):
            started.set()
            go_on.wait(10)
            on_step(done, of)

        return real(model, image_set, mask, on_step=step)

    monkeypatch.setattr(inspector_module, "knock_out", slow)
    panel.start.click()
    assert started.wait(10)
    assert panel.start.disabled
    assert not panel.cancel.disabled
    panel.epoch.value = 1  # the panel still answers
    assert shows(panel)
    panel.cancel.click()
    assert "ends after the running evaluation" in panel.result.value
    go_on.set()
    panel.wait()
    assert panel.result.value == "cancelled"
    assert panel.knocked_out is None
    assert not panel.start.disabled


def test_a_click_on_cancel_after_the_end_leaves_the_result(panel):
    panel.start.click()
    panel.wait()
    result = panel.result.value
    panel.cancel.click()
    assert panel.result.value == result


# ---------------------------------------------------------------- plain maps


def test_a_plain_map_is_inspected_and_what_is_missing_is_off_and_said(run):
    panel = MapInspector(run.maps[0], VALID, {"next": run.maps[1]})
    assert panel.start.disabled
    assert panel.right_filter.disabled
    assert panel.curve.layout.display == "none"
    for tab in TABS:
        show(panel, tab)
        assert panel.status.value == panel.scene.missing()
    assert all(words in panel.status.value for words in ("no loss curves", "no predictions", "no knock-out"))
    assert "not predicted" in panel.caption.value
    assert "no pixel features: a plain map" in panel.probe.value
    assert "rank correlation" in panel.difference.value
    panel.opacity.value = 80
    assert shows(panel)
    panel.start.click()  # a button that is off can be clicked by code
    assert "model: got none, expected the model to evaluate" in panel.status.value
    panel.png.click()
    assert "save view-" in panel.link.value
    assert "epoch 1 of 1" in panel.summary()


def test_with_predictions_a_plain_map_has_the_filters_and_with_a_model_the_knock_out(run):
    probabilities = run.model(VALID.to_float()).softmax(dim=1).detach()
    panel = MapInspector(run.maps, VALID, probabilities=probabilities)
    assert not panel.right_filter.disabled
    assert panel.start.disabled
    assert "predicted" in panel.caption.value
    panel = MapInspector(run.maps, VALID, model=run.model)
    assert panel.epoch.value == len(run.maps)
    assert panel.status.value == "no loss curves without a run"
    panel.start.click()
    panel.wait()
    assert panel.knocked_out == knock_out(run.model, VALID, panel.scene.mask(panel.view))
    assert not panel.start.disabled
    text = panel.view_text
    panel.epoch.value = 1
    panel.view_text = text
    assert panel.view_text == text


# ---------------------------------------------------------------- export


def test_a_text_restores_the_very_same_view(panel):
    show(panel, "export")
    panel.class_filter.value, panel.position.value = VALID.class_names[1], 3
    panel.background.value, panel.opacity.value, panel.epoch.value = "mean image", 31, 2
    panel.threshold.value = (panel.threshold.min + panel.threshold.max) / 2
    panel.row.value, panel.column.value, panel.blanked.value = 1, 2, "rectangle"
    panel.rows.value, panel.columns.value, panel.other.value = (0, 15), (4, 4), "itself"
    text, view, picture = panel.text.value, panel.view, shown(panel)
    assert text == panel.view_text
    other = View(0, 0, 50, view.threshold, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    panel.view = other
    assert not np.array_equal(shown(panel), picture)
    panel.text.value = text
    assert panel.view == view
    assert np.array_equal(shown(panel), picture)
    assert panel.other.value == "itself"
    assert panel.status.value == ""


def test_a_text_restores_what_every_tab_shows_in_a_new_panel(panel, run, free):
    panel.position.value, panel.epoch.value, panel.opacity.value, panel.blanked.value = 5, 2, 70, "rectangle"
    panel.row.value, panel.column.value, panel.rows.value, panel.other.value = 3, 8, (1, 4), "itself"
    restored = MapInspector(run, VALID, {"free map": free, "itself": run})
    restored.view_text = panel.view_text
    for tab in TABS:
        show(panel, tab)
        show(restored, tab)
        assert all(getattr(panel, name).value == getattr(restored, name).value for name in PICTURES + TEXTS), tab
        assert np.array_equal(shown(panel), shown(restored)), tab
    alone = MapInspector(run, VALID)
    with pytest.raises(ValueError, match="another run, image set or comparison"):
        alone.view_text = panel.view_text


def test_a_text_of_another_run_or_none_at_all_is_refused_in_the_panel(panel, free):
    before = panel.view
    for text in (MapInspector(free, VALID).view_text, "nonsense", ""):
        panel.text.value = text
        assert "ValueError: view: got" in panel.status.value
        assert panel.view == before


def test_a_view_outside_the_run_is_refused_and_changes_nothing(panel):
    before = panel.view
    with pytest.raises(ValueError, match="image 30, expected 0 to 29"):
        panel.view = View(30, *list(vars(before).values())[1:])
    assert panel.view == before


@pytest.mark.parametrize(("button", "mime"), [("png", "image/png"), ("svg", "image/svg+xml")])
def test_the_export_buttons_link_to_a_file_of_this_view(panel, button, mime):
    getattr(panel, button).click()
    assert f"view-{panel.view_text}.{button}" in panel.link.value
    content = base64.b64decode(panel.link.value.split("base64,")[1].split("'")[0])
    assert content.startswith(b"\x89PNG" if button == "png" else b"<?xml")
    assert mime in panel.link.value


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_a_view_is_saved_as_the_kind_of_file_that_the_ending_says(panel, tmp_path, ending):
    path = panel.save(tmp_path / f"view.{ending}")
    assert path.stat().st_size > 5000
    with pytest.raises(ValueError, match=r"path: got .*view.gif.*expected an ending"):
        panel.save(tmp_path / "view.gif")


def test_the_panel_leaves_a_picture_and_a_line_of_text_where_no_widget_is_drawn(panel):
    data, metadata = panel._repr_mimebundle_()
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(data["image/png"]))))
    assert sheet.shape[0] > 300
    assert sheet.std() > 10
    assert data["text/plain"] == panel.summary()
    assert "application/vnd.jupyter.widget-view+json" in data
    assert metadata["image/png"]["alt"]


def test_tabs_of_ipywidgets_7_have_titles_for_a_front_end_of_version_8(run, monkeypatch):
    class Tab(ipywidgets.VBox):
        selected_index = traitlets.Int(0).tag(sync=True)

        def set_title(self, place, title):
            pass

    monkeypatch.setattr(ipywidgets, "Tab", Tab)
    assert tuple(MapInspector(run, VALID).tabs.get_state(["titles"])["titles"]) == TABS


def test_in_colab_the_output_names_the_manager_that_draws_the_picture(panel, monkeypatch):
    class Output(types.ModuleType):
        _widgets = types.SimpleNamespace(_installed_url="manager")

        def enable_custom_widget_manager(self):
            pass

    monkeypatch.setitem(sys.modules, "google.colab.output", Output("google.colab.output"))
    metadata = panel._repr_mimebundle_()[1]["application/vnd.jupyter.widget-view+json"]
    assert metadata == {"colab": {"custom_widget_manager": {"url": "manager"}}}


def test_images_are_left_in_the_notebook_only_where_that_was_asked_for(panel, run):
    assert MIME not in panel._repr_mimebundle_()[0]
    data, _ = MapInspector(run, VALID, portable=True)._repr_mimebundle_()
    assert "render(" in data[MIME]
    with pytest.raises(ValueError, match="portable: got 'yes'"):
        MapInspector(run, VALID, portable="yes")


def test_a_page_holds_images_from_the_whole_set_mistakes_and_the_one_that_is_shown(panel):
    panel.position.value = 3
    data = page_data(panel.scene, panel.view, 12, 2)
    numbers, wrong = data["numbers"], panel.scene.passing(None, right=False)
    assert len(numbers) == len(set(numbers)) == 12
    assert 3 in numbers
    assert numbers[0] < 3
    assert numbers[-1] > 26
    assert len(set(numbers) & set(wrong)) >= 4
    assert data["epochs"] == [1, 3]
    assert page_data(panel.scene, panel.view, 1, 1)["numbers"] == [3]


def test_a_knock_out_of_no_pixel_or_of_all_is_left_out_of_a_page(panel, tmp_path):
    panel.threshold.value = panel.threshold.max
    text = panel.export_html(tmp_path / "map.html", images=2, epochs=1).read_text()
    assert '"knock_outs": []' in text
    with pytest.raises(ValueError, match="path: got .*expected an ending of .html"):
        panel.export_html(tmp_path / "map.htm")


# ---------------------------------------------------------------- nothing grows


def test_a_thousand_moves_leave_memory_figures_comms_and_callbacks_as_they_were(panel):
    """Slow (5 s) because a leak of a few bytes a move shows in many moves only."""
    span = panel.threshold.max - panel.threshold.min

    def move(times):
        for number in range(times):
            show(panel, TABS[number % len(TABS)])
            panel.threshold.value = panel.threshold.min + span * (number % 97) / 97
            panel.position.value = number % 30
            panel.row.value = number % 16

    def counts():
        gc.collect()
        observers = sum(len(handlers) for handlers in panel.threshold._trait_notifiers["value"].values())
        return (
            len(ipywidgets.widgets.widget._instances),
            len(matplotlib.pyplot.get_fignums()),
            observers,
            threading.active_count(),
        )

    move(25)
    tracemalloc.start()
    before, memory = counts(), tracemalloc.get_traced_memory()[0]
    move(250)  # of four controls each
    after, grown = counts(), tracemalloc.get_traced_memory()[0] - memory
    tracemalloc.stop()
    assert after == before
    assert grown < 200_000
    assert panel.status.value == ""
