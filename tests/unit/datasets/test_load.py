"""Image sets by name and from a folder: what arrives, what is refused, and what a bad network or a bad file does.

No test leaves this machine: downloads come from a server on 127.0.0.1. Tests that need real files look in $GSA_DATA.
"""

import hashlib
import io
import os
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pooch
import pytest
import torch
from filelock import FileLock
from PIL import Image

from gsa_utils.datasets import load, london
from gsa_utils.datasets.folder import load_image_folder
from gsa_utils.datasets.load import DataUnavailable, data_root, fetch, load_image_set
from gsa_utils.datasets.phantoms import load_phantom

SPLITS = ("train", "val", "test")
TEST_PEOPLE = [10, 13, 22, 24, 33, 42, 45, 69, 103, 112, 113, 121, 135, 143, 172]


def real_file(name):
    folder = os.environ.get("GSA_DATA")
    if not folder or not Path(folder, name).exists():
        pytest.skip(f"{name} not found: put it in a folder as data/README.md says, and set GSA_DATA to that folder")
    return Path(folder, name)


def tree(folder):
    return {p.relative_to(folder).as_posix(): p.stat().st_mtime_ns for p in folder.rglob("*")}


# ---------------------------------------------------------------- a server that can misbehave


class Server:
    """Serves `contents[path]`; a list there holds one answer for each request, the last one for all that follow."""

    def __init__(self):
        self.contents, self.asked = {}, []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.asked.append(self.path)
                answer = outer.contents.get(self.path)
                if isinstance(answer, list):
                    answer = answer.pop(0) if len(answer) > 1 else answer[0]
                if answer is None:
                    return self.send_error(404)
                body, sent = answer if isinstance(answer, tuple) else (answer, len(answer))
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[:sent])  # fewer than announced: the connection breaks off

            def log_message(self, *args):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture(autouse=True)
def waits(monkeypatch):
    """The seconds pooch would have slept between attempts."""
    waits = []
    monkeypatch.setattr(pooch.core, "time", SimpleNamespace(sleep=waits.append))
    return waits


def npz(colour=False):
    rng = np.random.default_rng(0)
    arrays = {}
    for split, count in zip(SPLITS, (6, 3, 4), strict=True):
        arrays[f"{split}_images"] = rng.integers(0, 256, (count, 28, 28, 3)[: 4 if colour else 3], np.uint8)
        arrays[f"{split}_labels"] = (np.arange(count) % 2).astype(np.uint8)[:, None]
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue(), arrays


@pytest.fixture
def publish(server, monkeypatch):
    """Makes the server the place where MedMNIST publishes a small file under a flag."""
    from medmnist import INFO

    def publish(flag="pneumoniamnist", colour=False, answer=None):
        content, arrays = npz(colour)
        monkeypatch.setitem(INFO[flag], "url", f"{server.url}/{flag}.npz?download=1")
        monkeypatch.setitem(INFO[flag], "MD5", hashlib.md5(content).hexdigest())
        server.contents[f"/{flag}.npz?download=1"] = content if answer is None else answer(content)
        return content, arrays

    return publish


# ---------------------------------------------------------------- names, splits, sizes, folders


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": "pneumonia-mnist"}, ["name: got", "did you mean 'pneumoniamnist'", "london-faces", "phantom-chest"]),
        ({"name": "phantom-heart"}, ["name: got", "phantom-chest"]),
        ({"name": None}, ["name: got", "breastmnist"]),
        ({"name": "chestmnist"}, ["name: got", "multi-label", "pneumoniamnist"]),
        ({"name": "nodulemnist3d"}, ["name: got", "3D", "2D"]),
        ({"name": "breastmnist", "split": "tset"}, ["split: got", "did you mean 'test'"]),
        ({"name": "breastmnist", "size": 32}, ["size: got 32", "28, 64, 128, 224"]),
        ({"name": "breastmnist", "size": [28, 28]}, ["size: got [28, 28]"]),
        ({"name": "london-faces", "size": 97}, ["size: got 97", "1 to 96"]),
        ({"name": "london-faces", "size": 0}, ["size: got 0"]),
    ],
)
def test_a_wrong_argument_is_named_with_what_was_expected(arguments, words, tmp_path):
    with pytest.raises(ValueError, match="expected") as caught:
        load_image_set(**arguments, root=tmp_path)
    assert all(word in str(caught.value) for word in words), caught.value
    assert not tree(tmp_path)


