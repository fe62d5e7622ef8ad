"""Data files: where they lie, how each is downloaded once and verified, and how what is made from them is kept.

What each file is, its source, licence and checksum: data/README.md.
"""

import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path

import numpy as np

from gsa_utils.arguments import at_home
from gsa_utils.files import DataUnavailable

# Seconds to wait for a connection, and for the next bytes. Three attempts with pauses stay below half a minute.
PATIENCE = (5, 8)


def data_root(root: str | os.PathLike | None = None) -> Path:
    """The folder of data files: `root`, else $GSA_DATA, else data/cache of the checkout, else ./data/cache."""
    checkout = Path(__file__).resolve().parents[2]
    base = checkout if (checkout / "pyproject.toml").is_file() else Path()
    if root is not None:
        return at_home("root", root).absolute()
    return at_home("GSA_DATA", os.environ.get("GSA_DATA") or base / "data" / "cache").absolute()


def fetch(folder: Path, files: Mapping[str, tuple[str, str]]) -> list[Path]:
    """The paths of `files` under `folder`: each downloaded where it is missing, each verified.

    Where all are there nothing is written, so `folder` may be read-only. A file whose checksum is wrong is neither
    used, replaced nor deleted: it may be somebody's only copy of something else.

    Args:
        folder: created where it is missing.
        files: file name -> (URL, "algorithm:checksum").

    Raises:
        DataUnavailable: says which file, its URL and checksum, and what to do.
    """
    verify(folder, files)
    missing = {name: source for name, source in files.items() if not (folder / name).exists()}
    if missing:
        _download(folder, missing)
        verify(folder, missing)
    return [folder / name for name in files]


def _download(folder: Path, files: Mapping[str, tuple[str, str]]) -> None:
    import pooch
    from filelock import FileLock
    from tqdm import tqdm

    several, name = len(files) > 1, next(iter(files))
    pooch.get_logger().setLevel("WARNING" if several else "INFO")  # one bar for many files, not a line for each
    registry, urls = {n: checksum for n, (_, checksum) in files.items()}, {n: url for n, (url, _) in files.items()}
    store = pooch.create(folder, "", registry=registry, urls=urls, retry_if_failed=2)  # waits 1 s, then 2 s
    get = pooch.HTTPDownloader(progressbar=not several, chunk_size=2**16, timeout=PATIENCE)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".download.lock"):
            for name in tqdm(files, f"to {folder}", unit="file", disable=not several):
                if not (folder / name).exists():  # what appeared meanwhile, pooch would replace if wrong
                    store.fetch(name, downloader=get)  # into a temporary file, renamed once its checksum is right
                    (folder / name).chmod(0o644)  # temporary files are private, but a data folder may be shared
    except (OSError, ValueError) as error:  # network and disk errors are OSErrors, a wrong checksum a ValueError
        raise DataUnavailable(
            f"{name} is not in {folder} and could not be downloaded from {urls[name]} ({error}). Put that file "
            f"({registry[name]}) into {folder}, or set GSA_DATA to a folder that holds it or can be written to. "
            "The phantom sets need no download: phantom-chest, phantom-retina, phantom-face."
        ) from error


def verify(folder: Path, files: Mapping[str, tuple[str, str]]) -> None:
    """Raise a DataUnavailable if one of `files` is in `folder` with another checksum; the arguments are `fetch`'s."""
    for name, (url, checksum) in files.items():
        path, (algorithm, expected) = folder / name, checksum.split(":")
        if not path.exists():
            continue
        found = _checksum(path, algorithm, path.stat().st_mtime_ns)
        if found != expected:
            raise DataUnavailable(
                f"{path} has {algorithm} {found}, expected {expected}: damaged, or another file. It was not used and "
                f"left as it is. Move it away; the right one is to be had from {url}. Or set GSA_DATA elsewhere."
            )


@cache
def _checksum(path: Path, algorithm: str, modified: int) -> str:
    """The file's checksum: computed once in a process, and again if the file has been modified since."""
    import pooch

    return pooch.file_hash(str(path), alg=algorithm)


def read_npz(path: Path, *names: str) -> list[np.ndarray]:
    """The arrays of these names in a file that `write_npz` made; DataUnavailable where it does not hold them."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return [arrays[name] for name in names]
    except Exception as error:  # a damaged zip file fails in many ways
        raise DataUnavailable(f"{path} cannot be read ({error}). Move it away to have it made again.") from error


def write_npz(path: Path, **arrays: object) -> None:
    """Keep what took long to make, where the folder can be written to; elsewhere it is made anew each time.

    Not compressed: X-rays would shrink by a tenth, and be read ten times as slowly.
    """
    if not path.parent.stat().st_mode & 0o222:
        return  # marked as read-only, which would not stop root, as whom many containers run
    with suppress(OSError), tempfile.TemporaryDirectory(dir=path.parent) as part:
        np.savez(Path(part, path.name), **arrays)
        os.replace(Path(part, path.name), path)  # at once: nobody ever reads half a file
