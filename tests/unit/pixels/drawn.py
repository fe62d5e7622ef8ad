"""Images for the tests of pixel features, streams of them, and references written as the definitions read."""

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

FEW, MANY = (20, 1, 8, 9), (200, 1, 6, 7)  # fewer images than pixels, and more


def draw(shape, seed=0):
    """uint8 images made of a few smooth patterns and noise, so that eigenvalues lie well apart."""
    n, c, h, w = shape
    random = torch.Generator().manual_seed(seed)
    patterns = F.interpolate(torch.randn(6, c, 3, 3, generator=random), (h, w), mode="bilinear")
    weights = torch.randn(n, 6, generator=random) * 2.0 ** -torch.arange(6)
    pictures = torch.einsum("nk,kchw->nchw", weights, patterns) + 0.1 * torch.randn(shape, generator=random)
    return (128 + 40 * pictures).clamp(0, 255).to(torch.uint8)


def reference(images, size=None):
    """X / sqrt(number of informative columns), (P, M), in float64, written as the definition reads."""
    x = images.double()
    if size is not None:
        x = F.interpolate(x, size, mode="area")
    columns = [channel.flatten() for image in x for channel in image]
    columns = [(c - c.mean()) / c.std(correction=0) if c.max() > c.min() else torch.zeros_like(c) for c in columns]
    informative = sum(bool(c.any()) for c in columns)
    return torch.stack(columns, dim=1) / informative**0.5


def gram(features):
    rows = features.flatten(2)[0].T.double()  # (P, K)
    return rows @ rows.T


def best_approximation(x, rank):
    """The P x P matrix of this rank that is nearest to X X^T (Eckart and Young), by a singular value decomposition."""
    u, s, _ = torch.linalg.svd(x, full_matrices=False)
    return (u[:, :rank] * s[:rank] ** 2) @ u[:, :rank].T


def same(a, b, tolerance=1e-4):
    return torch.allclose(a.double(), b.double(), rtol=0, atol=tolerance)


def generator(images, per_batch=7):
    yield from images.split(per_batch)


def loader(images, per_batch=7, labels=True, **settings):
    parts = (images, torch.arange(len(images))) if labels else (images,)
    return DataLoader(TensorDataset(*parts), batch_size=per_batch, **settings)


def mapped(images, folder):
    path = folder / "images.npy"
    np.save(path, images.numpy())
    return np.load(path, mmap_mode="r")


class Once:
    """Batches that count how often they are asked for; only one is alive at a time."""

    def __init__(self, images, per_batch=7):
        self.images, self.per_batch, self.passes, self.given = images, per_batch, 0, 0

    def __iter__(self):
        self.passes += 1
        for batch in self.images.split(self.per_batch):
            self.given += len(batch)
            yield batch.clone()


def relative(a, b):
    """The largest difference, as a share of the largest entry."""
    return ((a.double() - b.double()).abs().max() / b.abs().max()).item()
