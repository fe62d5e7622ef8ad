"""A training run on disk: written whole or not at all, known to be undamaged, read back only into the same run."""

import hashlib
import io
import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from torch import nn

from gsa_utils.attended import Attended
from gsa_utils.attention import WeightMap
from gsa_utils.files import checksum, whole_file
from gsa_utils.images import ImageSet
from gsa_utils.training.state import TrainingState, weight_maps

FILE_NAME, BEFORE = "checkpoint.pt", "checkpoint.before.pt"
DIGEST = hashlib.sha256().digest_size  # behind what torch.save writes stands its SHA-256, in the same file


class Damaged(Exception):
    """A file that is not to the last bit what `save` wrote."""


class Checkpoint:
    """The files of one run in `folder`, the last epoch's and the one before; where that is None, there are none."""

    def __init__(
        self, folder: str | Path | None, settings: dict[str, object], model: nn.Module, train: ImageSet, valid: ImageSet
    ):
        self.path = None if folder is None else Path(folder) / FILE_NAME
        self.identity = {} if folder is None else settings | _identity(model, train, valid)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Within it no other run may use the folder; the system takes the lock from a process however it dies.

        Raises:
            RuntimeError: another run is in the folder.
        """
        if self.path is None:
            yield
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path.parent / ".lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise RuntimeError(
                f"checkpoint_dir: another run is writing into {self.path.parent}; give each run a folder of its own, "
                "or wait until that one has ended"
            ) from None
        try:
            yield
        finally:
            lock.release()

    def save(self, state: TrainingState) -> None:
        """Write the state after an epoch; a kill at any moment leaves the file before it or this one, never half.

        Raises:
            OSError: it could not be written; what was there stays.
        """
        if self.path is None:
            return
        content = io.BytesIO()
        torch.save({"identity": self.identity, **state.state_dict()}, content)
        content.write(hashlib.sha256(content.getbuffer()).digest())
        try:
            with whole_file(self.path) as file:
                file.write(content.getbuffer())
                file.flush()
                if self.path.exists():
                    os.replace(self.path, self.path.with_name(BEFORE))
        except OSError as error:
            needed, free = (size / 1e6 for size in (content.tell(), shutil.disk_usage(self.path.parent).free))
            raise OSError(
                error.errno,
                f"checkpoint_dir: {self.path} could not be written ({error.strerror or error}; {needed:.1f} MB needed, "
                f"{free:.1f} MB free); the checkpoint before it is still there",
            ) from error

    def load(self) -> dict[str, object] | None:
        """What `save` wrote last, or None where there is none; where that is damaged, what it wrote before.

        The damaged file is set aside under another name then, and a warning says so.

        Raises:
            ValueError: the file is of a run with other settings, images or model, or damaged and none is good; it is
                left alone.
        """
        if self.path is None:
            return None
        before = self.path.with_name(BEFORE)
        try:
            saved = _read(self.path) if self.path.exists() else None
        except Damaged as error:
            saved = self._from_before(error)
        else:
            # A kill between two renamings leaves the one before alone.
            saved = _read_or_refuse(before) if saved is None and before.exists() else saved
        if saved is not None:
            self._check_same_run(saved)
        return saved

    def _from_before(self, damage: Damaged) -> dict[str, object]:
        """The state of the epoch before, and the damaged file out of the way."""
        before = self.path.with_name(BEFORE)
        try:
            if not before.exists():
                raise damage
            saved = _read(before)
        except Damaged as error:
            raise _refusal(self.path, damage) from error
        number = 1 + sum(1 for _ in self.path.parent.glob("checkpoint.damaged*.pt"))
        aside = self.path.with_name(f"checkpoint.damaged{number}.pt")
        os.replace(self.path, aside)
        warnings.warn(
            f"checkpoint_dir: {self.path} was damaged ({damage}) and is now {aside.name}; training goes on from the "
            f"epoch before, {BEFORE}",
            stacklevel=4,
        )
        return saved

    def _check_same_run(self, saved: dict[str, object]) -> None:
        identity = saved["identity"]
        differing = [name for name in self.identity if identity.get(name) != self.identity[name]]
        if differing:
            came = ", ".join(f"{name} {identity.get(name)}" for name in differing)
            expected = ", ".join(f"{name} {self.identity[name]}" for name in differing)
            raise ValueError(
                f"checkpoint_dir: {self.path} holds another run with {came}, expected {expected}; "
                "choose another folder, or delete that one if it is not needed any more"
            )


def _read(path: Path) -> dict[str, object]:
    """What `save` wrote there.

    Raises:
        Damaged: it is something else, if only by one bit.
    """
    content = path.read_bytes()
    if content[-22:-18] == b"PK\5\6":  # the last record of a zip file, which is what torch.save writes
        raise Damaged("an earlier version of fit wrote it, without a checksum")
    if hashlib.sha256(content[:-DIGEST]).digest() != content[-DIGEST:]:
        raise Damaged("its checksum differs")
    try:
        saved = torch.load(io.BytesIO(content[:-DIGEST]), map_location="cpu", weights_only=True)
        saved["identity"] = dict(saved["identity"])
    except Exception as error:  # torch.load raises half a dozen kinds, none of which names the file
        raise Damaged(type(error).__name__) from error
    return saved


def _read_or_refuse(path: Path) -> dict[str, object]:
    try:
        return _read(path)
    except Damaged as error:
        raise _refusal(path, error) from error


def _refusal(path: Path, damage: Damaged) -> ValueError:
    return ValueError(
        f"checkpoint_dir: {path} is damaged, or was not written by this version of fit ({damage}), and no good one of "
        "the epoch before is there; delete both to begin anew, or choose another folder"
    )


def checksum_of_features(model: nn.Module) -> str:
    """Of the buffers of all its weight maps: the features of their pixels, or the frozen maps themselves."""
    return checksum(*(buffer for weight_map in weight_maps(model) for buffer in weight_map.buffers()))


def _identity(model: nn.Module, train: ImageSet, valid: ImageSet) -> dict[str, object]:
    """What must be equal, beside the settings, for a run to be continued; values of weights are not part of it."""
    shapes = ";".join(f"{name}{tuple(value.shape)}" for name, value in model.state_dict().items())
    layers = repr(model)  # dropout, strides and activations have no weights to tell them apart
    trained = ";".join(name for name, weight in model.named_parameters() if weight.requires_grad)
    return {
        "train images": checksum(train.images, train.labels),
        "valid images": checksum(valid.images, valid.labels),
        "weights' names and shapes": checksum(shapes),
        "layers": checksum(layers),
        "trained weights": checksum(trained),
        "place of the map": ", ".join(part.at or "input" for part in model.modules() if isinstance(part, Attended)),
        "pixel features": checksum_of_features(model),
        "version of the maps": WeightMap._version,
    }
