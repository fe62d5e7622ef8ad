"""Exercise checks accept right answers, however they are written: at least two each that are not the lesson's own."""

import statistics

import numpy as np
import pytest
import scipy.stats
import torch
from sklearn.metrics import roc_auc_score
from torch import nn

from gsa_utils import lessons


def alignment_by_a_loop(images):
    z = [(image - image.mean()) / image.std() for image in images]
    return statistics.fmean(
        torch.corrcoef(torch.stack([one, sum(z[:i] + z[i + 1 :])]).flatten(1))[0, 1].item() for i, one in enumerate(z)
    )


def alignment_in_numpy(images):
    z = scipy.stats.zscore(images.numpy().reshape(len(images), -1), axis=1)
    others = (z.sum(0) - z) / (len(z) - 1)
    return float(((z * others).mean(1) / others.std(1)).mean())


def columns(images):
    return torch.stack([(one - one.mean()) / (one - one.mean()).square().mean().sqrt() for one in images.double()], -1)


def by_svd(X, rank):
    u, s, _ = torch.linalg.svd(X, full_matrices=False)
    return -u[:, :rank] * s[:rank]


def turned(X, rank):
    values, vectors = np.linalg.eigh((X @ X.T).numpy())
    features = torch.as_tensor((vectors * np.sqrt(values.clip(0)))[:, ::-1][:, :rank].copy())
    return features @ torch.linalg.qr(torch.rand(rank, rank).double()).Q


class ByHand(nn.Module):
    def __init__(self, features, hidden=32):
        super().__init__()
        self.register_buffer("features", features)
        self.classifier = nn.Sequential(nn.Conv2d(features.shape[1], hidden, 1), nn.ReLU(), nn.Conv2d(hidden, 1, 1))

    def map(self):
        m = 1 / (1 + torch.exp(-self.classifier(self.features).squeeze()))
        return m * m.numel() / m.sum()

    def forward(self, x):
        return torch.einsum("bchw,hw->bchw", x, self.map())


class PixelsInRows(nn.Module):
    def __init__(self, features, hidden=32):
        super().__init__()
        self.size = features.shape[-2:]
        self.pixels = features[0].flatten(1).T
        self.first, self.second = nn.Linear(len(features[0]), hidden), nn.Linear(hidden, 1)

    def map(self):
        m = self.second(self.first(self.pixels).relu()).sigmoid()
        return (m / m.mean()).reshape(self.size)

    def forward(self, x):
        return x * self.map()[None, None]


def sums_in_the_loop(cnn, attention, batches, epochs, optimiser, schedule):
    means = []
    for epoch in range(epochs):
        seen = []
        for x, labels in batches(epoch):
            optimiser.zero_grad(set_to_none=False)
            losses = nn.functional.cross_entropy(cnn(attention(x)), labels, reduction="none")
            losses.mean().backward()
            optimiser.step()
            seen.extend(losses.tolist())
        means.append(statistics.fmean(seen))
        schedule.step()
    return means


def cleared_at_the_end(cnn, attention, batches, epochs, optimiser, schedule):
    criterion, means = nn.CrossEntropyLoss(), torch.zeros(epochs)
    for epoch in range(epochs):
        values, sizes = [], []
        for x, labels in batches(epoch):
            loss = criterion(cnn(attention(x)), labels)
            loss.backward()
            optimiser.step()
            optimiser.zero_grad()
            values.append(loss.item())
            sizes.append(len(labels))
        schedule.step()
        means[epoch] = np.average(values, weights=sizes)
    return means


def by_ranks(weights, region):
    ranks, inside = scipy.stats.rankdata(weights), region.flatten().numpy()
    n = inside.sum()
    return (ranks.reshape(-1)[inside].sum() - n * (n + 1) / 2) / (n * (~inside).sum())


def by_autograd(X, g, lr):
    v = torch.zeros(X.shape[1], dtype=X.dtype, requires_grad=True)
    (X @ v).backward(g)
    return X @ (-lr * v.grad)


