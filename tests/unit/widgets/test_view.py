"""View: a text restores it exactly, and nothing but its own text does."""

from dataclasses import asdict, fields, replace

import pytest

from gsa_utils.widgets.view import BACKGROUNDS, BLANKED, UNIT, View

MARK = "0123abcd"
NAMES = [field.name for field in fields(View)]
VIEW = View(
    image=3,
    background=0,
    opacity=60,
    threshold=5123,
    epoch=2,
    row=4,
    column=5,
    blanked=2,
    top=1,
    bottom=6,
    left=2,
    right=7,
    other=1,
)
COUNTS = {"images": 9, "epochs": 4, "size": (10, 12), "thresholds": (4000, 6000), "others": 3}
FIRST = {"threshold": 4000, "bottom": VIEW.top, "right": VIEW.left}
LAST = {"image": 8, "background": 1, "opacity": 100, "threshold": 6000, "epoch": 3, "row": 9, "column": 11}
LAST |= {"blanked": 2, "bottom": 9, "right": 11, "other": 2}


# ---------------------------------------------------------------- text


@pytest.mark.parametrize(
    "view", [VIEW, View(*[0] * 13), View(*[10**18] * 13), View(*range(13)), View(*reversed(range(13)))]
)
@pytest.mark.parametrize("mark", [MARK, "00000000", "m"])
def test_the_text_of_a_view_restores_it(view, mark):
    assert View.parse(view.text(mark), mark) == view


def test_the_text_is_the_mark_and_the_numbers_in_their_order():
    assert VIEW.text(MARK) == "0123abcd.3.0.60.5123.2.4.5.2.1.6.2.7.1"


def test_no_two_fields_share_a_place_in_the_text():
    texts = {replace(VIEW, **{name: 9999}).text(MARK) for name in NAMES}
    assert len(texts) == len(NAMES)


def test_spaces_and_line_ends_around_a_copied_text_do_no_harm():
    assert View.parse(f"  {VIEW.text(MARK)}\r\n", MARK) == VIEW


def test_the_threshold_as_a_weight_is_exact():
    thresholds = [0, 1, 499_999, 500_000, UNIT]
    assert [replace(VIEW, threshold=one).weight for one in thresholds] == [0, 1e-6, 0.499999, 0.5, 1]


@pytest.mark.parametrize("mark", ["0123abce", "", "0123ABCD", "0123abcd0"])
def test_a_view_of_another_run_is_refused_and_both_are_named(mark):
    with pytest.raises(ValueError, match="^view: got .*another run, image set or comparison, expected one") as caught:
        View.parse(VIEW.text(mark), MARK)
    assert f"the view {mark} of" in str(caught.value)
    assert str(caught.value).endswith(MARK)


TEXT = VIEW.text(MARK)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n",
        "garbage",
        MARK,
        "." * 13,
        "." * 14,
        TEXT.rsplit(".", 1)[0],
        TEXT + ".0",
        TEXT + ".",
        "." + TEXT,
        TEXT.replace(".60.", ".-60."),
        TEXT.replace(".60.", ".+60."),
        TEXT.replace(".60.", ".6 0."),
        TEXT.replace(".60.", ". 60."),
        TEXT.replace(".60.", ".6_0."),
        TEXT.replace(".60.", ".0x6."),
        TEXT.replace(".60.", ".6e1."),
        TEXT.replace(".60.", ".six."),
        TEXT.replace(".60.", "..."),
        TEXT.replace(".60.", ".²."),
        TEXT.replace(".", ","),
        TEXT + "\n" + TEXT,
    ],
)
def test_what_is_no_text_of_a_view_is_refused(text):
    with pytest.raises(ValueError, match="^view: got .*expected 14 parts divided by dots") as caught:
        View.parse(text, MARK)
    assert repr(text) in str(caught.value)


# ---------------------------------------------------------------- check


def test_a_view_within_the_run_passes():
    VIEW.check(**COUNTS)


@pytest.mark.parametrize("name", LAST)
def test_both_ends_of_each_field_pass(name):
    replace(VIEW, **{name: FIRST.get(name, 0)}).check(**COUNTS)
    replace(VIEW, **{name: LAST[name]}).check(**COUNTS)


@pytest.mark.parametrize("name", LAST)
def test_each_field_out_of_range_is_named(name):
    first = FIRST.get(name, 0)
    for value in (first - 1, LAST[name] + 1, 10**9):
        with pytest.raises(ValueError, match=f"^view: got {name} {value}, expected {first} to {LAST[name]}$"):
            replace(VIEW, **{name: value}).check(**COUNTS)


def test_every_field_but_the_first_corner_is_checked_here():
    assert set(NAMES) - set(LAST) == {"top", "left"}


@pytest.mark.parametrize(("name", "limit"), [("top", "bottom"), ("left", "right")])
def test_a_rectangle_may_be_one_pixel_and_must_not_be_turned_inside_out(name, limit):
    end = asdict(VIEW)[limit]
    replace(VIEW, **{name: end}).check(**COUNTS)
    replace(VIEW, **{name: 0}).check(**COUNTS)
    with pytest.raises(ValueError, match=f"^view: got ({name}|{limit}) "):
        replace(VIEW, **{name: end + 1}).check(**COUNTS)


def test_where_there_is_no_other_run_a_view_names_the_first():
    alone = COUNTS | {"others": 0}
    replace(VIEW, other=0).check(**alone)
    with pytest.raises(ValueError, match="^view: got other 1, expected 0 to 0$"):
        VIEW.check(**alone)


def test_backgrounds_and_blanked_pixels_are_those_that_a_view_can_name():
    replace(VIEW, background=len(BACKGROUNDS) - 1, blanked=len(BLANKED) - 1).check(**COUNTS)
    assert len(set(BACKGROUNDS)) == len(BACKGROUNDS) == 2
    assert set(BLANKED) == {"above", "below", "rectangle"}
