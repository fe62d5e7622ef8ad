"""Chest X-rays: found in each form that they come in, kept, and divided by person."""

import csv
import hashlib
import io
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from gsa_utils.datasets import chest
from gsa_utils.datasets.download import DataUnavailable
from gsa_utils.datasets.load import load_image_set
from gsa_utils.images import SPLITS

pytestmark = pytest.mark.filterwarnings("ignore:.* images are there")  # a few, in place of thousands

BOTH = ("kermany-chest", "nih-chest")


def encoded(grey, kind, mode="L", size=(48, 32)):
    buffer = io.BytesIO()
    Image.new("L", size, grey).convert(mode).save(buffer, kind)
    return buffer.getvalue()


def kermany_files():
    """30 images of each class in three folders, 20 children a class; image i is filled with the grey level 4 i."""
    names = [f"train/NORMAL/IM-{n:04d}-0001.jpeg" for n in range(1, 16)]
    names += [f"train/NORMAL/NORMAL2-IM-{n:04d}-0001.jpeg" for n in range(8, 18)]
    names += [f"val/NORMAL/NORMAL2-IM-{n:04d}-0001-0002.jpeg" for n in range(16, 21)]
    names += [f"train/PNEUMONIA/person{n}_bacteria_{100 + n}.jpeg" for n in range(1, 16)]
    names += [f"test/PNEUMONIA/person{n}_virus_{200 + n}.jpeg" for n in range(8, 18)]
    names += [f"val/PNEUMONIA/person{n}_virus_{300 + n}_1.jpeg" for n in range(16, 21)]
    return {f"chest_xray/{name}": encoded(4 * i, "JPEG") for i, name in enumerate(names)}


def nih_files():
    """Two images of each of 30 patients, one without a finding and one with, in the folders of the small copy."""
    folders = ("train", "valid", "test")
    visits = [(n, visit, name) for n in range(1, 31) for visit, name in enumerate(("0_normal", "1_abnormal"))]
    names = [f"{folders[n % 3]}/{name}/{n:08d}_{visit:03d}.png" for n, visit, name in visits]
    return {name: encoded(4 * i, "PNG", "RGBA" if i % 7 == 0 else "RGB", (64, 64)) for i, name in enumerate(names)}


