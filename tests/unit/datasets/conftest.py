"""A server on 127.0.0.1 that can misbehave, and real files where there are any: no test leaves this machine."""

import hashlib
import io
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pooch
import pytest

from gsa_utils.datasets.medmnist import published
from gsa_utils.images import SPLITS


@pytest.fixture
def real_file():
    """Path of a file in $GSA_DATA; the test is skipped where it is not there."""

    def find(name):
        folder = os.environ.get("GSA_DATA")
        if not folder or not Path(folder, name).exists():
            pytest.skip(f"{name} not found: put it in a folder as data/README.md says, and set GSA_DATA to that folder")
        return Path(folder, name)

    return find


@pytest.fixture
def tree():
    """What lies in a folder, and when each was last written."""
    return lambda folder: {p.relative_to(folder).as_posix(): p.stat().st_mtime_ns for p in folder.rglob("*")}


class Server:
    """Serves `contents[path]`: bytes, (bytes, how many are sent), or a function of the handler that answers itself.

    A list there holds one answer for each request, the last one for all that follow.
    """

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
                if callable(answer):
                    return answer(self)
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

    def publish(flag="pneumoniamnist", colour=False, answer=None):
        content, arrays = npz(colour)
        source = {"url": f"{server.url}/{flag}.npz?download=1", "md5": hashlib.md5(content).hexdigest()}
        monkeypatch.setitem(published()[flag]["files"], "28", source)
        server.contents[f"/{flag}.npz?download=1"] = content if answer is None else answer(content)
        return content, arrays

    return publish
