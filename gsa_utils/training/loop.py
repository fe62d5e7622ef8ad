"""One training loop for any model, any device and any number of processes: AdamW and a cosine schedule.

Devices, mixed precision and processes are accelerate's business: it picks CUDA, MPS or the CPU, and reads
ACCELERATE_MIXED_PRECISION=bf16 (before the first run of a process) and torchrun's variables from the environment; on a
CPU, torchrun needs ACCELERATE_USE_CPU=true beside it. `processes.py` says what several processes share and read.
Tests run on a CPU; benchmarks/gpu_check.py checks what a GPU computes, and did on one H200, never on several GPUs.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import SupportsFloat, SupportsIndex

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.utils import tqdm
from torch import nn
from torch.utils.data import DataLoader

from gsa_utils.arguments import bad_value, check_name, check_switch
from gsa_utils.evaluation.scores import check_logits
from gsa_utils.images import ImageSet
from gsa_utils.training import processes
from gsa_utils.training.checkpoints import Checkpoint
from gsa_utils.training.checks import check_finite, check_given, check_reached, check_settings, validated
from gsa_utils.training.state import KEEP, Standardised, TrainingRun, TrainingState, place_weights, standardises


def fit(
    model: nn.Module,
    train: ImageSet,
    valid: ImageSet,
    *,
    epochs: SupportsIndex,
    batch_size: SupportsIndex = 64,
    lr: SupportsFloat = 1e-3,
    attention_lr: SupportsFloat = 1e-2,
    weight_decay: SupportsFloat = 0.0,
    keep: str = "last",
    seed: SupportsIndex = 0,
    checkpoint_dir: str | Path | None = None,
    progress: bool = True,
    callbacks: Sequence[Callable[[TrainingRun, int], object]] = (),
) -> TrainingRun:
    """Train the CNN and the pixel classifier together, by one cross-entropy loss; `model` is changed in place.

    `seed` fixes the order of the images and whatever the model draws while it trains (dropout); the initial weights are
    the caller's (`torch.manual_seed` before building). On one CPU the result repeats bit for bit. The global random
    state is left as it was.

    Args:
        model: images to logits; from `build_backbone`, `attend`, or anywhere else.
        train, valid: the images to learn from, and those that every epoch is scored on.
        batch_size: images in a step, of each process. Without BatchNorm and dropout, W processes train as one does
            with W times the batch_size, to rounding.
        lr, attention_lr: AdamW's learning rates, of the CNN and of the maps or queries in it; cosines to zero.
        weight_decay: AdamW's, of the CNN's weights; those of maps and queries are left alone.
        keep: the epoch whose weights are returned: the "last", or that of the lowest "loss" or highest "auroc" on the
            validation images, which on few images is noise, and often an epoch before the map has moved.
        checkpoint_dir: where the state is written, atomically, after each epoch. The same call finds it there and goes
            on, to the same bits as if it had never stopped; a finished run is returned at once. The initial weights of
            this call are then not looked at: give each seed its own folder.
        progress: a bar with the time left.
        callbacks: called with the run so far and `epochs` after every epoch, in the main process; where one returns
            something true, training ends as if that epoch had been the last. The same call goes on from a checkpoint.

    Raises:
        ValueError: sets that don't fit together or hold one class, settings out of range, another run's checkpoint.
        RuntimeError: a loss that is no longer a number, a weight map that no gradient reaches, or another run in
            checkpoint_dir.
        OSError: a checkpoint that cannot be written; the one before it stays.
    """
    check_given(model, train, valid, checkpoint_dir)
    settings = check_settings(
        epochs=epochs, batch_size=batch_size, lr=lr, attention_lr=attention_lr, weight_decay=weight_decay, seed=seed
    )
    epochs, batch_size, lr, attention_lr, weight_decay, seed = settings.values()
    check_name("keep", keep, KEEP)
    check_switch("progress", progress)
    if not isinstance(callbacks, Sequence) or not all(map(callable, callbacks)):
        raise bad_value("callbacks", repr(callbacks), "a list of functions")
    accelerator = processes.start_accelerator()
    processes.check_same_everywhere(accelerator, model, train, valid)

    if not standardises(model):
        mean, deviation = processes.mean_and_deviation(train.images, accelerator)
        model = Standardised(model, mean / 255, max(deviation / 255, 1e-6))
    model = processes.synchronise_batch_norm(model, accelerator)
    optimiser = torch.optim.AdamW(_parameter_groups(model, lr, attention_lr, weight_decay))
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs)
    order = torch.Generator()  # of the images; each epoch seeds it
    loader = processes.batches_of(train, batch_size, order, accelerator)
    prepared, optimiser, loader = accelerator.prepare(model, optimiser, loader)

    run = TrainingRun.of(model, train)
    state = TrainingState(run, optimiser, scheduler, keep)
    folder = checkpoint_dir if accelerator.is_main_process else None
    settings |= {"keep": keep, "processes": accelerator.num_processes, "precision": accelerator.mixed_precision}
    checkpoint = Checkpoint(folder, settings, model, train, valid)
    with checkpoint.locked(), torch.random.fork_rng(), state.running():
        saved = processes.from_main_process(checkpoint.load())
        if saved is not None:
            state.load_state_dict(saved)
        done = len(run.history)
        bar = tqdm(range(done, epochs), "fit", epochs, initial=done, disable=not progress)
        for epoch in bar:
            started = time.perf_counter()
            processes.seed_epoch(seed, epoch, order, accelerator)
            train_loss = _train_epoch(prepared, optimiser, loader, accelerator, len(train.class_names), epoch)
            scheduler.step()
            processes.share_buffers(model)
            check_finite(epoch, training=train_loss)
            scores = validated(model, valid, epoch)
            seconds = time.perf_counter() - started
            state.remember({"epoch": epoch, "train_loss": train_loss, **scores, "seconds": seconds})
            checkpoint.save(state)
            bar.set_postfix(loss=f"{train_loss:.3f}", valid_auroc=f"{scores['valid_auroc']:.3f}")
            stops = [callback(run, epochs) for callback in callbacks] if accelerator.is_main_process else []
            if processes.from_main_process(any(stops)):
                break
    run.model = accelerator.unwrap_model(prepared, keep_fp32_wrapper=False).eval()
    state.finish()
    return run


def _train_epoch(
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    loader: DataLoader,
    accelerator: Accelerator,
    classes: int,
    epoch: int,
) -> float:
    """Mean training loss of one pass."""
    model.train()
    total, done = torch.zeros((), device=accelerator.device), 0
    for images, labels in loader:
        logits = model(images.float() / 255)
        check_logits(logits, len(labels), classes)
        # The last step of several processes may be uneven: `own` images count here, `together` in all of them.
        own, together = processes.share_of_step(done, len(labels), loader, accelerator)
        loss = F.cross_entropy(logits[:own], labels[:own]) if own else 0 * logits.sum()
        optimiser.zero_grad(set_to_none=True)
        accelerator.backward(loss * (own * accelerator.num_processes / together))
        if epoch == 0 and done == 0:
            check_reached(model)
        optimiser.step()
        total, done = total + loss.detach() * own, done + together
    return accelerator.reduce(total / done).item()


def _parameter_groups(model: nn.Module, lr: float, attention_lr: float, weight_decay: float) -> list[dict[str, object]]:
    """The weights of maps and queries learn at their own rate and do not decay; frozen maps have none."""
    trainable = [weight for weight in model.parameters() if weight.requires_grad]
    if not trainable:
        raise bad_value("model", "no weights that require a gradient", "something to train")
    in_maps = set(map(id, place_weights(model)))
    cnn = [weight for weight in trainable if id(weight) not in in_maps]
    maps = [weight for weight in trainable if id(weight) in in_maps]
    groups = [
        {"params": cnn, "lr": lr, "weight_decay": weight_decay},
        {"params": maps, "lr": attention_lr, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