def unpack(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


@pytest.fixture
def pack(monkeypatch):
    """Writes files into a zip, and makes it the one that is expected."""

    def pack(name, path, files):
        with zipfile.ZipFile(path, "w") as archive:
            for file, content in files.items():
                archive.writestr(file, content)
        checksum = f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
        known = chest.COLLECTIONS[name]
        sources = tuple(replace(s, checksum=checksum) if s.checksum else s for s in known.sources)
        monkeypatch.setitem(chest.COLLECTIONS, name, replace(known, sources=sources))

    return pack


@pytest.fixture(params=BOTH)
def zipped(request, pack, tmp_path):
    """Name of a set whose ready copy is in tmp_path, with 60 images in it."""
    files, name = {
        "kermany-chest": (kermany_files, "kermany_chest_224.zip"),
        "nih-chest": (nih_files, "nih_chest_64.zip"),
    }[request.param]
    pack(request.param, tmp_path / name, files())
    return request.param


def load(name, root, size=8):
    return [load_image_set(name, split, size, root) for split in SPLITS]


def by_number(sets):
    """Number of an image, told by its grey level -> (label, group)."""
    found = {}
    for s in sets:
        numbers = (s.images[:, 0, 4, 4].float() / 4).round().int().tolist()
        found |= dict(zip(numbers, zip(s.labels.tolist(), s.groups.tolist(), strict=True), strict=True))
    return found


@pytest.fixture
def never_read(monkeypatch):
    """From its call on no image file may be decoded."""

    def refuse(*args):
        raise AssertionError("decoded again")

    return lambda: monkeypatch.setattr(chest, "_pixels", refuse)


# ---------------------------------------------------------------- what comes out


def test_nobody_is_in_two_splits_and_every_image_is_in_one(zipped, tmp_path):
    sets = load(zipped, tmp_path)
    assert sorted(by_number(sets)) == list(range(60))
    people = [set(s.groups.tolist()) for s in sets]
    assert sum(map(len, people)) == len(set.union(*people))
    assert len(sets[0]) > 30
    assert all(s.images.shape[1:] == (1, 8, 8) and s.name == zipped for s in sets)


def test_images_are_64_pixels_unless_told(zipped, tmp_path):
    assert load_image_set(zipped, root=tmp_path).images.shape[1:] == (1, 64, 64)


def test_all_of_kermanys_folders_are_pooled_and_what_systems_leave_behind_is_passed_over(tmp_path):
    unpack(tmp_path, kermany_files())
    strays = ["train/NORMAL/.DS_Store", "train/NORMAL/._IM-0001-0001.jpeg", ".DS_Store", "test/PNEUMONIA/Thumbs.db"]
    twice = ["__MACOSX/chest_xray/train/NORMAL/._IM-0001-0001.jpeg", "chest_xray/train/NORMAL/IM-0099-0001.jpeg"]
    unpack(tmp_path / "chest_xray", dict.fromkeys(strays + twice, b"no image"))
    sets = load("kermany-chest", tmp_path)
    labels = [label for _, (label, _) in sorted(by_number(sets).items())]
    assert labels == [0] * 30 + [1] * 30
    assert sets[0].class_names == ("normal", "pneumonia")


def test_a_number_is_one_child_but_another_one_in_the_other_class(tmp_path):
    unpack(tmp_path, kermany_files())
    group = {number: group for number, (_, group) in by_number(load("kermany-chest", tmp_path)).items()}
    assert group[7] == group[15]  # IM-0008, NORMAL2-IM-0008
    assert group[37] == group[45]  # person8_bacteria in train, person8_virus in test
    assert group[7] != group[37]  # IM-0008, person8
    assert len(set(group.values())) == 20 + 20


def test_the_zip_and_the_folder_give_the_same_sets(pack, tmp_path):
    folder, ready = tmp_path / "folder", tmp_path / "ready"
    ready.mkdir()
    unpack(folder, kermany_files())
    pack("kermany-chest", ready / "kermany_chest_224.zip", kermany_files())
    for one, other in zip(load("kermany-chest", folder), load("kermany-chest", ready), strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.labels, other.labels)
        assert torch.equal(one.groups, other.groups)


def test_copies_are_left_out_and_two_who_share_one_are_the_same_person(tmp_path):
    files = kermany_files()
    of_1 = files["chest_xray/train/PNEUMONIA/person1_bacteria_101.jpeg"]
    unpack(tmp_path, files | {"chest_xray/train/PNEUMONIA/person17_bacteria_900.jpeg": of_1})
    sets = load("kermany-chest", tmp_path)
    assert sum(map(len, sets)) == 60
    group = {number: group for number, (_, group) in by_number(sets).items()}
    assert group[30] == group[54]  # person1, and person17 by another file
    assert len(set(group.values())) == 20 + 19


@pytest.mark.parametrize(("mode", "kind"), [("L", "PNG"), ("RGBA", "PNG"), ("L", "JPEG"), ("RGB", "JPEG")])
def test_a_picture_is_squashed_and_resized_as_if_decoded_whole(mode, kind):
    noise = np.random.default_rng(0).integers(0, 60, (300, 400))
    photo = Image.fromarray((noise + np.linspace(0, 190, 400)).astype(np.uint8)).convert(mode)
    buffer = io.BytesIO()
    photo.save(buffer, kind)
    whole = Image.open(io.BytesIO(buffer.getvalue())).convert("L").resize((24, 24), Image.Resampling.LANCZOS)
    difference = chest._pixels(buffer.getvalue(), 24).astype(int) - np.asarray(whole)
    assert np.abs(difference).max() <= (2 if kind == "JPEG" else 0)  # a JPEG is decoded at half its size


# ---------------------------------------------------------------- the NIH's set as published


@pytest.fixture(params=["", "ChestX-ray14"])
def published(request, tmp_path):
    """The NIH's table and folders in tmp_path or below: 40 images of 20 patients, two more listed, one not listed."""
    folder = tmp_path / request.param
    rows, files = [], {}
    for i in range(42):
        name = f"{1 + i // 2:08d}_{i % 2:03d}.png"
        finding = ("No Finding", "Hernia", "Effusion|Infiltration")[i % 3]
        rows.append({"Image Index": name, "Finding Labels": finding, "Follow-up #": i % 2, "Patient ID": 1 + i // 2})
        place = ("images_001/images", "images_002/images", "images")[i % 3]
        files[f"{place}/{name}"] = encoded(4 * i, "PNG", "RGBA" if i % 5 == 0 else "L", (96, 96))
    for name in list(files)[40:]:
        del files[name]
    unpack(folder, files | {"images_001/images/00000099_000.png": encoded(200, "PNG"), "images_001/.DS_Store": b""})
    with (folder / "Data_Entry_2017_v2020.csv").open("w", newline="", encoding="utf-8-sig") as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows(rows)
    return folder


@pytest.mark.filterwarnings("default")
def test_the_published_table_says_who_and_whether_anything_was_found(published, tmp_path):
    with pytest.warns(UserWarning, match="40 of 112120 images are there"):
        sets = load("nih-chest", tmp_path, size=80)
    assert all(s.images.shape[1:] == (1, 80, 80) and s.class_names == ("no finding", "finding") for s in sets)
    expected = {i: (int(i % 3 > 0), 1 + i // 2) for i in range(40)}
    for s in sets:
        numbers = (s.images[:, 0, 40, 40].float() / 4).round().int().tolist()
        assert {n: expected.pop(n) for n in numbers} == dict(
            zip(numbers, zip(s.labels.tolist(), s.groups.tolist(), strict=True), strict=True)
        )
    assert not expected


@pytest.mark.usefixtures("published")
def test_no_image_is_made_larger_than_the_originals(tmp_path):
    with pytest.raises(ValueError, match="size: got 1025, expected a whole number of pixels from 1 to 1024"):
        load_image_set("nih-chest", size=1025, root=tmp_path)


def test_a_table_of_something_else_is_refused(published, tmp_path):
    (published / "Data_Entry_2017_v2020.csv").write_text("Image,Finding Labels\n")
    with pytest.raises(DataUnavailable, match="has no column Image Index, Patient ID"):
        load_image_set("nih-chest", root=tmp_path)


@pytest.mark.parametrize(
    "table",
    [
        b"Image Index,Finding Labels,Patient ID\na.png,No Finding,one\n",
        b"Image Index,Finding Labels,Patient ID\na.png,No Finding\n",
        b"Image Index,Finding Labels,Patient ID\na.png,Ed\xe8me,1\n",
    ],
)
def test_a_damaged_table_is_named(published, tmp_path, table):
    (published / "Data_Entry_2017_v2020.csv").write_bytes(table)
    with pytest.raises(DataUnavailable, match=r"Data_Entry_2017_v2020\.csv cannot be read \("):
        load_image_set("nih-chest", root=tmp_path)


@pytest.mark.parametrize("place", ["nih_chest_64.zip", "NIH1000"])
def test_the_small_copy_gives_no_more_than_64_pixels(pack, tmp_path, place):
    if place == "NIH1000":
        unpack(tmp_path / place, nih_files())
    else:
        pack("nih-chest", tmp_path / place, nih_files())
    assert len(load_image_set("nih-chest", size=64, root=tmp_path)) == 42
    with pytest.raises(ValueError, match=f"size: got 65, expected at most 64.*{place}.*nihcc.app.box.com"):
        load_image_set("nih-chest", size=65, root=tmp_path)


# ---------------------------------------------------------------- kept


def test_what_was_read_is_kept_and_enough_without_its_source(zipped, tmp_path, never_read):
    first = load(zipped, tmp_path)
    never_read()
    (source,) = tmp_path.glob("*.zip")
    for step in ("with the source", "without it"):
        for one, other in zip(first, load(zipped, tmp_path), strict=True):
            assert torch.equal(one.images, other.images), step
            assert torch.equal(one.labels, other.labels), step
            assert torch.equal(one.groups, other.groups), step
        source.unlink(missing_ok=True)


def test_what_was_made_from_other_files_or_at_another_size_is_refused_and_kept(tmp_path):
    files = kermany_files()
    unpack(tmp_path, files)
    load_image_set("kermany-chest", size=8, root=tmp_path)
    made = tmp_path / "kermany_chest_8.npz"
    content = made.read_bytes()
    (tmp_path / "kermany_chest_9.npz").write_bytes(content)
    with pytest.raises(DataUnavailable, match=r"kermany_chest_9.npz holds images \(60, 8, 8\).*Move it away"):
        load_image_set("kermany-chest", size=9, root=tmp_path)
    (tmp_path / "chest_xray/train/NORMAL/IM-0001-0001.jpeg").write_bytes(encoded(7, "JPEG", size=(500, 500)))
    with pytest.raises(DataUnavailable, match="kermany_chest_8.npz holds .* Move it away"):
        load_image_set("kermany-chest", size=8, root=tmp_path)
    assert made.read_bytes() == content


def test_a_damaged_npz_is_refused_and_kept(zipped, tmp_path):
    load(zipped, tmp_path)
    (made,) = tmp_path.glob("*.npz")
    made.write_bytes(made.read_bytes()[:500])
    with pytest.raises(DataUnavailable, match="cannot be read.*Move it away to have it made again"):
        load(zipped, tmp_path)
    assert made.stat().st_size == 500


def test_a_read_only_folder_is_read_once_for_three_splits_and_never_written_to(zipped, tmp_path, tree, monkeypatch):
    decoded, pixels = [], chest._pixels
    monkeypatch.setattr(chest, "_pixels", lambda *args: decoded.append(args) or pixels(*args))
    before = tree(tmp_path)
    tmp_path.chmod(0o555)  # root, too, keeps to it
    try:
        assert sorted(by_number(load(zipped, tmp_path))) == list(range(60))
    finally:
        tmp_path.chmod(0o755)
    assert tree(tmp_path) == before
    assert len(decoded) == 60


# ---------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("kermany-chest", ["chest_xray", "kermany_chest_224.zip", "https://doi.org/10.17632/rscbjbr9sj"]),
        ("nih-chest", ["Data_Entry_2017", "nih_chest_64.zip", "https://nihcc.app.box.com/v/ChestXray-NIHCC"]),
    ],
)
def test_a_set_that_is_not_there_says_what_to_put_where(name, words, tmp_path, tree):
    for root in (tmp_path, tmp_path / "none"):
        with pytest.raises(DataUnavailable) as caught:
            load_image_set(name, root=root)
        assert all(word in str(caught.value) for word in [*words, str(root), "GSA_DATA", "phantom-chest"])
    assert not tree(tmp_path)


@pytest.mark.parametrize("name", ["kermany_chest_224.zip", "nih_chest_64.zip"])
def test_another_file_under_the_name_of_a_ready_copy_is_refused_and_kept(name, tmp_path):
    (tmp_path / name).write_bytes(b"not that zip")
    with pytest.raises(DataUnavailable, match=f"{name} has sha256 .*, expected .*Move it away"):
        load_image_set("kermany-chest" if "kermany" in name else "nih-chest", root=tmp_path)
    assert (tmp_path / name).read_bytes() == b"not that zip"


@pytest.mark.parametrize(("name", "folder"), [("kermany-chest", "chest_xray"), ("nih-chest", "NIH1000")])
def test_a_folder_of_other_images_is_refused(name, folder, tmp_path):
    unpack(tmp_path / folder, {"train/cats/cat1.jpeg": encoded(3, "JPEG")})
    with pytest.raises(DataUnavailable, match=f"{folder}: none of its images are there"):
        load_image_set(name, root=tmp_path)


def test_a_damaged_image_is_named(tmp_path):
    files = kermany_files()
    spoilt = "chest_xray/train/NORMAL/IM-0003-0001.jpeg"
    unpack(tmp_path, files | {spoilt: files[spoilt][:200]})
    with pytest.raises(DataUnavailable, match=f"{spoilt} cannot be read .*doi.org/10.17632/rscbjbr9sj"):
        load_image_set("kermany-chest", root=tmp_path)
    assert not list(tmp_path.glob("*.npz"))


# ---------------------------------------------------------------- the ready copies


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("name", "file", "classes", "people"),
    [
        ("kermany-chest", "kermany_chest_224.zip", (1571, 4237), 2774),
        ("nih-chest", "nih_chest_64.zip", (500, 500), 264),
    ],
)
def test_the_ready_copies_hold_what_data_readme_says(name, file, classes, people, real_file, tmp_path):
    """Takes 5 s for Kermany's, whose 5,840 JPEGs are decoded, once, and small."""
    (tmp_path / file).symlink_to(real_file(file))
    sets = load(name, tmp_path, size=16)
    assert tuple(map(sum, zip(*(s.class_counts for s in sets), strict=True))) == classes
    groups = [set(s.groups.tolist()) for s in sets]
    assert sum(map(len, groups)) == len(set.union(*groups)) == people
    shares = [s.class_counts[1] / len(s) for s in sets]
    assert max(shares) - min(shares) < 0.06
