"""Scene: what the panel shows of a run, compared with what the run and the images say themselves."""

import copy
import html
from dataclasses import replace

import matplotlib.pyplot
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from gsa_utils.attended import attend
from gsa_utils.attention import FreeMap, GlobalSpatialAttention
from gsa_utils.datasets.phantoms import make_phantom
from gsa_utils.evaluation.knockout import KnockOut
from gsa_utils.evaluation.maps import effective_area, stability
from gsa_utils.networks.backbones import build_backbone
from gsa_utils.pixels.features import pixel_features
from gsa_utils.plots.overlay import coloured, enlarged, overlay, scale_of, with_cursor
from gsa_utils.plots.style import DIFFERENCES
from gsa_utils.training.loop import TrainingRun, fit
from gsa_utils.widgets.scene import Scene, knock_out_table
from gsa_utils.widgets.view import BLANKED, UNIT, View

TRAIN, VALID = make_phantom("phantom-chest", 24, 16, seed=0), make_phantom("phantom-chest", 14, 16, seed=1)
FEATURES = pixel_features(TRAIN, rank=5)
WIDE = 440


def trained(attention=None, at=None, epochs=2):
    torch.manual_seed(0)
    model = build_backbone("small", 1, 2, 16)
    model = model if attention is None else attend(model, attention, at)
    return fit(model, TRAIN, VALID, epochs=epochs, batch_size=8, attention_lr=0.1, progress=False)


def classifier(features=FEATURES):
    torch.manual_seed(0)
    return GlobalSpatialAttention(features, hidden=4)


@pytest.fixture(scope="module")
def run():
    return trained(classifier(), epochs=3)


@pytest.fixture(scope="module")
def free():
    return trained(FreeMap(16))


@pytest.fixture(scope="module")
def coarse():
    return trained(classifier(pixel_features(TRAIN, rank=5, size=8)), at="1")


@pytest.fixture(scope="module")
def scene(run, free):
    return Scene(run, VALID, {"free map": free, "itself": run}, WIDE)


def view(**changes):
    usual = {"image": 3, "background": 0, "opacity": 50, "threshold": UNIT, "epoch": 1, "row": 4, "column": 9}
    return View(**usual | {"blanked": 0, "top": 2, "bottom": 5, "left": 7, "right": 7, "other": 0} | changes)


# ---------------------------------------------------------------- predictions


def test_probabilities_are_those_of_the_model(scene, run):
    with torch.no_grad():
        expected = run.model(VALID.to_float()).softmax(dim=1)
    torch.testing.assert_close(scene.probabilities, expected)
    assert torch.equal(scene.right, expected.argmax(dim=1) == VALID.labels)


def test_each_image_passes_one_pair_of_filters(run):
    half = replace(VALID, labels=torch.arange(len(VALID)) % 2)
    scene = Scene(run, half, {}, WIDE)
    found = [scene.passing(name, right) for name in half.class_names for right in (True, False)]
    assert sorted(number for numbers in found for number in numbers) == list(range(len(half)))
    assert scene.passing(None, None) == list(range(len(half)))
    for label, name in enumerate(half.class_names):
        assert scene.passing(name, None) == [k for k in range(len(half)) if half.labels[k] == label]
    for right in (True, False):
        assert scene.passing(None, right) == [k for k in range(len(half)) if scene.right[k] == right]


def test_a_prediction_says_whether_it_is_right_and_escapes_the_class_names(run, scene):
    guess = int(scene.probabilities[0].argmax())
    names = ("<b>one</b>", 'a & "b"')
    labels = VALID.labels.clone()
    labels[:2] = torch.tensor([guess, 1 - int(scene.probabilities[1].argmax())])
    named = Scene(run, replace(VALID, labels=labels, class_names=names), {}, WIDE)
    right, wrong = (named.prediction(view(image=number)) for number in (0, 1))
    probability = scene.probabilities[0, guess].item()
    assert right == f"predicted <b>{html.escape(names[guess])}</b> with probability {probability:.3f}, right"
    assert wrong.endswith(f"<b>wrong</b>, it is {html.escape(names[labels[1]])}")
    assert names[0] not in right + wrong
    assert names[1] not in right + wrong


