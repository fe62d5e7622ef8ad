"""Front ends for the tests: a Jupyter server on loopback, and a page of headless Chromium that watches what it does."""

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from gsa_utils.widgets.panel import PICTURE

SHOTS = Path(os.environ.get("GSA_SCREENSHOTS", Path(__file__).parents[2] / "build" / "screenshots"))
LOOPBACK = "127.0.0.1"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
CHROMIUM_FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
]
APPS = {
    "lab": ("jupyterlab", "LabApp", "/lab/tree/"),
    "notebook": ("notebook", "JupyterNotebookApp", "/notebooks/"),
    "voila": ("voila", "Voila", "/"),
}
# The last cell of a notebook that is run here: its marker says that all cells before it have ended.
END = "import ipywidgets\n\nend = ipywidgets.HTML('end')\nend.add_class('gsa-end')\nend"
SETTINGS = {  # of the front end: no question about news over the panel
    "@jupyterlab/apputils-extension/notification.jupyterlab-settings": {"fetchNews": "false", "checkForUpdates": False},
}
QUIET_LAB = [
    "--LabApp.news_url=None",
    "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    "--LabApp.extension_manager=readonly",
]


@contextlib.contextmanager
def serve(app: str, notebook: Path, folder: Path) -> Iterator[str]:
    """Address of the notebook in "lab", "notebook" or "voila"; its settings go to `folder`, kernels end with it."""
    with socket.socket() as free:
        free.bind((LOOPBACK, 0))
        port = free.getsockname()[1]
    module, name, path = APPS[app]
    token = secrets.token_hex(16)
    command = [sys.executable, "-m", module, "--no-browser", f"--port={port}"]
    if app == "voila":
        command += [str(notebook), f"--Voila.ip={LOOPBACK}"]
        # Made for other front ends: in Voila they end in errors.
        for extension in ("@jupyter-notebook/lab-extension", "jupyterlab-jupytext"):
            command.append(f"--VoilaConfiguration.extension_denylist={extension}")
    else:
        # Root, as in a container of CI, is nothing the tests need, but nothing that they refuse either.
        command += [f"--ip={LOOPBACK}", "--allow-root", f"--IdentityProvider.token={token}"]
        command += [f"--ServerApp.root_dir={notebook.parent}"]
        command += [f"--{name}.expose_app_in_browser=True", *(QUIET_LAB if app == "lab" else ())]
    own = {f"JUPYTER_{kind}_DIR": str(folder / kind.lower()) for kind in ("CONFIG", "DATA", "RUNTIME")}
    own["JUPYTERLAB_SETTINGS_DIR"] = own["JUPYTERLAB_WORKSPACES_DIR"] = str(folder / "lab")
    # This environment's kernel, before any of the same name in a user's folder.
    own |= {"JUPYTER_PATH": str(Path(sys.prefix) / "share" / "jupyter"), "OMP_NUM_THREADS": "1"}
    for plugin, settings in SETTINGS.items() if app == "lab" else ():
        file = folder / "lab" / plugin
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(settings))
    log = (folder / f"{app}.log").open("w")
    # A process group of its own, so that the kernels end with the server.
    server = subprocess.Popen(command, env=os.environ | own, stdout=log, stderr=log, start_new_session=True)
    try:
        base = f"http://{LOOPBACK}:{port}"
        _wait_for(base + ("/" if app == "voila" else "/api"), server, log.name, answer=app != "voila")
        yield base + (path if app == "voila" else f"{path}{notebook.name}?token={token}")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        log.close()


