"""What an epoch changes: the run that `fit` returns, and all that it needs to go on as if it had never stopped."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from gsa_utils.arguments import bad_value, describe
from gsa_utils.attention import WeightMap
from gsa_utils.evaluation.persons import group_keys
from gsa_utils.files import checksum
from gsa_utils.images import ImageSet
from gsa_utils.networks.pooling import AttentivePooling
from gsa_utils.networks.pretrained import Preparation

# What `keep` goes by: the epoch whose row has the highest value, the first of equals.
KEEP: dict[str, Callable[[dict[str, int | float]], float]] = {
    "last": lambda row: row["epoch"],
    "loss": lambda row: -row["valid_loss"],
    "auroc": lambda row: row["valid_auroc"],
}


class Standardised(nn.Module):
    """A model behind the one mean and one deviation of its training set, which are saved and exported with it."""

    def __init__(self, model: nn.Module, mean: float, deviation: float):
        super().__init__()
        self.model = model
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("deviation", torch.tensor(deviation))

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch classes"]:
        if not x.is_floating_point():  # bytes would be 255 times too bright, and give other logits without a word
            raise bad_value("x", describe(x), "images in [0, 1] as ImageSet.to_float() gives them")
        return self.model((x - self.mean) / self.deviation)


def standardises(model: nn.Module) -> bool:
    """Whether it takes images in [0, 1] as they are, as a trained model does, and a pretrained network in any other."""
    return isinstance(model, Standardised) or any(isinstance(part, Preparation) for part in model.modules())


@dataclass(frozen=True)
class TrainedOn:
    """What a model was trained on: enough to prepare new images for it, and to know the set again.

    Attributes:
        size: (height, width) of the images.
        images: how many.
        checksum: of their pixels and labels.
    """

    name: str
    class_names: tuple[str, ...]
    channels: int
    size: tuple[int, int]
    images: int
    checksum: str

    @classmethod
    def of(cls, image_set: ImageSet) -> "TrainedOn":
        count, channels, *size = image_set.images.shape
        known_by = checksum(image_set.images, image_set.labels)
        return cls(image_set.name, tuple(image_set.class_names), channels, tuple(size), count, known_by)


@dataclass
class TrainingRun:
    """What `fit` returns.

    Attributes:
        model: takes `ImageSet.to_float()`, returns logits; holds the weights of the kept epoch, on the device
            that it was trained on.
        history: one row an epoch: epoch, train_loss, valid_loss, valid_accuracy, valid_auroc, seconds.
        maps: the weight map (H, W), or K of them (K, H, W), after each epoch, on the CPU; empty without attention.
        seconds: training time over all sittings, validation included.
        kept_epoch: the row of `history` whose weights `model` holds, counted from 0.
        running: whether `fit` is at its epochs, callbacks included; false however it has ended.
        trained_on: the training set, in words and numbers.
        met: checksums of the people in it, which `evaluate` looks for in a set.
    """

    model: nn.Module
    history: list[dict[str, int | float]] = field(default_factory=list)
    maps: list[Float[Tensor, "*maps height width"]] = field(default_factory=list)
    seconds: float = 0.0
    kept_epoch: int = -1
    running: bool = False
    trained_on: TrainedOn | None = None
    met: frozenset[str] = frozenset()

    @classmethod
    def of(cls, model: nn.Module, train: ImageSet) -> "TrainingRun":
        """One that has not begun."""
        return cls(model, trained_on=TrainedOn.of(train), met=frozenset(group_keys(train)))


@dataclass
class TrainingState:
    """A run in the making. Everything random in an epoch follows from its number: there is no random state to save."""

    run: TrainingRun
    optimiser: Optimizer
    scheduler: LRScheduler
    keep: str = "last"
    kept: dict[str, Tensor] = field(default_factory=dict)  # weights and buffers on the CPU; of the last epoch no copy

    @contextmanager
    def running(self) -> Iterator[None]:
        """Within it the run says that it is running."""
        self.run.running = True
        try:
            yield
        finally:
            self.run.running = False

    def remember(self, row: dict[str, int | float]) -> None:
        """Add the row and the map of an epoch, and keep its weights where it is the one to keep until now."""
        run = self.run
        run.history.append(row)
        run.maps += [weight_map.map().detach().float().cpu().clone() for weight_map in weight_maps(run.model)[:1]]
        run.seconds += row["seconds"]
        value = KEEP[self.keep]
        if run.kept_epoch < 0 or value(row) > value(run.history[run.kept_epoch]):
            run.kept_epoch = row["epoch"]
            if self.keep != "last":
                self.kept = {name: part.detach().cpu().clone() for name, part in run.model.state_dict().items()}

    def finish(self) -> None:
        """Give the model the weights of the kept epoch, and let it know whom it has met."""
        self.run.model.met = getattr(self.run.model, "met", frozenset()) | self.run.met
        if self.kept:
            self.run.model.load_state_dict(self.kept)

    def state_dict(self) -> dict[str, object]:
        """Nothing but tensors, numbers and text, in lists and dicts: `torch.load` needs to run no code for it."""
        return {
            "model": self.run.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "kept": self.kept,
            "scheduler": self.scheduler.state_dict(),
            "history": self.run.history,
            "maps": self.run.maps,
            "seconds": self.run.seconds,
            "kept_epoch": self.run.kept_epoch,
        }

    def load_state_dict(self, saved: dict[str, object]) -> None:
        """Go on from what `state_dict` returned."""
        self.run.model.load_state_dict(saved["model"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.scheduler.load_state_dict(saved["scheduler"])
        self.kept = saved["kept"]
        for name in ("history", "maps", "seconds", "kept_epoch"):
            setattr(self.run, name, saved[name])


def weight_maps(model: nn.Module) -> list[WeightMap]:
    """All global weight maps in a model, in its own order."""
    return [part for part in model.modules() if isinstance(part, WeightMap)]


def place_weights(model: nn.Module) -> list[nn.Parameter]:
    """The weights of all that decides how places are weighted: global maps, and queries that ask each image."""
    parts = [part for part in model.modules() if isinstance(part, WeightMap | AttentivePooling)]
    return [weight for part in parts for weight in part.parameters()]