# ---------------------------------------------------------------- maps and masks


def test_maps_and_losses_are_those_of_the_run(scene, run):
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(scene.maps, run.maps, strict=True))
    low, high = torch.stack(run.maps).min().item(), torch.stack(run.maps).max().item()
    most = max(1 - low, high - 1)
    assert scene.limits == (low, high)
    assert scene.scale == pytest.approx((1 - most, 1, 1 + most), abs=1e-6)
    assert scene.losses == {
        "training": [row["train_loss"] for row in run.history],
        "validation": [row["valid_loss"] for row in run.history],
    }


def test_above_and_below_share_the_pixels_and_the_threshold_is_above(scene, run):
    threshold = int(run.maps[1].median().item() * UNIT)
    inside = run.maps[1] >= threshold / UNIT
    now = view(threshold=threshold)
    assert torch.equal(scene.inside(now), inside)
    assert torch.equal(scene.mask(replace(now, blanked=BLANKED.index("above"))), inside)
    assert torch.equal(scene.mask(replace(now, blanked=BLANKED.index("below"))), ~inside)
    assert scene.share(now) == pytest.approx(int(inside.sum()) / 256)
    assert 0 < scene.share(now) < 1


def test_a_weight_equal_to_the_threshold_is_inside(run):
    constant = TrainingRun(run.model, run.history, [torch.full((16, 16), 0.5)] * 3, kept_epoch=0)
    assert Scene(constant, VALID, {}, WIDE).share(view(threshold=UNIT // 2)) == 1
    assert Scene(constant, VALID, {}, WIDE).share(view(threshold=UNIT // 2 + 1)) == 0


@pytest.mark.parametrize(
    ("top", "bottom", "left", "right"), [(2, 5, 7, 7), (0, 0, 0, 0), (15, 15, 15, 15), (0, 15, 3, 9)]
)
def test_a_rectangle_holds_both_its_ends(scene, top, bottom, left, right):
    mask = scene.mask(view(blanked=BLANKED.index("rectangle"), top=top, bottom=bottom, left=left, right=right))
    rows, columns = torch.arange(16)[:, None], torch.arange(16)
    assert torch.equal(mask, (rows >= top) & (rows <= bottom) & (columns >= left) & (columns <= right))


@pytest.mark.parametrize(
    ("blanked", "words"),
    [
        ("above", "weights of at least 1 after epoch 2"),
        ("below", "weights below 1 after epoch 2"),
        ("rectangle", "rows 2 to 5, columns 7 to 7"),
    ],
)
def test_the_blanked_pixels_in_words(scene, blanked, words):
    assert scene.blanked_in_words(view(blanked=BLANKED.index(blanked))) == words


@pytest.mark.parametrize("background", [0, 1])
def test_the_picture_is_the_map_over_the_image_or_the_mean_image(scene, run, background):
    now = view(background=background, opacity=30)
    under = VALID.images.float().mean(dim=0) if background else VALID.images[3]
    expected = overlay(under, run.maps[1], 0.3, scene.scale, run.maps[1] >= 1, None, 200)
    assert np.array_equal(scene.picture(now, 200), expected)
    framed = overlay(under, run.maps[1], 0.3, scene.scale, run.maps[1] >= 1, (4, 9), 200)
    assert np.array_equal(scene.picture(now, 200, frame=True), framed)


def test_a_map_on_a_coarser_grid_is_resized_to_the_image(coarse):
    scene = Scene(coarse, VALID, {"itself": coarse}, WIDE)
    assert coarse.maps[0].shape == (8, 8)
    assert [weights.shape for weights in scene.maps] == [(16, 16)] * 2
    low, high = coarse.maps[1].min() - 1e-6, coarse.maps[1].max() + 1e-6
    assert low <= scene.maps[1].min() <= scene.maps[1].max() <= high
    back = torch.nn.functional.avg_pool2d(scene.maps[1][None], 2)[0]
    assert stability([back, coarse.maps[1]]) > 0.95
    assert scene.picture(view(), 160).shape == (160, 160, 3)
    assert "<b>1.000</b>" in scene.comparison(view(epoch=coarse.kept_epoch), "itself")[1]


# ---------------------------------------------------------------- the framed pixel


def test_weight_and_rank_of_a_pixel_are_those_of_the_map(scene, run):
    weights = run.maps[1].double()
    order = weights.flatten().argsort(descending=True, stable=True).tolist()
    for rank in (1, 2, 100, 256):
        place = order[rank - 1]
        weight = weights.flatten()[place].item()
        text = scene.pixel(view(row=place // 16, column=place % 16))
        better = int((weights > weight).sum()) + 1
        assert text == f"weight {weight:.4f}, rank {better} of 256"
    assert "rank 1 of" in scene.pixel(view(row=order[0] // 16, column=order[0] % 16))


def test_intensities_are_those_of_one_pixel_in_all_images(scene, run):
    assert scene.intensities(view()).tolist() == VALID.images[:, 0, 4, 9].tolist()
    colour = replace(VALID, images=torch.cat([VALID.images, VALID.images // 2, VALID.images * 0], dim=1))
    grey = VALID.images[:, 0, 4, 9].double()
    model = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(3, 2))
    mine = Scene(TrainingRun(model, run.history, run.maps), colour, {}, WIDE).intensities(view())
    torch.testing.assert_close(mine.double(), (grey + grey.div(2, rounding_mode="floor")) / 3, atol=1e-4, rtol=0)


def test_the_strip_has_one_cell_a_feature_in_the_colour_of_its_sign(scene):
    strip = scene.strip(view())
    own = FEATURES[0, :, 4, 9]
    assert strip.shape == (16, WIDE // 5 * 5, 3)
    cells = strip.reshape(16, 5, WIDE // 5, 3)
    assert (cells == cells[:1, :, :1]).all()
    most = own.abs().max()
    places = [np.nonzero((cell == DIFFERENCES).all(axis=1))[0].mean() for cell in cells[0, :, 0]]
    assert places == pytest.approx(((own / most + 1) * 127.5).tolist(), abs=2)


def test_the_strip_of_a_coarser_grid_is_that_of_the_cell_the_pixel_lies_in(coarse):
    scene = Scene(coarse, VALID, {}, WIDE)
    same = [scene.strip(view(row=row, column=column)) for row in (4, 5) for column in (8, 9)]
    assert all(np.array_equal(same[0], other) for other in same)
    assert not np.array_equal(same[0], scene.strip(view(row=6, column=9)))
    assert scene.strip(view(row=15, column=15)).shape == same[0].shape


def test_a_free_map_and_a_frozen_one_have_no_features_to_show(run, free):
    model = copy.deepcopy(run.model)
    model.model.attention.freeze()
    for without in (free, replace(run, model=model)):
        assert Scene(without, VALID, {}, WIDE).strip(view()) is None


# ---------------------------------------------------------------- comparison


def test_the_comparison_names_the_rank_correlation_with_the_kept_map(scene, run, free):
    expected = stability([run.maps[1], free.maps[free.kept_epoch]])
    picture, words = scene.comparison(view(), "free map")
    assert f"rank correlation <b>{expected:.3f}</b>" in words
    assert picture.dtype == np.uint8
    assert WIDE - 60 < picture.shape[1] <= WIDE


def test_both_maps_of_a_comparison_have_the_same_colours_for_the_same_weights(scene, run):
    """The third picture is the difference: white, where a map is compared with itself."""
    picture, _ = scene.comparison(view(epoch=run.kept_epoch), "itself")
    wide = (picture.shape[1] - 16) // 3
    one, two, difference = (picture[:, start : start + wide] for start in (0, wide + 8, 2 * (wide + 8)))
    assert np.array_equal(one, two)
    assert len(np.unique(one.reshape(-1, 3), axis=0)) > 20
    assert (difference == DIFFERENCES[128]).all()
    other, _ = scene.comparison(view(epoch=0), "itself")
    last = run.maps[run.kept_epoch]
    expected = coloured(last, scale_of([run.maps[0], last]))
    zoom = wide // 16
    assert np.array_equal(other[:, wide + 8 : 2 * wide + 8], enlarged(expected, zoom, zoom))


def test_a_kept_map_agrees_with_itself(scene, run):
    assert "<b>1.000</b>" in scene.comparison(view(epoch=run.kept_epoch), "itself")[1]


def test_a_run_whose_map_has_a_coarser_grid_is_compared_at_the_size_of_the_images(run, coarse):
    expected = stability([run.maps[1], Scene(coarse, VALID, {}, WIDE).maps[coarse.kept_epoch]])
    assert f"<b>{expected:.3f}</b>" in Scene(run, VALID, {"coarse": coarse}, WIDE).comparison(view(), "coarse")[1]


def test_a_constant_map_has_no_order_to_agree_with_and_the_comparison_says_so(run):
    constant = TrainingRun(run.model, run.history, [torch.full((16, 16), 0.5)], kept_epoch=0)
    assert "not defined" in Scene(run, VALID, {"constant": constant}, WIDE).comparison(view(), "constant")[1]


def test_the_name_of_another_run_is_escaped(run):
    assert "a &lt;b&gt;," in Scene(run, VALID, {"a <b>": run}, WIDE).comparison(view(), "a <b>")[1]


# ---------------------------------------------------------------- complaints and marks


def test_a_run_without_maps_is_refused():
    with pytest.raises(ValueError, match="^run: got a run without weight maps, expected"):
        Scene(TrainingRun(torch.nn.Identity()), VALID, {}, WIDE)


def test_another_run_without_maps_is_refused_by_name(run):
    other = TrainingRun(run.model, run.history, [], kept_epoch=0)
    with pytest.raises(ValueError, match=r"^others: got 'the other' without weight maps, expected"):
        Scene(run, VALID, {"good": run, "the other": other}, WIDE)


def test_the_mark_is_that_of_one_run_and_one_image_set(scene, run, free):
    copied = TrainingRun(run.model, run.history, [one.clone() for one in run.maps], kept_epoch=run.kept_epoch)
    copy = Scene(copied, VALID.subset(range(len(VALID))), {"free map": free, "itself": copied}, WIDE)
    assert copy.mark == scene.mark
    others = [Scene(free, VALID, {}, WIDE), Scene(run, TRAIN, {}, WIDE)]
    others.append(Scene(run, VALID.subset(range(1, len(VALID))), {}, WIDE))
    turned = replace(VALID, labels=1 - VALID.labels)
    others += [Scene(run, turned, {"free map": free}, WIDE), Scene(run, VALID, {}, WIDE)]
    others += [Scene(run, VALID, {name: free, "b": run}, WIDE) for name in ("a", "b's")]
    marks = {scene.mark, *(other.mark for other in others)}
    other_history = [{**row, "valid_loss": row["valid_loss"] + 1e-6} for row in run.history]
    others.append(Scene(replace(run, history=other_history), VALID, {}, WIDE))
    marks |= {others[-1].mark}
    assert len(marks) == 9
    assert all(len(mark) == 8 and "." not in mark for mark in marks)


# ---------------------------------------------------------------- plain maps and predictions


def test_plain_maps_predictions_and_a_model_are_shown_as_those_of_a_run(scene, run, free):
    others = {"free map": free.maps[: free.kept_epoch + 1], "itself": run.maps[run.kept_epoch]}
    plain = Scene(run.maps, VALID, others, WIDE, scene.probabilities, run.model)
    assert (plain.limits, plain.scale, plain.kept_epoch) == (scene.limits, scene.scale, 2)
    now = view()
    for show in (Scene.picture, Scene.comparison):
        mine, theirs = (show(one, now, *((200,) if show is Scene.picture else ("free map",))) for one in (plain, scene))
        np.testing.assert_equal(mine, theirs)
    for say in (Scene.prediction, Scene.pixel, Scene.summary, Scene.strip):
        np.testing.assert_equal(say(plain, now), say(scene, now))
    assert plain.missing() == "no loss curves without a run"
    assert scene.missing() == ""


def test_one_map_alone_shows_no_predictions_and_no_curves_and_says_so(run):
    alone = Scene(run.maps[1], VALID, {}, WIDE)
    assert (alone.model, alone.right, alone.probabilities, alone.losses) == (None, None, None, {})
    for words in ("no loss curves", "no predictions", "no knock-out"):
        assert words in alone.missing()
    now = view(epoch=0)
    assert "not predicted" in alone.prediction(now)
    assert "predictions" not in alone.summary(now)
    assert alone.strip(now) is None
    assert alone.passing(VALID.class_names[0], None) == (VALID.labels == 0).nonzero()[:, 0].tolist()
    figure = alone.figure(now)
    figure.canvas.draw()
    assert not next(ax for ax in figure.axes if not ax.get_visible()).lines
    assert alone.sheet().axes[0].get_title(loc="center") == "epoch 1"


def test_predictions_that_are_given_come_before_those_of_the_model(run):
    sure = torch.eye(2)[VALID.labels]
    assert Scene(run, VALID, {}, WIDE, probabilities=sure).right.all()
    assert not Scene(run.maps, VALID, {}, WIDE, probabilities=1 - sure).right.any()


def test_a_model_that_is_given_comes_before_that_of_the_run_and_is_left_as_it_was(run, free):
    model = copy.deepcopy(free.model).train()
    assert torch.equal(
        Scene(run, VALID, {}, WIDE, model=model).probabilities, Scene(free, VALID, {}, WIDE).probabilities
    )
    assert all(part.training for part in model.modules())


def test_the_mark_is_that_of_the_predictions_given_too(run):
    even = torch.full((len(VALID), 2), 0.5)
    given = (None, even, torch.eye(2)[VALID.labels])
    assert len({Scene(run.maps, VALID, {}, WIDE, probabilities).mark for probabilities in given}) == 3


MAP, EVEN = torch.rand(16, 16), torch.full((14, 2), 0.5)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"run": []}, "run: got list .*, expected a TrainingRun, a weight map"),
        ({"run": None}, "run: got NoneType"),
        ({"run": "a map"}, "run: got str"),
        ({"run": torch.rand(3, 16, 16)}, r"run: got a float32 tensor of shape \(3, 16, 16\)"),
        ({"run": [MAP, MAP.numpy()]}, "run: got a float32 ndarray"),
        ({"run": MAP > 0.5}, "run: got a bool tensor"),
        ({"run": MAP - 0.5}, "run: got a map with weights that are negative or not finite"),
        ({"run": [MAP, MAP / 0]}, "run: got a map with weights that are negative or not finite"),
        ({"others": {"it": MAP[0]}}, "others: got a float32 tensor"),
        ({"image_set": VALID.images}, "image_set: got a uint8 tensor"),
        ({"model": "vgg"}, "model: got str"),
        ({"probabilities": EVEN[1:]}, r"probabilities: got .*\(13, 2\), expected floats of shape \(14, 2\)"),
        ({"probabilities": EVEN.numpy()}, "probabilities: got a float32 ndarray"),
        ({"probabilities": EVEN.int()}, "probabilities: got a int32"),
        ({"probabilities": EVEN * 3}, "probabilities: got .*each row with the sum 1"),
        ({"probabilities": EVEN * torch.tensor([-1, 3])}, "probabilities: got .*none negative"),
        ({"probabilities": EVEN * torch.nan}, "probabilities: got"),
    ],
)
def test_what_can_not_be_shown_is_refused_by_the_name_of_its_argument(given, words):
    with pytest.raises(ValueError, match=f"^{words}"):
        Scene(**{"run": MAP, "image_set": VALID, "others": {}, "wide": WIDE} | given)


# ---------------------------------------------------------------- figures


def test_the_cursor_is_at_the_epoch_of_the_view(scene):
    assert np.array_equal(scene.curve(view(epoch=2)), with_cursor(scene.loss_axis, 3))


def test_the_figure_outlines_a_rectangle_where_one_is_chosen(scene):
    now = view(blanked=BLANKED.index("rectangle"), bottom=9)
    (image,) = (ax.images[0] for ax in scene.figure(now).axes if ax.images)
    assert np.array_equal(image.get_array(), scene.picture(now, 400, rectangle=True, frame=True))
    assert not np.array_equal(image.get_array(), scene.picture(now, 400, frame=True))
    assert "outlined: rows 2 to 9, columns 7 to 7" in scene.figure(now).get_suptitle()


def test_the_figure_holds_the_view_as_text_and_leaves_nothing_open(scene):
    now = view(row=0, column=15)
    figure = scene.figure(now)
    assert isinstance(figure, Figure)
    figure.canvas.draw()
    assert scene.summary(now) in figure.get_suptitle()
    assert View.parse(figure.get_suptitle().rsplit("view ", 1)[1], scene.mark) == now
    losses = next(ax for ax in figure.axes if ax.get_ylabel() == "loss")
    assert losses.lines[-1].get_xdata() == [2, 2]
    bar = next(ax for ax in figure.axes if ax.get_ylabel() == "weight")
    assert bar.get_ylim() == pytest.approx((scene.scale[0], scene.scale[2]))
    assert any("row 0, column 15" in ax.get_xlabel() for ax in figure.axes)
    assert matplotlib.pyplot.get_fignums() == []


@pytest.mark.parametrize(
    ("epochs", "titles"), [(1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (9, [1, 3, 5, 9]), (40, [1, 10, 20, 40])]
)
def test_the_sheet_shows_up_to_four_epochs_at_three_thresholds(run, epochs, titles):
    longer = TrainingRun(run.model, [run.history[0]] * epochs, [*[run.maps[0]] * (epochs - 1), run.maps[2]])
    sheet = Scene(longer, VALID, {}, WIDE).sheet()
    assert isinstance(sheet, Figure)
    axes = [ax for ax in sheet.axes if ax.images]
    assert [ax.get_title() for ax in axes[: len(titles)]] == [f"epoch {epoch}" for epoch in titles]
    assert len(axes) == 3 * len(titles)
    low, high = Scene(longer, VALID, {}, WIDE).limits
    beside = [ax.get_ylabel() for ax in axes[:: len(titles)]]
    assert beside == [f"threshold\n{weight:.2f}" for weight in ((low + 1) / 2, 1, (1 + high) / 2)]
    assert matplotlib.pyplot.get_fignums() == []


def test_the_summary_counts_epochs_from_one(scene, run):
    words = scene.summary(view(threshold=0, epoch=2))
    area = f"effective area {effective_area(run.maps[2]):.2f}"
    assert words.startswith(f"epoch 3 of 3: 100.0% of the pixels have a weight of at least 0; {area};")
    assert words.endswith(f"{scene.right.float().mean():.1%} of 14 predictions are right")


def test_a_map_without_any_weight_has_no_effective_area():
    scene = Scene([torch.zeros(16, 16), torch.ones(16, 16)], VALID, {}, WIDE)
    assert [scene.effective_area(view(epoch=epoch)) for epoch in (0, 1)] == ["not defined: no weight anywhere", "1.00"]


def test_the_table_of_a_knock_out_has_mean_lowest_and_highest():
    scores = [{"accuracy": value, "auroc": 1 - value} for value in (0.9, 0.5, 0.2, 0.4, 0.6, 1.0)]
    table = knock_out_table(KnockOut(7, scores[0], scores[1], scores[2:4], scores[4:]))
    assert "<td>without these 7</td><td>0.500</td><td>0.500</td>" in table
    assert "<td>without as many anywhere</td><td>0.300<br>(0.200 to 0.400)</td><td>0.700<br>(0.600 to 0.800)" in table
    assert table.endswith("of 2 draws")