def _wait_for(address: str, server: subprocess.Popen, log: str, answer: bool) -> None:
    """Until the port is open, and with `answer` until it answers: Voila's answer would start a kernel."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for _ in range(300):
        if server.poll() is not None:
            raise RuntimeError(f"the server ended:\n{Path(log).read_text()[-3000:]}")
        with contextlib.suppress(OSError):
            if answer:
                opener.open(address, timeout=5).close()
            else:
                socket.create_connection((urlsplit(address).hostname, urlsplit(address).port), timeout=5).close()
            return
        time.sleep(0.2)
    raise TimeoutError(f"no answer in a minute:\n{Path(log).read_text()[-3000:]}")


@dataclass
class Watched:
    """A page, the errors of its console, and whom it asked for anything: loopback, or a host and what of it."""

    page: object
    errors: list[str] = field(default_factory=list)
    asked: set[str] = field(default_factory=set)

    def __post_init__(self):
        self.page.on("console", lambda message: message.type == "error" and self.errors.append(message.text))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", self._asked)
        self.page.on("websocket", self._asked)

    def _asked(self, request: object) -> None:
        address = urlsplit(request.url)
        if address.hostname is not None:  # data: and blob: addresses have none
            self.asked.add(LOOPBACK if address.hostname == LOOPBACK else f"{address.hostname}{address.path}")

    def wait_for_kernel(self) -> None:
        """Until it is idle: before, Lab says so too, but would run the first cell only, without a word."""
        session = "jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel"
        ready = f"window.jupyterapp && {session}?.connectionStatus === 'connected' && {session}?.status === 'idle'"
        self.page.wait_for_function(ready, timeout=60_000)

    def run_all(self) -> None:
        self.wait_for_kernel()
        self.page.evaluate("() => { jupyterapp.commands.execute('notebook:run-all-cells') }")
        self.wait_for_end()

    def wait_for_end(self, timeout: int = 240) -> None:
        """Until the marker of the last cell is there."""
        self.page.wait_for_selector(".gsa-end", state="attached", timeout=timeout * 1000)

    @property
    def panel(self) -> object:
        return self.page.locator(".gsa-inspector")

    def control(self, name: str, part: str = "") -> object:
        """A widget of the panel, or a part of it: "input", "select", ".noUi-handle"."""
        return self.panel.locator(f".gsa-{name} {part}".strip())

    def tab(self, name: str) -> None:
        self.panel.get_by_role("tab", name=name, exact=True).click()

    def shown(self, name: str = "picture") -> str:
        """A checksum of the bytes behind the panel's <img>, or of the red, green and blue of its <canvas>."""
        script = """async name => {
            const image = document.querySelector(`.gsa-inspector img.gsa-${name}`);
            const canvas = document.querySelector(`.gsa-inspector .gsa-${name} canvas`);
            const text = bytes => Array.from(bytes, b => String.fromCharCode(b)).join('');
            if (canvas) {
                const drawn = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
                return text(drawn.data.filter((_, place) => place % 4 < 3));
            }
            if (!image || !image.src) return '';
            return text(new Uint8Array(await (await fetch(image.src)).arrayBuffer()));
        }"""
        return hashlib.sha256(self.page.evaluate(script, name).encode("latin-1")).hexdigest()

    def text(self, name: str) -> str:
        return self.control(name).inner_text()

    def changed(self, before: str, name: str = "picture", seconds: float = 20) -> str:
        """The checksum once it differs from `before` and then rests."""
        return self._rests(lambda: self.shown(name), lambda now: now not in ("", before), f"{name} to change", seconds)

    def view(self, before: str = "") -> str:
        """The text of the view, from the tab that shows it, once it is not that of `before`: a busy kernel is late."""
        self.tab("export")
        text = self.control("text", "input").input_value
        return self._rests(
            text, lambda now: now not in ("", before), f"the text of the view to differ from {before}", 20
        )

    def becomes(self, expected: str, name: str = "picture", seconds: float = 20) -> None:
        """Until the picture has this checksum."""
        self._rests(lambda: self.shown(name), lambda now: now == expected, f"{name} to be {expected[:8]}", seconds)

    def settled(self, name: str = "picture") -> str:
        """The checksum when it rests."""
        return self.changed("", name)

    @staticmethod
    def differs(look: Callable[[], object], before: object, seconds: float = 20) -> object:
        """What `look` says once that is not what it was before."""
        end = time.monotonic() + seconds
        while (now := look()) == before:
            if time.monotonic() > end:
                raise AssertionError(f"waited {seconds} s for something else than {before!r}")
            time.sleep(0.05)
        return now

    def press(self, name: str, how: str) -> None:
        """A button of the panel, by mouse or by keyboard."""
        if how == "mouse":
            self.control(name).click()
        else:
            self.enabled(name)  # a click waits for it; a key to a disabled button would be lost
            self.control(name).focus()
            self.control(name).press("Enter")

    def enabled(self, name: str, seconds: float = 60) -> None:
        """Until the kernel has enabled a button of the panel."""
        self.control(name).and_(self.page.locator(":enabled")).wait_for(timeout=seconds * 1000)

    def tab_in_front(self) -> str:
        return self.panel.locator("[role=tab][aria-selected=true]").inner_text()

    def focused(self) -> list[str]:
        """CSS classes of the element with the focus and of those around it."""
        return self.page.evaluate("""() => {
            const found = [];
            for (let e = document.activeElement; e; e = e.parentElement) found.push(...e.classList);
            return found;
        }""")

    def overflowing(self) -> list[str]:
        """Parts of the panel that hold more than they show, or reach beyond it."""
        return self.panel.evaluate("""panel => {
            const outer = panel.getBoundingClientRect(), found = [];
            for (const e of panel.querySelectorAll('*')) {
                const box = e.getBoundingClientRect(), style = getComputedStyle(e);
                if (!box.width || style.visibility === 'hidden' || e.closest('.noUi-target')) continue;
                const scrolls = style.overflowX !== 'visible' || style.overflowY !== 'visible';
                const more = e.scrollWidth > e.clientWidth + 2 || e.scrollHeight > e.clientHeight + 2;
                const beyond = box.right > outer.right + 1 || box.bottom > outer.bottom + 1;
                if ((scrolls && more) || beyond) found.push(`${e.className}: ${e.textContent.slice(0, 40)}`);
            }
            return found;
        }""")

    def dead(self) -> int:
        """How many widgets the front end marks as cut off from the kernel."""
        return self.page.locator(".jupyter-widgets-disconnected").count()

    @staticmethod
    def _rests(look: Callable[[], str], wanted: Callable[[str], bool], what: str, seconds: float) -> str:
        """What `look` says once it is wanted and has not changed for as long as an answer of the kernel may take."""
        last, same, end = None, 0, time.monotonic() + seconds
        while time.monotonic() < end:
            now = look()
            same = same + 1 if now == last and wanted(now) else 0
            if same == 6:
                return now
            last = now
            time.sleep(0.05)
        raise AssertionError(f"waited {seconds} s for {what}")


