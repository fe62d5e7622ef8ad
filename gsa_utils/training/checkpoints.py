"""The state of a training run on disk: written whole or not at all, read back only into the same run."""

import io
import os
import zlib
from pathlib import Path

import torch
from torch import Tensor, nn

from gsa_utils.attention import Attended, WeightMap
from gsa_utils.images import ImageSet

FILE_NAME = "checkpoint.pt"


def run_identity(
    model: nn.Module, settings: dict[str, float], train: ImageSet, valid: ImageSet
) -> dict[str, str | float]:
    """What must be equal for a run to be continued: settings, images, shapes of the weights, source of the map."""
    shapes = ";".join(f"{name}{tuple(value.shape)}" for name, value in model.state_dict().items())
    layers = repr(model)  # dropout, strides and activations have no weights to tell them apart
    trained = ";".join(name for name, weight in model.named_parameters() if weight.requires_grad)
    # The buffers of a map: the features of its pixels, or the frozen map itself.
    features = [value for part in model.modules() if isinstance(part, WeightMap) for value in part.buffers()]
    return {
        **settings,
        "train images": checksum(train.images, train.labels),
        "valid images": checksum(valid.images, valid.labels),
        "weights' names and shapes": checksum(shapes),
        "layers": checksum(layers),
        "trained weights": checksum(trained),
        "place of the map": ", ".join(part.at or "input" for part in model.modules() if isinstance(part, Attended)),
        "pixel features": checksum(*features),
    }


def save_checkpoint(folder: str | Path, identity: dict[str, str | float], state: dict[str, object]) -> None:
    """Write the state after an epoch; a kill at any moment leaves the previous file or this one, never half of one."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    half = folder / f"{FILE_NAME}.{os.getpid()}"
    with half.open("wb") as file:
        torch.save({"identity": identity, **state}, file)
        file.flush()
        os.fsync(file.fileno())
    half.replace(folder / FILE_NAME)


def load_checkpoint(folder: str | Path, identity: dict[str, str | float]) -> dict[str, object] | None:
    """The state saved last, or None where there is none.

    Raises:
        ValueError: the folder holds a run with other settings, images or model, or a damaged file; nothing is
            overwritten.
    """
    path = Path(folder) / FILE_NAME
    if not path.exists():
        return None
    content = io.BytesIO(path.read_bytes())
    try:
        state = torch.load(content, map_location="cpu", weights_only=True)
        saved = dict(state["identity"])
    except Exception as error:  # torch.load raises half a dozen kinds, none of which names the file
        raise ValueError(
            f"checkpoint_dir: {path} is damaged or was not written by fit ({type(error).__name__}); "
            "delete it to begin anew, or choose another folder"
        ) from error
    differing = [name for name in identity if saved.get(name) != identity[name]]
    if differing:
        came = ", ".join(f"{name} {saved.get(name)}" for name in differing)
        expected = ", ".join(f"{name} {identity[name]}" for name in differing)
        raise ValueError(
            f"checkpoint_dir: {path} holds another run with {came}, expected {expected}; "
            "choose another folder, or delete that one if it is not needed any more"
        )
    return state


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
