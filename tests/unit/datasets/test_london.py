"""London faces: made from the portraits, kept, recognised, and split by person."""

import hashlib
import io

import numpy as np
import pytest
import torch
from PIL import Image

from gsa_utils.datasets import download, london
from gsa_utils.datasets.download import DataUnavailable, fetch
from gsa_utils.datasets.load import load_image_set
from gsa_utils.images import SPLITS

TEST_PEOPLE = [10, 13, 22, 24, 33, 42, 45, 69, 103, 112, 113, 121, 135, 143, 172]


@pytest.fixture
def faces(tmp_path):
    """A folder with a London npz of noise: the true labels and people, in the true order."""
    names = list(london.originals())
    arrays = {
        "images": np.random.default_rng(0).integers(0, 256, (204, 96, 96), np.uint8),
        "labels": np.uint8([n.endswith("_08.jpg") for n in names]),
        "names": london.CLASS_NAMES,
        "subject": [n[:3] for n in names],
    }
    np.savez(tmp_path / "london_faces_96.npz", **arrays)
    return tmp_path


def test_the_checksum_list_holds_102_people_once_neutral_and_once_smiling():
    names = list(london.originals())
    assert len(names) == len(set(names)) == 204
    assert [n[:3] for n in names[:102]] == [n[:3] for n in names[102:]]
    assert {n[3:] for n in names[:102]} == {"_03.jpg"}
    assert {n[3:] for n in names[102:]} == {"_08.jpg"}
    url, checksum = london.originals()["001_03.jpg"]
    assert url.startswith("https://raw.githubusercontent.com/debruine/webmorphR.stim/fa8b78fda2d659bb")
    assert url.endswith("/inst/neutral_front/001_03.jpg")
    assert checksum.startswith("sha256:bccc0f25")


def test_no_person_is_in_two_splits_and_everyone_is_in_one(faces):
    sets = [load_image_set("london-faces", split, root=faces) for split in SPLITS]
    people = [set(s.groups.tolist()) for s in sets]
    assert [len(p) for p in people] == [71, 16, 15]
    assert len(set.union(*people)) == 102
    assert [s.class_counts for s in sets] == [[71, 71], [16, 16], [15, 15]]
    assert sets[0].class_names == ("neutral", "smiling")


def test_the_people_of_the_test_split_are_always_the_same(faces):
    test = load_image_set("london-faces", "test", root=faces)
    assert sorted(set(test.groups.tolist())) == TEST_PEOPLE


def test_smaller_faces_are_lanczos_resized(faces):
    whole, small = (load_image_set("london-faces", "val", size, faces) for size in (None, 48))
    assert small.images.shape == (32, 1, 48, 48)
    expected = Image.fromarray(whole.images[3, 0].numpy()).resize((48, 48), Image.Resampling.LANCZOS)
    assert np.array_equal(small.images[3, 0].numpy(), np.asarray(expected))
    assert torch.equal(small.groups, whole.groups)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("images", np.zeros((204, 90, 96), np.uint8)),
        ("images", np.zeros((204, 96, 96), np.float32)),
        ("labels", np.zeros(204, np.uint8)),
        ("subject", ["001"] * 204),
    ],
)
def test_an_npz_that_is_not_the_london_set_is_refused(key, value, faces):
    path = faces / "london_faces_96.npz"
    with np.load(path) as arrays:
        np.savez(path, **{**arrays, key: value})
    with pytest.raises(DataUnavailable, match=r"london_faces_96\.npz holds"):
        load_image_set("london-faces", root=faces)


@pytest.mark.parametrize("colour", [0, 255])
def test_faces_of_one_colour_all_over_are_refused(colour, faces):
    path = faces / "london_faces_96.npz"
    with np.load(path) as arrays:
        arrays = dict(arrays)
    arrays["images"][[3, 9]] = colour
    np.savez(path, **arrays)
    with pytest.raises(DataUnavailable, match="2 of 204 faces are one colour all over, the first that of person 4"):
        load_image_set("london-faces", root=faces)


