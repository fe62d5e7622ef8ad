"""Image sets from a folder of your own: what arrives, and what is refused."""

import numpy as np
import pytest
import torch
from PIL import Image

from gsa_utils.datasets.folder import load_image_folder
from gsa_utils.images import SPLITS


def draw(path, value, mode="L", size=(20, 20)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(path)


@pytest.fixture
def folder(tmp_path):
    """Two classes of ten grey images: 10 ... 19 in "ill", 110 ... 119 in "well"; a person has two images of a class."""
    for label, name in enumerate(("ill", "well")):
        for i in range(10):
            draw(tmp_path / name / f"p{label}{i // 2}_{i}.png", 100 * label + 10 + i)
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
    with pytest.raises(ValueError, match=r"groups: got None for .*p00_0\.png, expected a person or patient"):
        load_image_folder(folder, 8, groups=lambda file: None if file.stem == "p00_0" else file.stem)


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
    (folder / "ill" / "scan.dcm").touch()
    with pytest.warns(UserWarning, match=r"left out 1 of 21 files, no images: .*scan\.dcm"):
        assert len(load_image_folder(folder, 8)) == 14


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
