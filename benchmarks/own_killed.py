"""Is anything lost when `gsa own` is killed? Twenty times kill -9, at random moments, and the same report as without.

    .venv/bin/python benchmarks/own_killed.py      writes results/own_killed.csv

One examination of 120 phantoms runs undisturbed. Others, each in a folder of its own, are killed with their children
after a random time and started again, until one ends before it is killed. Report and model are compared with the
undisturbed ones byte for byte. Ten minutes of two cores; no images are needed.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from torchvision.utils import save_image
from turns import write_table

from gsa_utils import make_phantom

KILLS, COUNT, SIDE = 20, 120, 32
COMPARED = ("report.html", "model.safetensors")


def write_images(folder: Path) -> None:
    phantom = make_phantom("phantom-chest", COUNT, SIDE)
    for number, (image, label) in enumerate(zip(phantom.images, phantom.labels.tolist(), strict=True)):
        file = folder / phantom.class_names[label] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        save_image(image / 255, file)


def examine(images: Path, out: Path, seconds: float | None = None) -> str | None:
    """What it had said last when it was killed after so many seconds; None if it had ended by then."""
    command = [sys.executable, "-m", "gsa_utils.own", "own", str(images), "--out", str(out)]
    command += ["--size", str(SIDE), "--repeats", "1"]
    settings = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    said = out.with_suffix(".log")
    with said.open("w") as log:
        called = subprocess.Popen(command, stdout=log, stderr=subprocess.DEVNULL, start_new_session=True, env=settings)
        try:
            if called.wait(seconds):
                raise RuntimeError(f"gsa own ended with {called.returncode}; it had said: {said.read_text()}")
            return None
        except subprocess.TimeoutExpired:
            os.killpg(called.pid, signal.SIGKILL)
            called.wait()
    return (said.read_text().splitlines() or ["nothing yet"])[-1]


def killed(images: Path, place: Path, length: float) -> Iterator[dict[str, object]]:
    """A row for each kill, with whether that examination's report and model are the undisturbed ones in the end."""
    moments, struck, number = random.Random(0), 0, 0
    while struck < KILLS:
        out, rows = place / f"killed-{number}", []
        while struck < KILLS:
            after = moments.uniform(1, 0.9 * length)
            if (said := examine(images, out, after)) is None:
                break
            rows.append({"examination": number, "killed_after_s": f"{after:.1f}", "had_said": said})
            struck += 1
        examine(images, out)
        same = {
            f"same_{name.partition('.')[0]}": (out / name).read_bytes() == (place / "whole" / name).read_bytes()
            for name in COMPARED
        }
        yield from (row | same for row in rows)
        number += 1


def main() -> None:
    with TemporaryDirectory() as folder:
        place = Path(folder)
        write_images(place / "images")
        start = time.monotonic()
        examine(place / "images", place / "whole")
        write_table("own_killed.csv", killed(place / "images", place, time.monotonic() - start))


if __name__ == "__main__":
    main()