def test_a_damaged_london_npz_is_refused_and_kept(faces):
    path = faces / "london_faces_96.npz"
    path.write_bytes(path.read_bytes()[:50_000])
    with pytest.raises(DataUnavailable, match="cannot be read"):
        load_image_set("london-faces", root=faces)
    assert path.stat().st_size == 50_000


@pytest.fixture
def portraits(server, monkeypatch):
    """Six people's portraits on the server, in place of the 102 true ones; returns file name -> content."""
    contents, sources = {}, {}
    for expression in ("03", "08"):
        for person in range(1, 7):
            image = Image.new("RGB", (1350, 1350), (40 * person, 200, int(expression)))
            image.paste((255, 255, 255), (394, 402, 394 + 280, 402 + 280))  # the crop's top left quarter
            buffer = io.BytesIO()
            image.save(buffer, "JPEG", quality=95)
            name = f"{person:03d}_{expression}.jpg"
            contents[name] = server.contents[f"/{name}"] = buffer.getvalue()
            sources[name] = f"{server.url}/{name}", f"sha256:{hashlib.sha256(buffer.getvalue()).hexdigest()}"
    monkeypatch.setattr(london, "originals", lambda: sources)
    return contents


def test_faces_are_made_from_downloaded_portraits_and_kept(portraits, server, tmp_path):
    train = load_image_set("london-faces", root=tmp_path)
    assert sorted(server.asked) == sorted(f"/{name}" for name in portraits)
    assert train.images.shape == (8, 1, 96, 96)
    face = train.images[0, 0].int()
    assert face[:46, :46].min() > 250
    assert face[50:, :].max() < 200
    for name in portraits:  # the npz alone is enough from now on
        (tmp_path / "london_raw" / name).unlink()
    assert torch.equal(load_image_set("london-faces", root=tmp_path).images, train.images)
    assert len(server.asked) == 12


def test_an_interrupted_london_download_goes_on_where_it_stopped(portraits, server, tmp_path):
    del server.contents["/006_08.jpg"]
    with pytest.raises(DataUnavailable, match=r"006_08\.jpg is not in .*london_raw"):
        load_image_set("london-faces", root=tmp_path)
    assert not (tmp_path / "london_faces_96.npz").exists()
    server.asked.clear()
    server.contents["/006_08.jpg"] = portraits["006_08.jpg"]
    load_image_set("london-faces", root=tmp_path)
    assert server.asked == ["/006_08.jpg"]


def test_a_damaged_portrait_is_refused_and_kept(portraits, server, tmp_path):
    path = tmp_path / "london_raw" / "002_03.jpg"
    path.parent.mkdir()
    path.write_bytes(b"not that jpg")
    with pytest.raises(DataUnavailable, match=r"002_03\.jpg has sha256 .*, expected"):
        load_image_set("london-faces", root=tmp_path)
    assert path.read_bytes() == b"not that jpg"
    assert not server.asked


def test_portraits_in_a_read_only_folder_give_the_faces_without_the_npz(portraits, tmp_path, monkeypatch, tree):
    raw = tmp_path / "london_raw"
    raw.mkdir()
    for name, content in portraits.items():
        (raw / name).write_bytes(content)
    before = tree(tmp_path)

    def refuse(*args, **kwargs):
        raise PermissionError("read-only")

    monkeypatch.setattr(download.tempfile, "TemporaryDirectory", refuse)
    assert len(load_image_set("london-faces", "train", root=tmp_path)) == 8
    assert tree(tmp_path) == before


def test_the_crop_of_the_real_portraits_equals_the_ready_faces(real_file):
    raw, ready = real_file("london_raw/001_03.jpg").parent, real_file("london_faces_96.npz")
    originals = list(london.originals())
    with np.load(ready) as arrays:
        images = arrays["images"].astype(int)
    for photo in sorted(raw.glob("*.jpg")):
        url, checksum = london.originals()[photo.name]
        assert fetch(raw, {photo.name: (url, checksum)}) == [photo]  # the true file
        difference = np.abs(london.crop_face(photo) - images[originals.index(photo.name)])
        assert difference.max() <= 2  # JPEG decoders may round differently; 0 with the decoder that made the npz