def open_tab(browser: object, address: str, here: str, **settings: object) -> tuple[object, list[str]]:
    """A page that needs nobody, and what went wrong on it: errors, failed requests, requests to other than `here`."""
    tab = browser.new_page(**settings)
    wrong = Watched(tab).errors
    tab.on("requestfailed", lambda request: wrong.append(request.url))
    mine = (here, "data:", "blob:")
    tab.on("request", lambda request: None if request.url.startswith(mine) else wrong.append(request.url))
    tab.goto(address, wait_until="load")
    return tab, wrong


def checksum(panel: object) -> str:
    """Of the picture that Python paints of what its panel shows, as `shown` has it."""
    how = bool(panel.picture.rectangle), panel.picture.framed
    return hashlib.sha256(panel.scene.picture(panel.view, PICTURE, *how).tobytes()).hexdigest()


@contextlib.contextmanager
def open_page(address: str, width: int = 1280, height: int = 2400) -> Iterator[Watched]:
    """The page in a new Chromium without a profile; tall, because Lab drops cells that are out of sight."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
        watched = Watched(browser.new_page(viewport={"width": width, "height": height}))
        # Nothing but loopback is let through: what else a page asks for is noted, and answered with nothing.
        watched.page.route(
            lambda url: urlsplit(url).hostname not in (LOOPBACK, None), lambda route: route.fulfill(body="")
        )
        watched.page.goto(address, wait_until="domcontentloaded")
        yield watched
        browser.close()