def test_a_phantom_is_the_generated_set_and_needs_no_folder(tmp_path):
    generated, loaded = load_phantom("phantom-chest", "val", 16), load_image_set("phantom-chest", "val", 16, tmp_path)
    assert torch.equal(loaded.images, generated.images)
    assert torch.equal(loaded.region, generated.region)
    assert not tree(tmp_path)


def test_files_are_looked_for_in_the_argument_then_gsa_data_then_the_checkout_then_here(tmp_path, monkeypatch):
    monkeypatch.setenv("GSA_DATA", str(tmp_path / "set"))
    assert data_root(tmp_path / "given") == tmp_path / "given"
    assert data_root() == tmp_path / "set"
    monkeypatch.setenv("GSA_DATA", "")
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    (checkout / "pyproject.toml").touch()
    monkeypatch.setattr(load, "__file__", str(checkout / "gsa_utils" / "datasets" / "load.py"))
    assert data_root() == checkout / "data" / "cache"
    (checkout / "pyproject.toml").unlink()
    monkeypatch.chdir(tmp_path)
    assert data_root() == tmp_path / "data" / "cache"


# ---------------------------------------------------------------- downloads


def test_a_missing_set_is_downloaded_once_and_then_read_from_the_folder(publish, server, tmp_path, capfd):
    content, arrays = publish()
    first = load_image_set("pneumoniamnist", root=tmp_path / "new" / "folder")
    test = load_image_set("pneumoniamnist", "test", root=tmp_path / "new" / "folder")
    assert len(server.asked) == 1
    assert (tmp_path / "new" / "folder" / "pneumoniamnist.npz").read_bytes() == content
    assert np.array_equal(first.images[:, 0].numpy(), arrays["train_images"])
    assert np.array_equal(test.images[:, 0].numpy(), arrays["test_images"])
    assert test.labels.tolist() == [0, 1, 0, 1]
    assert test.class_names == ("normal", "pneumonia")
    assert "100%" in capfd.readouterr().err  # the progress bar


def test_a_downloaded_file_can_be_read_by_others_who_share_the_folder(publish, tmp_path):
    publish()
    load_image_set("pneumoniamnist", root=tmp_path)
    assert (tmp_path / "pneumoniamnist.npz").stat().st_mode & 0o044 == 0o044


def test_gsa_data_is_where_a_download_lands(publish, tmp_path, monkeypatch):
    publish()
    monkeypatch.setenv("GSA_DATA", str(tmp_path))
    load_image_set("pneumoniamnist")
    assert (tmp_path / "pneumoniamnist.npz").exists()


def test_colour_images_come_channels_first(publish, tmp_path):
    _, arrays = publish("retinamnist", colour=True)
    loaded = load_image_set("retinamnist", root=tmp_path)
    assert loaded.images.shape == (6, 3, 28, 28)
    assert np.array_equal(loaded.images[2, 1].numpy(), arrays["train_images"][2, :, :, 1])
    assert len(loaded.class_names) == 5


