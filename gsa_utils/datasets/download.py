"""Data files: where they lie, and how each is downloaded once and verified.

What each file is, its source, licence and checksum: data/README.md.
"""

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path


class DataUnavailable(RuntimeError):
    """A data file is missing and cannot be downloaded, or is not the file it should be; the message says what to do."""


def data_root(root: str | os.PathLike | None = None) -> Path:
    """The folder of data files: `root`, else $GSA_DATA, else data/cache of the checkout, else ./data/cache."""
    checkout = Path(__file__).resolve().parents[2]
    base = checkout if (checkout / "pyproject.toml").is_file() else Path()
    return Path(root or os.environ.get("GSA_DATA") or base / "data" / "cache").expanduser().absolute()


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
    _verify(folder, files)
    missing = {name: source for name, source in files.items() if not (folder / name).exists()}
    if missing:
        _download(folder, missing)
        _verify(folder, missing)
    return [folder / name for name in files]


def _download(folder: Path, files: Mapping[str, tuple[str, str]]) -> None:
    import pooch
    from filelock import FileLock
    from tqdm import tqdm

    several, name = len(files) > 1, next(iter(files))
    pooch.get_logger().setLevel("WARNING" if several else "INFO")  # one bar for many files, not a line for each
    registry, urls = {n: checksum for n, (_, checksum) in files.items()}, {n: url for n, (url, _) in files.items()}
    store = pooch.create(folder, "", registry=registry, urls=urls, retry_if_failed=2)  # waits 1 s, then 2 s
    get = pooch.HTTPDownloader(progressbar=not several, chunk_size=2**16, timeout=30)
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


def _verify(folder: Path, files: Mapping[str, tuple[str, str]]) -> None:
    for name, (url, checksum) in files.items():
        path, (algorithm, expected) = folder / name, checksum.split(":")
        if not path.exists():
            continue
        found = _checksum(path, algorithm, path.stat().st_mtime_ns)
        if found != expected:
            raise DataUnavailable(
                f"{path} has {algorithm} {found}, expected {expected}: damaged, or another file. It was not used and "
                f"left as it is. Move it away to have it downloaded again from {url}, or set GSA_DATA elsewhere."
            )


@cache
def _checksum(path: Path, algorithm: str, modified: int) -> str:
    """The file's checksum: computed once in a process, and again if the file has been modified since."""
    import pooch

    return pooch.file_hash(str(path), alg=algorithm)
