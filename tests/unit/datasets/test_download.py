"""What a bad network or a bad file does. Downloads come from a server on 127.0.0.1: no test leaves this machine."""

import hashlib
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pooch
import pytest
from filelock import FileLock

from gsa_utils.datasets import download
from gsa_utils.datasets.download import DataUnavailable, data_root, fetch
from gsa_utils.datasets.load import load_image_set
from gsa_utils.datasets.medmnist import published
from gsa_utils.images import SPLITS


def test_files_are_looked_for_in_the_argument_then_gsa_data_then_the_checkout_then_here(tmp_path, monkeypatch):
    monkeypatch.setenv("GSA_DATA", str(tmp_path / "set"))
    assert data_root(tmp_path / "given") == tmp_path / "given"
    assert data_root() == tmp_path / "set"
    monkeypatch.setenv("GSA_DATA", "")
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    (checkout / "pyproject.toml").touch()
    monkeypatch.setattr(download, "__file__", str(checkout / "gsa_utils" / "datasets" / "download.py"))
    assert data_root() == checkout / "data" / "cache"
    (checkout / "pyproject.toml").unlink()
    monkeypatch.chdir(tmp_path)
    assert data_root() == tmp_path / "data" / "cache"


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


def status(code, *headers, body=b""):
    """An answer with this status."""

    def answer(handler):
        handler.send_response(code)
        for name, value in headers:
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def html(handler):
    status(200, ("Content-Type", "text/html"), body=b"<html>Please log in to this network.</html>")(handler)


def not_http(handler):
    handler.wfile.write(b"\x00\x01\x02 this is no answer\r\n\r\n")
    handler.close_connection = True


def closed(handler):
    handler.close_connection = True  # without a word


def zipped(handler):
    status(200, ("Content-Encoding", "gzip"), body=b"this is not gzip")(handler)


def stalled(handler):
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b"x" * 10)
    time.sleep(1)


BAD_ANSWERS = {
    "a wrong checksum": lambda good: good[:-1] + b"x",
    "cut short": lambda good: (good, len(good) // 2),
    "nothing at all": lambda good: b"",
    "more than there is": lambda good: good + b"!",
    "status 404": lambda good: status(404, body=b"gone"),
    "status 403": lambda good: status(403),
    "status 429": lambda good: status(429, ("Retry-After", "3600")),
    "status 500": lambda good: status(500, body=good),
    "status 503": lambda good: status(503, ("Retry-After", "3600")),
    "a redirect to itself": lambda good: status(302, ("Location", "/pneumoniamnist.npz?download=1")),
    "a redirect to nobody": lambda good: status(301, ("Location", "http://127.0.0.1:9/")),
    "a page of a captive portal": lambda good: html,
    "what is no HTTP": lambda good: not_http,
    "a closed connection": lambda good: closed,
    "broken compression": lambda good: zipped,
    "a stall": lambda good: stalled,
}


@pytest.mark.parametrize("answer", BAD_ANSWERS)
def test_a_bad_download_is_refused_and_leaves_nothing_behind(
    answer, publish, server, tmp_path, waits, tree, monkeypatch
):
    monkeypatch.setattr(download, "PATIENCE", (0.3, 0.3))
    publish(answer=BAD_ANSWERS[answer])
    with pytest.raises(DataUnavailable, match="could not be downloaded from"):
        load_image_set("pneumoniamnist", root=tmp_path)
    assert len(server.asked) >= 3
    assert sum(waits) <= 5
    assert set(tree(tmp_path)) <= {".download.lock"}


def test_a_server_that_stalls_is_given_up_within_half_a_minute():
    attempts, pauses = 3, 1 + 2
    assert attempts * max(download.PATIENCE) + pauses < 30


@pytest.mark.parametrize(("size", "name", "algorithm"), [(28, "", "sha256"), (64, "_64", "md5")])
def test_a_file_whose_sha256_is_known_is_not_trusted_by_its_md5(size, name, algorithm, tmp_path):
    (tmp_path / f"breastmnist{name}.npz").write_bytes(b"something else")
    expected = published()["breastmnist"]["files"][str(size)][algorithm]
    with pytest.raises(DataUnavailable, match=f"has {algorithm} .* expected {expected}"):
        load_image_set("breastmnist", size=size, root=tmp_path)


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
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    source = published()["breastmnist"]["files"]["64"]
    monkeypatch.setitem(source, "url", "http://127.0.0.1:9/breastmnist_64.npz")  # nobody listens
    with pytest.raises(DataUnavailable) as caught:
        load_image_set("breastmnist", size=64, root=tmp_path)
    for word in (
        "breastmnist_64.npz",
        "http://127.0.0.1:9/",
        source["md5"],
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
    code = "from gsa_utils.datasets.download import *; print(1, flush=True); input(); "
    code += f"fetch(Path({str(tmp_path)!r}), {files})"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.read(1) == b"1"  # it has done its slow imports; now both start together
        other.stdin.write(b"\n")
        other.stdin.close()
        fetch(tmp_path, files)
        assert other.wait(timeout=60) == 0
    assert (tmp_path / "a.bin").read_bytes() == content
    assert server.asked == ["/a.bin"]


def test_a_good_file_is_used_without_writing_or_asking(publish, server, tmp_path, tree):
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


def test_a_damaged_file_is_never_used_replaced_or_deleted(publish, server, tmp_path, tree):
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