@pytest.mark.parametrize(
    "answer", [lambda good: good[:-1] + b"x", lambda good: (good, len(good) // 2)], ids=["wrong checksum", "cut short"]
)
def test_a_bad_download_is_refused_and_leaves_nothing_behind(answer, publish, server, tmp_path, waits):
    publish(answer=answer)
    with pytest.raises(DataUnavailable, match="could not be downloaded from"):
        load_image_set("pneumoniamnist", root=tmp_path)
    assert len(server.asked) == 3
    assert sum(waits) <= 5
    assert set(tree(tmp_path)) <= {".download.lock"}


def test_an_interrupted_download_is_tried_again_and_succeeds(publish, server, tmp_path):
    publish(answer=lambda good: [(good, 1000), good])
    assert len(load_image_set("pneumoniamnist", root=tmp_path)) == 6
    assert len(server.asked) == 2


def test_a_download_that_failed_succeeds_when_asked_again_later(publish, server, tmp_path):
    content, _ = publish(answer=lambda good: (good, 1000))
    with pytest.raises(DataUnavailable):
        load_image_set("pneumoniamnist", root=tmp_path)
    server.contents["/pneumoniamnist.npz?download=1"] = content
    assert len(load_image_set("pneumoniamnist", root=tmp_path)) == 6


def test_without_a_server_the_message_says_what_to_do_and_waits_are_short(tmp_path, monkeypatch, waits):
    from medmnist import INFO

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setitem(INFO["breastmnist"], "url_64", "http://127.0.0.1:9/breastmnist_64.npz")  # nobody listens
    with pytest.raises(DataUnavailable) as caught:
        load_image_set("breastmnist", size=64, root=tmp_path)
    for word in (
        "breastmnist_64.npz",
        "http://127.0.0.1:9/",
        INFO["breastmnist"]["MD5_64"],
        str(tmp_path),
        "GSA_DATA",
        "phantom-chest",
    ):
        assert word in str(caught.value)
    assert sum(waits) <= 5


def test_a_folder_that_cannot_be_written_to_is_reported_with_what_to_do(publish, tmp_path):
    publish()
    (tmp_path / "file").touch()
    with pytest.raises(DataUnavailable, match="set GSA_DATA to a folder that holds it or can be written to"):
        load_image_set("pneumoniamnist", root=tmp_path / "file" / "below")


def test_threads_that_ask_at_once_download_once(publish, server, tmp_path):
    publish()
    start, sizes = threading.Barrier(4), []

    def ask():
        start.wait()
        sizes.append(len(load_image_set("pneumoniamnist", root=tmp_path)))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert sizes == [6] * 4
    assert len(server.asked) == 1


def test_processes_that_ask_at_once_download_once(server, tmp_path):
    content = os.urandom(10_000)
    server.contents["/a.bin"] = content
    files = {"a.bin": (f"{server.url}/a.bin", f"sha256:{hashlib.sha256(content).hexdigest()}")}
    code = (
        f"from gsa_utils.datasets.load import *; print(1, flush=True); input(); fetch(Path({str(tmp_path)!r}), {files})"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.read(1) == b"1"  # it has done its slow imports; now both start together
        other.stdin.write(b"\n")
        other.stdin.close()
        fetch(tmp_path, files)
        assert other.wait(timeout=60) == 0
    assert (tmp_path / "a.bin").read_bytes() == content
    assert server.asked == ["/a.bin"]


# ---------------------------------------------------------------- files that are already there


def test_a_good_file_is_used_without_writing_or_asking(publish, server, tmp_path):
    content, _ = publish()
    (tmp_path / "pneumoniamnist.npz").write_bytes(content)
    before = tree(tmp_path)
    tmp_path.chmod(0o555)
    try:
        assert len(load_image_set("pneumoniamnist", "val", root=tmp_path)) == 3
    finally:
        tmp_path.chmod(0o755)
    assert tree(tmp_path) == before
    assert not server.asked


def test_a_damaged_file_is_never_used_replaced_or_deleted(publish, server, tmp_path):
    content, _ = publish()
    path = tmp_path / "pneumoniamnist.npz"
    path.write_bytes(content + b"!")
    before = tree(tmp_path)
    with pytest.raises(DataUnavailable) as caught:
        load_image_set("pneumoniamnist", root=tmp_path)
    for checksum in (hashlib.md5(content).hexdigest(), hashlib.md5(content + b"!").hexdigest()):
        assert checksum in str(caught.value)
    assert str(path) in str(caught.value)
    assert tree(tmp_path) == before
    assert not server.asked


def test_a_wrong_file_that_appears_while_waiting_for_another_download_is_kept(publish, tmp_path):
    publish()
    errors = []

    def ask():
        with pytest.raises(DataUnavailable) as caught:
            load_image_set("pneumoniamnist", root=tmp_path)
        errors.append(str(caught.value))

    thread = threading.Thread(target=ask)
    with FileLock(tmp_path / ".download.lock"):
        thread.start()
        time.sleep(0.2)
        (tmp_path / "pneumoniamnist.npz").write_bytes(b"something else")
    thread.join(timeout=30)
    assert "pneumoniamnist.npz has md5" in errors[0]
    assert (tmp_path / "pneumoniamnist.npz").read_bytes() == b"something else"


def test_a_file_is_hashed_once_and_again_after_it_changed(publish, tmp_path, monkeypatch):
    content, _ = publish()
    path = tmp_path / "pneumoniamnist.npz"
    path.write_bytes(content)
    hashed, file_hash = [], pooch.file_hash
    monkeypatch.setattr(pooch, "file_hash", lambda *args, **kwargs: hashed.append(args) or file_hash(*args, **kwargs))
    for split in SPLITS:
        load_image_set("pneumoniamnist", split, root=tmp_path)
    assert len(hashed) == 1
    path.write_bytes(content + b"!")
    os.utime(path, ns=(0, 0))
    with pytest.raises(DataUnavailable):
        load_image_set("pneumoniamnist", root=tmp_path)


def test_pickled_objects_are_not_loaded(server, tmp_path, monkeypatch):
    from medmnist import INFO

    path = tmp_path / "breastmnist.npz"
    np.savez(path, train_images=np.array([{}], dtype=object), train_labels=np.zeros((1, 1), np.uint8))
    monkeypatch.setitem(INFO["breastmnist"], "MD5", hashlib.md5(path.read_bytes()).hexdigest())
    with pytest.raises(ValueError, match="allow_pickle"):
        load_image_set("breastmnist", root=tmp_path)


@pytest.mark.parametrize(("flag", "counts"), [("pneumoniamnist", (4708, 524, 624)), ("breastmnist", (546, 78, 156))])
def test_the_official_files_pass_their_checksum_and_give_the_official_splits(flag, counts):
    folder = real_file(f"{flag}.npz").parent
    before = tree(folder)
    sets = [load_image_set(flag, split) for split in SPLITS]
    assert tuple(map(len, sets)) == counts
    assert all(s.images.shape[1:] == (1, 28, 28) and s.groups is None and s.name == flag for s in sets)
    assert tree(folder) == before


# ---------------------------------------------------------------- London faces


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


def test_portraits_in_a_read_only_folder_give_the_faces_without_the_npz(portraits, tmp_path, monkeypatch):
    raw = tmp_path / "london_raw"
    raw.mkdir()
    for name, content in portraits.items():
        (raw / name).write_bytes(content)
    before = tree(tmp_path)

    def refuse(*args, **kwargs):
        raise PermissionError("read-only")

    monkeypatch.setattr(london.tempfile, "TemporaryDirectory", refuse)
    assert len(load_image_set("london-faces", "train", root=tmp_path)) == 8
    assert tree(tmp_path) == before


def test_the_crop_of_the_real_portraits_equals_the_ready_faces():
    raw, ready = real_file("london_raw/001_03.jpg").parent, real_file("london_faces_96.npz")
    originals = list(london.originals())
    with np.load(ready) as arrays:
        images = arrays["images"].astype(int)
    for photo in sorted(raw.glob("*.jpg")):
        url, checksum = london.originals()[photo.name]
        assert fetch(raw, {photo.name: (url, checksum)}) == [photo]  # the true file
        difference = np.abs(london.crop_face(photo) - images[originals.index(photo.name)])
        assert difference.max() <= 2  # JPEG decoders may round differently; 0 with the decoder that made the npz


# ---------------------------------------------------------------- your own folder


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