def planted_one_by_one(images, labels, region, brighter):
    new = images.clone()
    for image, label in zip(new, labels, strict=True):
        if label == 1:
            image[0, region] = (image[0, region].float() + brighter).clamp(0, 255).to(torch.uint8)
    return new


def planted_in_numpy(images, labels, region, brighter):
    new = images.numpy().astype(int)
    new[labels.numpy() == 1] += brighter * region.numpy()
    return torch.from_numpy(np.minimum(new, 255).astype(np.uint8))


def averages_one_by_one(x, maps):
    return torch.cat([(x * weights).mean(dim=(2, 3)) for weights in maps], dim=1)


def averages_by_a_product(x, maps):
    return (maps.flatten(1) @ x.flatten(2).transpose(1, 2) / maps[0].numel()).flatten(1)


def corrected_by_the_library(ours, theirs, ratio):
    d = [a - b for a, b in zip(ours.tolist(), theirs.tolist(), strict=True)]
    return statistics.mean(d), statistics.stdev(d) * (1 / len(d) + ratio) ** 0.5


def corrected_from_the_squares(ours, theirs, ratio):
    d = (ours - theirs).numpy()
    variance = ((d - d.mean()) ** 2).sum() / (len(d) - 1)
    return np.array([d.mean(), np.sqrt(variance / len(d) + ratio * variance)])


def blanked_in_a_clone(images, mask):
    new = images.clone()
    new[:, :, mask] = images.mean(0)[:, mask]
    return new


def blanked_by_weights(images, mask):
    return images * ~mask + images.mean(dim=0, keepdim=True) * mask


def among_all(low, draws):
    return torch.cat([draws, torch.tensor([low])]).le(low).double().mean()


def counted(low, draws):
    return (1 + sum(draw <= np.float32(low) for draw in draws.numpy())) / (1 + draws.numel())


def holm_one_by_one(p):
    corrected = []
    for mine in p:
        steps = [((p >= other).sum() * other).clamp(max=1) for other in p if other <= mine]
        corrected.append(max(steps))
    return torch.stack(corrected)


def holm_in_numpy(p):
    order = np.argsort(p.numpy())
    corrected = np.empty(len(order))
    corrected[order] = np.minimum(1, np.maximum.accumulate(p.numpy()[order] * (len(order) - np.arange(len(order)))))
    return corrected


def by_the_interval(deviation, pairs, ratio):
    low, high = scipy.stats.t.interval(0.95, pairs - 1, scale=deviation * (1 / pairs + ratio) ** 0.5)
    return (high - low) / 2


def by_the_upper_tail(deviation, pairs, ratio):
    variance = deviation**2 * (1 / pairs + ratio)
    return torch.tensor(scipy.stats.t(df=pairs - 1).isf(0.025) * variance**0.5)


def highest_sorted(weights, region):
    order = weights.flatten().argsort(descending=True)
    highest = [i for i in order.tolist() if weights.flatten()[i] == weights.max()]
    return sum(bool(region.flatten()[i]) for i in highest) / len(highest)


def with_the_mean_of(train, test, region):
    mean = train.double().mean(0)
    return [torch.where(region, mean, images).round().byte() for images in (train, test)]


def without_in_clones(train, test, region):
    fill = train.float().mean(dim=0).round().to(torch.uint8)[:, region]
    both = train.clone(), test.clone()
    for images in both:
        images[:, :, region] = fill
    return both


def added_one_by_one(gram, batch):
    for image in batch:
        x = image.flatten().double()
        x = (x - x.mean()) / x.std(correction=0)
        gram += torch.outer(x, x)


def added_in_one_call(gram, batch):
    x = nn.functional.layer_norm(batch.flatten(1).float(), (batch[0].numel(),), eps=1e-12)
    gram.addmm_(x.T, x)


def in_rounds(numbers, processes, rate):
    piece = 4 * numbers * numbers / processes
    return sum(piece / rate for _ in range(processes - 1)) * 2


