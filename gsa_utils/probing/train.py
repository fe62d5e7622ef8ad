"""Trains a head on the activations of a frozen network: the network never runs, so a training takes a second."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from gsa_utils.arguments import bad_value, check_labels
from gsa_utils.probing.heads import Head

_WARM_UP = 3  # steps before one is recorded


def fit_head(
    head: Head,
    activations: Float[Tensor, "n channels h w"],
    labels: Int[Tensor, " n"],
    *,
    steps: int = 300,
    batch_size: int = 64,
    lr: float = 1e-2,
    pooling_lr: float = 1e-2,
    weight_decay: float = 1e-2,
    seed: int = 0,
) -> Head:
    """Train by cross-entropy with AdamW and a cosine schedule, and return the head after the last step, in eval mode.

    Args:
        steps: of `batch_size` images each, all of them where there are fewer; whole passes in an order that `seed`
            draws, so that heads of one seed see the same batches.
        lr, weight_decay: of the linear layer.
        pooling_lr: of what weights the places, global maps or queries, without weight decay.

    Raises:
        ValueError: labels that don't fit the activations.
        RuntimeError: a loss that is no longer a number.
    """
    check_labels(labels, len(activations), head.linear.out_features)
    if len(activations) < 2:
        raise bad_value("activations", f"{len(activations)} image", "at least two images")
    pooling, on_gpu = list(head.pooling.parameters()), activations.is_cuda
    groups = [{"params": list(head.linear.parameters()), "lr": lr, "weight_decay": weight_decay}]
    groups += [{"params": pooling, "lr": pooling_lr, "weight_decay": 0.0}] if pooling else []
    for group in groups if on_gpu else ():  # a recorded step reads it anew each time, a plain number only once
        group["lr"] = torch.tensor(group["lr"], device=activations.device)
    optimiser = torch.optim.AdamW(groups, capturable=on_gpu)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    head.train()
    x = head.standardise(activations)  # once, not in every step
    if not pooling:
        x = head.pooling(x)
    labels = labels.to(x.device)

    def step(batch: Int[Tensor, " batch"]) -> Float[Tensor, ""]:
        pooled = head.pooling(x[batch]) if pooling else x[batch]
        loss = F.cross_entropy(head.classify(pooled), labels[batch])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        return loss.detach()

    batches = torch.stack(_batches(len(x), min(batch_size, len(x)), steps, seed)).to(x.device)
    loss = (_replayed if on_gpu and steps > _WARM_UP else _one_by_one)(step, batches, scheduler.step)
    if not torch.isfinite(loss):
        raise RuntimeError(f"the loss is {loss.item()} after {steps} steps: lower lr={lr} or pooling_lr={pooling_lr}")
    return head.eval()


def _one_by_one(
    step: Callable[[Tensor], Tensor], batches: Int[Tensor, "steps batch"], after: Callable[[], None]
) -> Float[Tensor, ""]:
    """The loss of the last step."""
    for batch in batches:
        loss = step(batch)
        after()
    return loss


def _replayed(
    step: Callable[[Tensor], Tensor], batches: Int[Tensor, "steps batch"], after: Callable[[], None]
) -> Float[Tensor, ""]:
    """The same on a GPU, where a head's kernels are shorter than their launches: recorded once, launched as one.

    As https://docs.pytorch.org/docs/stable/notes/cuda.html#whole-network-capture does it: the first steps run on a
    stream of their own, so that all that is allocated once is there when the step is recorded.
    """
    batch, side = batches[0].clone(), torch.cuda.Stream(batches.device)
    side.wait_stream(torch.cuda.current_stream(batches.device))
    with torch.cuda.stream(side):
        _one_by_one(lambda indices: step(batch.copy_(indices)), batches[:_WARM_UP], after)
    torch.cuda.current_stream(batches.device).wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = step(batch)

    def replay(indices: Int[Tensor, " batch"]) -> Float[Tensor, ""]:
        batch.copy_(indices)
        graph.replay()
        return loss

    return _one_by_one(replay, batches[_WARM_UP:], after)


def _batches(count: int, size: int, steps: int, seed: int) -> list[Tensor]:
    """The images of each step: whole passes, each in a new order, without the few that fill no batch."""
    random = torch.Generator().manual_seed(seed)
    a_pass = count // size
    orders = [torch.randperm(count, generator=random) for _ in range(-(-steps // a_pass))]
    return [order[i * size : (i + 1) * size] for order in orders for i in range(a_pass)][:steps]
