"""A training run on disk: written whole or not at all, read back only into the same run."""

import io
from pathlib import Path

import torch
from torch import nn

from gsa_utils.attended import Attended
from gsa_utils.attention import WeightMap
from gsa_utils.files import checksum, whole_file
from gsa_utils.images import ImageSet
from gsa_utils.training.state import TrainingState, weight_maps

FILE_NAME = "checkpoint.pt"


class Checkpoint:
    """The file of one run in `folder`; where that is None, nothing is read or written."""

    def __init__(
        self, folder: str | Path | None, settings: dict[str, object], model: nn.Module, train: ImageSet, valid: ImageSet
    ):
        self.path = None if folder is None else Path(folder) / FILE_NAME
        self.identity = {} if folder is None else settings | _identity(model, train, valid)

    def save(self, state: TrainingState) -> None:
        """Write the state after an epoch; a kill at any moment leaves the file before it or this one, never half."""
        if self.path is None:
            return
        with whole_file(self.path) as file:
            torch.save({"identity": self.identity, **state.state_dict()}, file)

    def load(self) -> dict[str, object] | None:
        """What `save` wrote last, or None where there is none.

        Raises:
            ValueError: the file is of a run with other settings, images or model, or damaged; it is left alone.
        """
        if self.path is None or not self.path.exists():
            return None
        content = io.BytesIO(self.path.read_bytes())
        try:
            saved = torch.load(content, map_location="cpu", weights_only=True)
            identity = dict(saved["identity"])
        except Exception as error:  # torch.load raises half a dozen kinds, none of which names the file
            raise ValueError(
                f"checkpoint_dir: {self.path} is damaged or was not written by fit ({type(error).__name__}); "
                "delete it to begin anew, or choose another folder"
            ) from error
        differing = [name for name in self.identity if identity.get(name) != self.identity[name]]
        if differing:
            came = ", ".join(f"{name} {identity.get(name)}" for name in differing)
            expected = ", ".join(f"{name} {self.identity[name]}" for name in differing)
            raise ValueError(
                f"checkpoint_dir: {self.path} holds another run with {came}, expected {expected}; "
                "choose another folder, or delete that one if it is not needed any more"
            )
        return saved


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
