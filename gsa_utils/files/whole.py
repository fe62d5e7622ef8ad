"""Files: written whole or not at all, known again by what they were made from, or not to be had."""

import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor


class DataUnavailable(RuntimeError):
    """A file is missing and cannot be downloaded, or is not the file it should be; the message says what to do."""


def checksum(*parts: Tensor | str) -> str:
    """Of the bytes of all of them, as eight hexadecimal digits (CRC-32)."""
    value = 0
    for part in parts:
        if isinstance(part, str):
            value = zlib.crc32(part.encode(), value)
        else:
            flat = part.detach().cpu().contiguous().flatten().view(torch.uint8)  # NumPy knows no bfloat16
            value = zlib.crc32(flat.numpy(), value)
    return f"{value:08x}"


def file_checksum(path: Path, start: int = 0) -> str:
    """`checksum` of a file's bytes from `start` on, read piece by piece: mapped into memory they would stay there."""
    value = 0
    with path.open("rb") as file:
        file.seek(start)
        while piece := file.read(2**20):
            value = zlib.crc32(piece, value)
    return f"{value:08x}"


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write; a kill at any moment leaves what `path` was before it or all that was written, never half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        with half.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        half.replace(path)
    finally:
        half.unlink(missing_ok=True)  # there only where something raised
