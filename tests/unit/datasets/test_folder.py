"""Image sets from a folder of your own: what arrives, and what is refused."""

import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from gsa_utils.datasets.folder import load_image_folder
from gsa_utils.evaluation.persons import group_keys
from gsa_utils.images import SPLITS


def draw(path, value, mode="L", size=(20, 20)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(path)


@pytest.fixture
def folder(tmp_path):
    """Two classes of ten grey images: 10 ... 19 in "ill", 110 ... 119 in "well"; a person has two images of a class."""
    for label, name in enumerate(("ill", "well")):
        for i in range(10):
            draw(tmp_path / name / f"p{label}{i // 2}{'ab'[i % 2]}.png", 100 * label + 10 + i)
    return tmp_path


def values(image_set):
    return image_set.images[:, 0, 0, 0].tolist()


def test_a_folder_is_divided_the_same_way_every_time_and_loses_nothing(folder):
    sets = [load_image_folder(folder, 8, split) for split in SPLITS]
    assert [len(s) for s in sets] == [14, 3, 3]
    assert sorted(v for s in sets for v in values(s)) == [*range(10, 20), *range(110, 120)]
    assert values(sets[0]) == values(load_image_folder(folder, 8))
    assert all(torch.equal(s.labels, (s.images[:, 0, 0, 0] > 100).long()) for s in sets)
    assert sets[0].class_names == ("ill", "well")
    assert sets[0].groups is None


def test_people_never_straddle_the_division_of_a_folder(folder):
    sets = [load_image_folder(folder, 8, split, groups=lambda file: file.name[:3]) for split in SPLITS]
    people = [set(s.groups.tolist()) for s in sets]
    assert len(set.union(*people)) == sum(map(len, people)) == 10
    assert all(torch.bincount(s.groups)[s.groups].eq(2).all() for s in sets)


def test_patients_of_two_folders_are_compared_by_name(tmp_path):
    for place, people in (("one", "abcdefg"), ("two", "gmnopq")):
        for i, person in enumerate(people):
            draw(tmp_path / place / "train" / ("ill", "well")[i % 2] / f"{person}.png", 0)
    one, two = (load_image_folder(tmp_path / place, 8, groups=lambda file: file.stem) for place in ("one", "two"))
    assert [group_keys(one)[key] for key in group_keys(one).keys() & group_keys(two).keys()] == ["g"]


def test_folders_named_train_val_and_test_are_the_splits(tmp_path):
    for value, split in enumerate(SPLITS):
        draw(tmp_path / split / "a" / "x.png", value)
        draw(tmp_path / split / "b" / "x.png", 100 + value)
    for value, split in enumerate(SPLITS):
        loaded = load_image_folder(tmp_path, 4, split)
        assert values(loaded) == [value, 100 + value]
        assert loaded.labels.tolist() == [0, 1]


def test_a_split_folder_that_is_missing_is_named(tmp_path):
    for split in ("train", "test"):
        draw(tmp_path / split / "a" / "x.png", 0)
    with pytest.raises(ValueError, match=r"split: got 'val', expected one of the folders in .*: test, train"):
        load_image_folder(tmp_path, 4, "val")


@pytest.mark.parametrize(("names", "named"), [(("Train", "Test"), "Test"), (("train", "validation"), "validation")])
def test_misnamed_split_folders_are_not_taken_for_classes(names, named, tmp_path):
    for name in names:
        draw(tmp_path / name / "a" / "x.png", 0)
    with pytest.raises(ValueError, match=rf"path: got .* with a folder {named}, expected split folders named train"):
        load_image_folder(tmp_path, 4)


def test_an_image_without_a_patient_is_named(folder):
    with pytest.raises(ValueError, match=r"groups: got None for .*p00a\.png, expected a person or patient"):
        load_image_folder(folder, 8, groups=lambda file: None if file.stem == "p00a" else file.stem)


def test_a_patient_in_two_split_folders_is_refused_by_name(tmp_path):
    for split in SPLITS:
        for name in ("a", "b"):
            draw(tmp_path / split / name / f"{split}.png", 0)
    draw(tmp_path / "test" / "a" / "train.png", 0)
    with pytest.raises(ValueError, match="groups: got 'train' in train and in test"):
        load_image_folder(tmp_path, 4, groups=lambda file: file.stem)


def test_patients_are_numbered_alike_in_every_split(tmp_path):
    for split, patient in zip(SPLITS, ("ann", "bob", "cat"), strict=True):
        draw(tmp_path / split / "a" / patient / "x.png", 0)
    numbers = [load_image_folder(tmp_path, 4, s, groups=lambda file: file.parent.name).groups.item() for s in SPLITS]
    assert numbers == [0, 1, 2]


def test_size_is_rows_then_columns(folder):
    assert load_image_folder(folder, (6, 9)).images.shape == (14, 1, 6, 9)
    assert load_image_folder(folder, np.int64(7)).images.shape == (14, 1, 7, 7)


def test_shrinking_averages_instead_of_picking_pixels(tmp_path):
    stripes = np.tile(np.uint8([0, 255]), (64, 32))
    (tmp_path / "train" / "a").mkdir(parents=True)
    Image.fromarray(stripes).save(tmp_path / "train" / "a" / "x.png")
    inner = load_image_folder(tmp_path, 8).images[0, 0, 1:-1, 1:-1].float()
    assert inner.sub(127.5).abs().max() < 6


def test_one_colour_image_makes_every_split_rgb(folder):
    assert load_image_folder(folder, 8).images.shape[1] == 1
    draw(folder / "ill" / "zzz.png", (200, 30, 90), "RGB")
    sets = [load_image_folder(folder, 8, split) for split in SPLITS]
    assert [s.images.shape[1] for s in sets] == [3, 3, 3]
    corners = {tuple(c) for s in sets for c in s.images[:, :, 0, 0].tolist()}
    assert (200, 30, 90) in corners
    assert (10, 10, 10) in corners


@pytest.mark.parametrize(("bits", "suffix"), [(16, "png"), (16, "tif"), (12, "png")])
def test_deep_scans_are_scaled_to_the_depth_they_use_not_clipped(bits, suffix, tmp_path):
    white = 2**bits - 1
    ramp = np.linspace(0, white, 256).round().astype(np.uint16).reshape(16, 16)
    for split, scan in zip(SPLITS, (ramp, ramp // 16, ramp // 2), strict=True):
        (tmp_path / split / "a").mkdir(parents=True)
        Image.fromarray(scan).save(tmp_path / split / "a" / f"x.{suffix}")
    for split, divisor in zip(SPLITS, (1, 16, 2), strict=True):
        pixels = load_image_folder(tmp_path, 16, split).images[0, 0].flatten().float()
        assert (pixels - torch.arange(256) / divisor).abs().max() <= 1.1


def test_a_photo_that_says_it_lies_on_its_side_is_turned(tmp_path):
    image = Image.new("L", (8, 4))
    image.paste(255, (0, 0, 4, 4))  # the left half is white
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn me clockwise": left becomes top
    (tmp_path / "train" / "a").mkdir(parents=True)
    image.save(tmp_path / "train" / "a" / "x.png", exif=exif)
    turned = load_image_folder(tmp_path, (8, 4)).images[0, 0]
    assert turned[0].min() > 200
    assert turned[-1].max() < 50


def test_other_files_are_left_out_with_a_warning_and_hidden_ones_in_silence(folder, recwarn):
    (folder / ".DS_Store").touch()
    (folder / ".cache").mkdir()
    draw(folder / "ill" / ".ipynb_checkpoints" / "copy.png", 0)
    (folder / "ill" / "._p.png").touch()
    load_image_folder(folder, 8)
    assert not recwarn.list
    (folder / "ill" / "scan.txt").touch()
    with pytest.warns(UserWarning, match=r"left out 1 of 21 files and links, no images of a class: .*scan\.txt"):
        assert len(load_image_folder(folder, 8)) == 14


def test_images_beside_the_class_folders_and_linked_folders_are_left_out_with_a_warning(folder, tmp_path_factory):
    draw(folder / "loose.png", 0)
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    draw(elsewhere / "far.png", 0)
    (folder / "ill" / "linked").symlink_to(elsewhere, target_is_directory=True)
    with pytest.warns(UserWarning, match=r"left out 2 of 22 files and links"):
        assert len(load_image_folder(folder, 8)) == 14


def test_pages_and_frames_behind_the_first_are_said_to_be_left_out(folder):
    first, second = Image.new("L", (20, 20), 10), Image.new("L", (20, 20), 200)
    first.save(folder / "ill" / "pages.tif", save_all=True, append_images=[second])
    with pytest.warns(UserWarning, match=r"1 files have several pages or frames, .*first is read: .*pages\.tif"):
        load_image_folder(folder, 8)


@pytest.mark.parametrize(
    ("names", "warned"),
    [
        ([f"{person:03}_{shot}" for person in range(8) for shot in range(2)], True),
        ([f"person{person}-virus-{shot}" for person in range(8) for shot in range(2)], True),
        ([f"scan_{number}" for number in range(16)], False),  # all begin alike, but not with a number
        ([f"{number:03}_t2" for number in range(16)], False),  # one image each
        ([f"week{number % 2}_{number}" for number in range(16)], False),  # two are no people
    ],
)
def test_names_that_look_like_people_are_pointed_out_where_no_groups_are_given(names, warned, tmp_path, recwarn):
    for number, name in enumerate(names):
        draw(tmp_path / "ab"[number % 2] / f"{name}.png", number)
    load_image_folder(tmp_path, 8)
    said = [str(warning.message) for warning in recwarn.list]
    assert len(said) == warned
    assert all("16 of 16 images share the start of their name" in words and "groups=" in words for words in said)
    recwarn.clear()
    load_image_folder(tmp_path, 8, groups=lambda file: file.name)
    assert not recwarn.list


def test_grey_images_stored_in_colour_stay_grey(folder):
    draw(folder / "ill" / "zzz.png", (90, 90, 90, 255), "RGBA")
    assert load_image_folder(folder, 8).images.shape[1] == 1


def test_a_burnt_in_pixel_does_not_darken_deep_scans(tmp_path):
    ramp = np.linspace(0, 4095, 4096).round().astype(np.uint16).reshape(64, 64)
    for name in ("a", "b"):
        (tmp_path / "train" / "x").mkdir(parents=True, exist_ok=True)
        scan = ramp.copy()
        scan[0, 0] = 65535 if name == "b" else 0
        Image.fromarray(scan).save(tmp_path / "train" / "x" / f"{name}.png")
    for image in load_image_folder(tmp_path, 64).images[:, 0].float():
        assert image.mean() == pytest.approx(127.5, abs=1)
        assert image.max() == 255


def test_deep_colour_is_refused_by_file_for_its_lower_bits_would_be_lost(folder):
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    pixels = b"".join(b"\0" + np.full((4, 3), 4000, ">u2").tobytes() for _ in range(4))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0))
    png = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")
    (folder / "ill" / "deep.png").write_bytes(png)
    with pytest.raises(ValueError, match=r"path: got .*deep\.png, which cannot be read \(16 bits a colour"):
        [load_image_folder(folder, 8, split) for split in SPLITS]


@pytest.mark.parametrize("content", [b"not an image", None], ids=["no image", "cut short"])
def test_an_unreadable_image_is_named(content, tmp_path):
    file = tmp_path / "train" / "well" / "bad.png"
    draw(file, 0, size=(200, 200))
    file.write_bytes(content or file.read_bytes()[:60])
    with pytest.raises(ValueError, match=r"path: got .*well.*bad\.png, which cannot be read"):
        load_image_folder(tmp_path, 8)


@pytest.mark.parametrize(("mode", "value"), [("F", 0.5), ("I", -5)])
def test_intensities_without_a_known_black_and_white_are_refused_by_file(mode, value, tmp_path):
    draw(tmp_path / "train" / "well" / "map.tif", value, mode)
    with pytest.raises(ValueError, match=r"map\.tif.*fractional or negative"):
        load_image_folder(tmp_path, 8)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"path": "nowhere"}, ["path: got", "nowhere", "an existing folder"]),
        ({"path": "ill"}, ["path: got", "without class folders", "one sub-folder per class"]),
        ({"path": "ill/p00_0.png"}, ["path: got", "an existing folder"]),
        ({"split": "testing"}, ["split: got 'testing'", "train, val, test"]),
        ({"size": 0}, ["size: got 0", "(height, width)"]),
        ({"size": 7.5}, ["size: got 7.5"]),
        ({"size": (8, 8, 3)}, ["size: got (8, 8, 3)"]),
        ({"groups": "patient"}, ["groups: got 'patient'", "a function"]),
        ({"groups": lambda file: file.name[1]}, ["path: got 2 images or groups", "at least 6"]),
    ],
)
def test_a_wrong_folder_argument_is_named_with_what_was_expected(arguments, words, folder):
    arguments = {"size": 8, **arguments, "path": folder / arguments.get("path", "")}
    with pytest.raises(ValueError, match="expected") as caught:
        load_image_folder(**arguments)
    assert all(word in str(caught.value) for word in words), caught.value


def test_a_class_without_images_is_named(folder):
    (folder / "unknown").mkdir()
    (folder / "unknown" / "notes.txt").touch()
    with pytest.raises(
        ValueError, match=r"path: got .*unknown with no image among 1 files, expected at least one image"
    ):
        load_image_folder(folder, 8)
