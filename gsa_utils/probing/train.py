"""Trains a head on the activations of a frozen network: the network never runs, so a training takes a second."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from gsa_utils.arguments import bad_value, check_labels
from gsa_utils.probing.heads import Head


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
    pooling = list(head.pooling.parameters())
    groups = [{"params": list(head.linear.parameters()), "lr": lr, "weight_decay": weight_decay}]
    groups += [{"params": pooling, "lr": pooling_lr, "weight_decay": 0.0}] if pooling else []
    optimiser = torch.optim.AdamW(groups)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    head.train()
    x = head.standardise(activations)  # once, not in every step
    if not pooling:
        x = head.pooling(x)
    labels = labels.to(x.device)
    for batch in torch.stack(_batches(len(x), min(batch_size, len(x)), steps, seed)).to(x.device):
        pooled = head.pooling(x[batch]) if pooling else x[batch]
        loss = F.cross_entropy(head.classify(pooled), labels[batch])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        scheduler.step()
    if not torch.isfinite(loss):
        raise RuntimeError(f"the loss is {loss.item()} after {steps} steps: lower lr={lr} or pooling_lr={pooling_lr}")
    return head.eval()


def _batches(count: int, size: int, steps: int, seed: int) -> list[Tensor]:
    """The images of each step: whole passes, each in a new order, without the few that fill no batch."""
    random = torch.Generator().manual_seed(seed)
    a_pass = count // size
    orders = [torch.randperm(count, generator=random) for _ in range(-(-steps // a_pass))]
    return [order[i * size : (i + 1) * size] for order in orders for i in range(a_pass)][:steps]
