"""One training loop for any model, any device and any number of processes: Adam, cosine schedule, best epoch kept.

Devices, mixed precision and processes are accelerate's business: it picks CUDA, MPS or the CPU, and reads
ACCELERATE_MIXED_PRECISION=bf16 (before the first run of a process) and torchrun's variables from the environment; on a
CPU, torchrun needs ACCELERATE_USE_CPU=true beside it. `processes.py` says what several processes share, and what each
one reads. What runs on a CPU is tested; GPUs were not at hand.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from tqdm.auto import tqdm

from gsa_utils.arguments import bad_value, whole_number
from gsa_utils.attention import WeightMap
from gsa_utils.evaluation.scores import check_logits, evaluate
from gsa_utils.images import ImageSet
from gsa_utils.training.checkpoints import load_checkpoint, run_identity, save_checkpoint
from gsa_utils.training.processes import (
    check_same_everywhere,
    mean_and_deviation,
    start_accelerator,
    synchronise_batch_norm,
)


class Standardised(nn.Module):
    """A model behind the one mean and one deviation of its training set, which are saved and exported with it."""

    def __init__(self, model: nn.Module, mean: float, deviation: float):
        super().__init__()
        self.model = model
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("deviation", torch.tensor(deviation))

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch classes"]:
        return self.model((x - self.mean) / self.deviation)


@dataclass
class TrainingRun:
    """What `fit` returns.

    Attributes:
        model: takes `ImageSet.to_float()`, returns logits; holds the weights of the best validation epoch, on the
            device that it was trained on.
        history: one row an epoch: epoch, train_loss, valid_loss, valid_accuracy, valid_auroc, seconds.
        maps: the weight map (H, W) after each epoch, on the CPU; empty without attention.
        seconds: training time over all sittings, validation included.
        best_epoch: the row of `history` whose weights `model` holds, counted from 0.
        running: whether `fit` is making it: true in callbacks, false once `fit` has returned or raised.
    """

    model: nn.Module
    history: list[dict[str, float]] = field(default_factory=list)
    maps: list[Float[Tensor, "height width"]] = field(default_factory=list)
    seconds: float = 0.0
    best_epoch: int = -1
    running: bool = False


def fit(
    model: nn.Module,
    train: ImageSet,
    valid: ImageSet,
    *,
    epochs: int,
    batch_size: int = 64,
    lr: float = 1e-3,
    attention_lr: float = 1e-2,
    seed: int = 0,
    checkpoint_dir: str | Path | None = None,
    progress: bool = True,
    callbacks: Sequence[Callable[[TrainingRun, int], object]] = (),
) -> TrainingRun:
    """Train the CNN and the pixel classifier together, by one cross-entropy loss; `model` is changed in place.

    `seed` fixes the order of the images and whatever the model draws while it trains (dropout), epoch by epoch; the
    initial weights are the caller's (`torch.manual_seed` before building). On one CPU the result repeats bit for bit.
    The global random state is left as it was.

    Args:
        model: images to logits; from `build_backbone`, `attend`, or anywhere else.
        train, valid: `valid` picks the best epoch, the one of the lowest loss.
        batch_size: images in a step, of each process. Without BatchNorm and dropout, W processes train as one does
            with W times the batch_size, to rounding.
        lr, attention_lr: Adam's learning rates of the CNN and of the weight maps in it; both follow a cosine to zero.
        checkpoint_dir: where the state is written, atomically, after each epoch. The same call finds it there and goes
            on, to the same bits as if it had never stopped; a finished run is returned at once. The initial weights of
            this call are then not looked at: give each seed its own folder.
        progress: a bar with the time left.
        callbacks: each is called with the run so far and `epochs` after every epoch, in the main process; where one
            returns something true, training ends there and the best epoch until then is kept. With a `checkpoint_dir`
            the same call goes on from there.

    Raises:
        ValueError: sets that don't fit together or hold one class only, settings out of range, a checkpoint of
            another run.
        RuntimeError: a loss that is no longer a number, or a weight map that no gradient reaches.
    """
    _check_sets(train, valid)
    settings = {"epochs": epochs, "batch_size": batch_size, "lr": lr, "attention_lr": attention_lr, "seed": seed}
    _check_settings(settings)
    if not isinstance(callbacks, Sequence) or not all(map(callable, callbacks)):
        raise bad_value("callbacks", repr(callbacks), "a list of functions")
    # NumPy's numbers, of a logspace, say, seed no generator and could not be read back from a checkpoint.
    settings = {name: value.item() if hasattr(value, "item") else value for name, value in settings.items()}
    epochs, batch_size, lr, attention_lr, seed = settings.values()
    accelerator = start_accelerator()
    check_same_everywhere(accelerator, model, train, valid)
    if not isinstance(model, Standardised):
        mean, deviation = mean_and_deviation(train.images, accelerator)
        model = Standardised(model, mean / 255, max(deviation / 255, 1e-6))
    model = synchronise_batch_norm(model, accelerator)
    optimiser = torch.optim.Adam(_parameter_groups(model, lr, attention_lr))
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs)
    loader = DataLoader(
        TensorDataset(train.images, train.labels),
        batch_size=batch_size,
        shuffle=True,
        generator=torch.Generator(),
        # BatchNorm can't standardise a last batch of one image.
        drop_last=len(train) % (batch_size * accelerator.num_processes) == 1,
    )
    order, classes = loader.generator, len(train.class_names)
    prepared, optimiser, loader = accelerator.prepare(model, optimiser, loader)

    run, best = TrainingRun(model), {}
    weight_maps = [module for module in model.modules() if isinstance(module, WeightMap)]
    processes = {"processes": accelerator.num_processes, "precision": accelerator.mixed_precision}
    identity, saved = {}, None
    if checkpoint_dir is not None and accelerator.is_main_process:
        identity = run_identity(model, settings | processes, train, valid)
        saved = load_checkpoint(checkpoint_dir, identity)
    (saved,) = broadcast_object_list([saved])
    if saved is not None:
        model.load_state_dict(saved["model"])
        optimiser.load_state_dict(saved["optimiser"])
        scheduler.load_state_dict(saved["scheduler"])
        best = saved["best"]
        run = TrainingRun(model, saved["history"], saved["maps"], saved["seconds"], saved["best_epoch"])
    epochs_left = range(len(run.history), epochs)
    bar = tqdm(
        epochs_left, "fit", epochs, initial=len(run.history), disable=not progress or not accelerator.is_main_process
    )
    with torch.random.fork_rng(), _marked_as_running(run):
        for epoch in bar:
            started = time.perf_counter()
            # Everything random in an epoch follows from (seed, epoch): there is no other random state to save.
            torch.manual_seed(seed * 100_003 + epoch + 2**40 * accelerator.process_index)  # other dropout in each
            order.manual_seed(seed * 100_003 + epoch)
            train_loss = _train_epoch(prepared, optimiser, loader, accelerator, weight_maps, classes, epoch)
            _check_finite("training", train_loss, epoch)
            scheduler.step()
            if accelerator.num_processes > 1:  # each has seen other images: without this, other BatchNorm statistics
                for buffer in model.buffers():
                    torch.distributed.broadcast(buffer, src=0)
            scores = evaluate(model, valid, batch_size=256)
            _check_finite("validation", scores["loss"], epoch)
            run.maps += [weight_map.map().detach().float().cpu().clone() for weight_map in weight_maps[:1]]
            row = {
                "epoch": epoch,
                "train_loss": train_loss,
                **{f"valid_{name}": score for name, score in scores.items()},
            }
            run.history.append({**row, "seconds": time.perf_counter() - started})
            if not best or _rank(run.history[-1]) > _rank(run.history[run.best_epoch]):
                run.best_epoch = epoch
                best = {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
            run.seconds += run.history[-1]["seconds"]
            if checkpoint_dir is not None and accelerator.is_main_process:
                state = {"model": model.state_dict(), "optimiser": optimiser.state_dict(), "best": best}
                state |= {"scheduler": scheduler.state_dict(), "history": run.history, "maps": run.maps}
                state |= {"seconds": run.seconds, "best_epoch": run.best_epoch}
                save_checkpoint(checkpoint_dir, identity, state)
            bar.set_postfix(loss=f"{train_loss:.3f}", valid_auroc=f"{scores['auroc']:.3f}")
            stops = [callback(run, epochs) for callback in callbacks] if accelerator.is_main_process else []
            if broadcast_object_list([any(stops)])[0]:
                break
    run.model = accelerator.unwrap_model(prepared, keep_fp32_wrapper=False)
    run.model.load_state_dict(best)
    run.model.eval()
    return run


@contextmanager
def _marked_as_running(run: TrainingRun) -> Iterator[None]:
    run.running = True
    try:
        yield
    finally:
        run.running = False


def _train_epoch(
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    loader: DataLoader,
    accelerator: Accelerator,
    weight_maps: list[WeightMap],
    classes: int,
    epoch: int,
) -> float:
    """Mean training loss of one pass."""
    model.train()
    processes, step_size = accelerator.num_processes, loader.total_batch_size
    total, count = torch.zeros((), device=accelerator.device), 0
    for step, (images, labels) in enumerate(loader):
        logits = model(images.float() / 255)
        if epoch == 0 and step == 0:
            check_logits(logits, len(labels), classes)
        # accelerate fills up the last step of several processes with images of the first: those don't count. The
        # gradients are averaged over processes, some of which then have fewer images, or none.
        together = min(step_size, len(loader.dataset) - count)
        own = min(max(together - accelerator.process_index * (step_size // processes), 0), len(labels))
        loss = F.cross_entropy(logits[:own], labels[:own]) if own else 0 * logits.sum()
        optimiser.zero_grad(set_to_none=True)
        accelerator.backward(loss * (own * processes / together if own else 1))
        if epoch == 0 and step == 0:
            _check_reached(weight_maps)
        optimiser.step()
        total, count = total + loss.detach() * own, count + together
    return accelerator.reduce(total / count).item()


def _check_finite(kind: str, loss: float, epoch: int) -> None:
    if not math.isfinite(loss):
        raise RuntimeError(f"the {kind} loss is not a number in epoch {epoch}; a lower lr may help")


def _check_reached(weight_maps: list[WeightMap]) -> None:
    """A map hooked to a submodule that the model never calls would train to nothing without a word."""
    for weight_map in weight_maps:
        if any(weight.requires_grad and weight.grad is None for weight in weight_map.parameters()):
            raise RuntimeError("no gradient reaches the weight map: the submodule it is attached `at` is never called")


def _rank(row: dict[str, float]) -> float:
    return -row["valid_loss"]


def _parameter_groups(model: nn.Module, lr: float, attention_lr: float) -> Iterator[dict[str, object]]:
    """The weights of the maps learn at their own rate; frozen maps have none."""
    in_maps = {id(p) for module in model.modules() if isinstance(module, WeightMap) for p in module.parameters()}
    trainable = [p for p in model.parameters() if p.requires_grad]
    if not trainable:
        raise bad_value("model", "no weights that require a gradient", "something to train")
    groups = [
        {"params": [p for p in trainable if id(p) not in in_maps], "lr": lr},
        {"params": [p for p in trainable if id(p) in in_maps], "lr": attention_lr},
    ]
    return (group for group in groups if group["params"])


def _check_sets(train: ImageSet, valid: ImageSet) -> None:
    for argument, image_set in (("train", train), ("valid", valid)):
        if not isinstance(image_set, ImageSet):
            raise bad_value(argument, type(image_set).__name__, "an ImageSet")
        if min(image_set.class_counts) == 0 or len(image_set.class_names) < 2:
            raise bad_value(argument, f"{image_set!r}", "images of every class, and at least two classes")
    if train.images.shape[1:] != valid.images.shape[1:] or list(train.class_names) != list(valid.class_names):
        raise bad_value("valid", f"{valid!r}", f"the image shape and classes of train, {train!r}")


def _check_settings(settings: dict[str, float]) -> None:
    for argument in ("epochs", "batch_size"):
        least = 2 if argument == "batch_size" else 1
        if not whole_number(settings[argument], least):
            raise bad_value(argument, settings[argument], f"a whole number, at least {least}")
    for argument in ("lr", "attention_lr"):
        if not isinstance(settings[argument], Real) or not settings[argument] > 0:
            raise bad_value(argument, settings[argument], "a positive number")
    if not whole_number(settings["seed"], 0) or settings["seed"] >= 2**32:
        raise bad_value("seed", settings["seed"], "a whole number from 0, below 2**32")