def by_inner_products(image, mean, furthest):
    steps = torch.arange(-furthest, furthest + 1)
    scores = torch.stack(
        [(image.roll((int(d), int(a)), (0, 1)) * (mean - mean.mean())).sum() for d in steps for a in steps]
    )
    place = int(scores.argmax())
    return place // len(steps) - furthest, place % len(steps) - furthest


def by_the_fourier_transform(image, mean, furthest):
    centred = mean - mean.mean()
    match = torch.fft.ifft2(torch.fft.fft2(image).conj() * torch.fft.fft2(centred)).real
    down, across = np.mgrid[-furthest : furthest + 1, -furthest : furthest + 1]
    best = match.numpy()[down, across].argmax()
    return [int(down.flat[best]), int(across.flat[best])]


RIGHT = {
    "alignment": (alignment_by_a_loop, alignment_in_numpy),
    "one_map": (lambda x, m: torch.einsum("bchw,hw->bchw", x, m), lambda x, m: torch.stack([one * m for one in x])),
    "data_matrix": (
        lambda i: columns(i).reshape(-1, len(i)),
        lambda i: scipy.stats.zscore(i.numpy().reshape(len(i), -1).T.astype(float), axis=0),
    ),
    "compress": (by_svd, turned),
    "attention": (ByHand, PixelsInRows),
    "training": (sums_in_the_loop, cleared_at_the_end),
    "auroc": (lambda w, r: roc_auc_score(r.flatten(), w.flatten()), by_ranks),
    "sgd_step": (by_autograd, lambda X, g, lr: -lr * torch.einsum("pn,qn,q->p", X, X, g)),
    "planted": (planted_one_by_one, planted_in_numpy),
    "guess": (
        lambda brightness, area, jitter, images: "nothing" if brightness * area > 0.01 else "gain",
        lambda brightness, area, jitter, images: {True: "loss", False: "gain"}[jitter > 4],
    ),
    "shared_pooling": (averages_one_by_one, averages_by_a_product),
    "corrected": (corrected_by_the_library, corrected_from_the_squares),
    "blank": (blanked_in_a_clone, blanked_by_weights),
    "chance": (among_all, counted),
    "chosen_scores": (
        lambda loss, auroc: [auroc[loss[:, fold].argmin(), fold] for fold in range(loss.shape[1])],
        lambda loss, auroc: (auroc * (loss == loss.min(dim=0).values)).sum(dim=0),
    ),
    "corrected_p": (holm_one_by_one, holm_in_numpy),
    "smallest_shown": (by_the_interval, by_the_upper_tail),
    "pointing_game": (lambda w, r: (r & (w == w.max())).sum() / (w == w.max()).sum(), highest_sorted),
    "without": (with_the_mean_of, without_in_clones),
    "add_batch": (added_one_by_one, added_in_one_call),
    "network_seconds": (in_rounds, lambda p, k, rate: 8 * p**2 * (1 - 1 / k) / rate),
    "best_offset": (by_inner_products, by_the_fourier_transform),
    "verdict": (
        lambda mean, low, high: {2: "helps", -2: "hurts"}.get(int(np.sign(low) + np.sign(high)), "no difference shown"),
        lambda mean, low, high: "no difference shown" if low <= 0 <= high else ("hurts", "helps")[mean > 0],
    ),
}

ANSWERS = [
    pytest.param(name, answer, id=f"{name}-{number}")
    for name, answers in RIGHT.items()
    for number, answer in enumerate(answers, 1)
]


@pytest.mark.parametrize(("name", "answer"), ANSWERS)
def test_a_right_answer_written_differently_is_accepted(name, answer, capsys):
    getattr(lessons, f"check_{name}")(answer)
    assert f": {'noted' if name == 'guess' else 'right'}." in capsys.readouterr().out


def test_every_check_of_a_function_has_two_right_answers():
    checks = {name.removeprefix("check_") for name in vars(lessons) if name.startswith("check_")}
    assert checks == set(RIGHT) | {"surest_mistake", "settled"}
    assert min(map(len, RIGHT.values())) >= 2
