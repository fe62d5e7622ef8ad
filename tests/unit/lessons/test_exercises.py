"""Exercise checks: right answers pass, untouched ones are let through, known mistakes are rejected by name."""

import re
from pathlib import Path
from types import SimpleNamespace

import nbformat
import numpy as np
import pytest
import torch
from scipy.stats import norm
from scipy.stats import t as student_t

from gsa_utils import lessons
from gsa_utils.evaluation.maps import stability
from gsa_utils.lessons import lesson_03
from gsa_utils.lessons.answers import WrongAnswer

NOTEBOOKS = sorted((Path(__file__).parents[3] / "notebooks").glob("[0-9][0-9]_*.ipynb"))


def rows(images):
    """Images as rows of mean 0 and length 1."""
    x = images.flatten(1).double()
    x = x - x.mean(1, keepdim=True)
    return x / x.norm(dim=1, keepdim=True)


def correlation_with(x, y):
    y = y - y.mean(-1, keepdim=True)
    return torch.cosine_similarity(x, y.expand_as(x)).mean()


def standardised(images, dim):
    x = images.flatten(1).double()
    return (x - x.mean(dim, keepdim=True)) / x.std(dim, correction=0, keepdim=True)


def products(x):
    """Of all pairs of pixels, from images in rows or not."""
    x = x.flatten(1)
    return x.T @ x


def stepped(p):
    """Holm's products, from the smallest p on."""
    return p.sort().values * torch.arange(len(p), 0, -1)


def top(x, rank, power=0.5, largest=True):
    values, vectors = torch.linalg.eigh(x @ x.T)
    keep = slice(-rank, None) if largest else slice(0, rank)
    return vectors[:, keep] * values[keep].clamp(min=0) ** power


def pairs(weights, region):
    return weights[region][:, None], weights[~region][None, :]


def mean_of(images):
    return images.float().mean(dim=0)


NOTHING = "no difference shown"


def correlated(a, b):
    return torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1]


def fitting(image, mean, furthest, best=max, least=None, across=True):
    steps = range(-furthest if least is None else least, furthest + 1)
    moves = [(d, a) for d in steps for a in (steps if across else (0,))]
    return best(moves, key=lambda move: correlated(image.roll(move, (0, 1)), mean))


def filled(images, fill, region):
    return torch.where(region, torch.as_tensor(fill), images.float()).to(torch.uint8)


def one_on_average(z):
    return torch.sigmoid(z) / torch.sigmoid(z).mean()


def of_one(labels):
    return (labels == 1)[:, None, None, None]


def brightened(images, region, brighter):
    return (images.int() + brighter * region).clamp(max=255).to(torch.uint8)


CHANCE = torch.Generator()


def drawn(like):
    """Noise, other at each call: with it no two pixels tie, and no map is quite flat."""
    return torch.randn(like.shape, generator=CHANCE)


def not_yet(*_, **__):
    raise NotImplementedError


def attention(of_logits=one_on_average, forward=None):
    """An answer to exercise 3.1 that makes its map of the logits like this, and weights images by it like that."""

    class Attempt(lesson_03.Attention):
        def logits(self):
            return self.classifier(self.features)[0, 0]

        def map(self):
            return of_logits(self.logits())

        def forward(self, x):
            return forward(self, x) if forward else self.map() * x

    return Attempt


def nothing(*_):
    return None


def step_each_batch(t):
    ask, step = t.batches, t.schedule.step

    def batches(epoch):
        for batch in ask(epoch):
            yield batch
            step()

    t.batches, t.schedule = batches, SimpleNamespace(step=nothing)


def first_batches(t):
    ask = t.batches
    t.batches = lambda epoch: ask(0)


def training(change=nothing, result=lambda losses, images: (losses * images).sum(1) / images.sum(1)):
    """An answer to exercise 3.2 that handles what it is given like this, and makes its losses of the batches' so."""

    def attempt(**given):
        changed = SimpleNamespace(**given)
        change(changed)
        return result(*lesson_03._batch_losses(**vars(changed)))

    return attempt


# check, and wrong answers with a word that the complaint must hold
WRONG = {
    "alignment": (
        lessons.check_alignment,
        [
            (lambda i: correlation_with(rows(i), rows(i).sum(0)), "leave it out"),
            (lambda i: correlation_with(i.flatten(1).double(), i.flatten(1).double().sum(0)), "off by"),
            (lambda i: torch.cosine_similarity(rows(i), rows(i).sum(0) - rows(i)).sum(), "mean"),
            (lambda i: torch.cosine_similarity(rows(i), rows(i).sum(0) - rows(i)), "one value an image"),
            (lambda i: (rows(i) * (rows(i).sum(0) - rows(i)) / (len(i) - 1)).sum(1).mean(), "length"),
            (lambda i: None, "return"),
            (lambda i: 1.0, "off by"),
            (lambda i: torch.corrcoef(rows(i)).mean(), "pairs of images"),
            (
                lambda i: torch.cosine_similarity(i.flatten(1), i.flatten(1).sum(0) - i.flatten(1)).mean(),
                "by brightness",
            ),
        ],
    ),
    "one_map": (
        lessons.check_one_map,
        [
            (lambda x, m: x + m, "multiplies"),
            (lambda x, m: x * m.T, "swapped"),
            (lambda x, m: x * m / m.sum(), "sum to 1"),
            (lambda x, m: (x * m).mean(1, keepdim=True), "channels"),
            (lambda x, m: x.mul_(m), "changed"),
            (lambda x, m: (x * m)[0], "shape"),
            (lambda x, m: x * m / x.mean((1, 2, 3), keepdim=True), "depend on the image"),
        ],
    ),
    "data_matrix": (
        lessons.check_data_matrix,
        [
            (lambda i: standardised(i, 1), "other side"),
            (lambda i: standardised(i, 1).reshape(i[0].numel(), len(i)), "tears"),
            (lambda i: i.flatten(1).double().T, "not standardised"),
            (lambda i: standardised(i, 0).T, "each pixel"),
            (lambda i: ((i.double() - i.double().mean()) / i.double().std(correction=0)).flatten(1).T, "together"),
            (lambda i: (i.flatten(1).double() - i.flatten(1).double().mean(1, keepdim=True)).T, "not divided"),
        ],
    ),
    "compress": (
        lessons.check_compress,
        [
            (lambda x, r: top(x, r, power=0), "not scaled"),
            (lambda x, r: top(x, r, power=1), "its root"),
            (lambda x, r: top(x, r, largest=False), "ascending"),
            (lambda x, r: x[:, :r], "some images"),
            (lambda x, r: top(x, r).T, "one row a pixel"),
            (lambda x, r: torch.linalg.svd(x, full_matrices=False).Vh[:r].T, "one row a pixel"),
            (lambda x, r: top(x, r, 0) * top(x, r, 0.5, largest=False).norm(dim=0).flip(0), "other eigenvectors"),
        ],
    ),
    "attention": (
        lessons.check_attention,
        [
            (attention(lambda z: torch.sigmoid(z)), "not divided"),
            (attention(lambda z: torch.sigmoid(z) / torch.sigmoid(z).sum()), "by its sum"),
            (attention(lambda z: torch.sigmoid(z) / torch.sigmoid(z).max()), "highest"),
            (attention(lambda z: z / z.mean()), "sigmoid is missing"),
            (attention(lambda z: torch.sigmoid(z / z.mean())), "after the sigmoid"),
            (attention(lambda z: z.flatten().softmax(0).view(z.shape) * z.numel()), "over all pixels"),
            (attention(lambda z: torch.sigmoid(-z) / torch.sigmoid(-z).mean()), "the sign"),
            (attention(lambda z: torch.ones_like(z) + 0 * z), "compute it anew"),
            (attention(lambda z: one_on_average(z)[None, None]), "(H, W) was expected"),
            (attention(lambda z: one_on_average(z).detach()), "no gradient"),
            (attention(lambda z: None), "return"),
            (attention(lambda z: one_on_average(z) + 0.02 * drawn(z)), "by chance"),
            (attention(forward=lambda module, x: module.map() + x), "multiplies the image"),
            (attention(forward=lambda module, x: x), "as they were"),
            (attention(forward=lambda module, x: module.map() * module.map().max() * x), "off by"),
            (attention(forward=lambda module, x: torch.sigmoid(module.logits()) * x), "multiplies by m"),
            (attention(forward=not_yet), "forward(x) is not yet"),
        ],
    ),
    "training": (
        lessons.check_training,
        [
            (training(lambda t: t.optimiser.__dict__.update(zero_grad=nothing)), "zero_grad"),
            (training(lambda t: t.optimiser.__dict__.update(step=nothing)), "optimiser.step()"),
            (training(lambda t: t.schedule.__dict__.update(step=nothing)), "stay as they are"),
            (training(step_each_batch), "not of a batch"),
            (training(lambda t: vars(t).update(attention=torch.nn.Identity())), "left out"),
            (training(lambda t: vars(t).update(cnn=torch.nn.Sequential(t.cnn, torch.nn.Softmax(1)))), "takes logits"),
            (training(first_batches), "not always the first"),
            (training(result=lambda losses, images: losses.mean(1)), "is smaller"),
            (training(result=lambda losses, images: losses.sum(1)), "over batches"),
            (training(result=lambda losses, images: (losses * images).sum(1)), "over images"),
            (training(result=lambda losses, images: losses[:, -1]), "last batch"),
            (training(result=lambda losses, images: losses.flatten()), "one number a batch"),
            (training(result=lambda losses, images: None), "return"),
        ],
    ),
    "auroc": (
        lessons.check_auroc,
        [
            (lambda w, r: (pairs(w, r)[0] > pairs(w, r)[1]).double().mean(), "not as a loss"),
            (lambda w, r: (pairs(w, r)[0] >= pairs(w, r)[1]).double().mean(), "not as a whole"),
            (lambda w, r: (torch.sign(pairs(w, ~r)[0] - pairs(w, ~r)[1]).mean() + 1) / 2, "swapped"),
            (lambda w, r: w[r].sum() / w.sum(), "share"),
            (lambda w, r: ((w > 1) == r).double().mean(), "boundary, 1"),
            (lambda w, r: w[r].mean() - w[~r].mean(), "means"),
            (lambda w, r: (pairs(w + 1e-4 * drawn(w), r)[0] > pairs(w, r)[1]).double().mean(), "as half a win"),
        ],
    ),
    "sgd_step": (
        lessons.check_sgd_step,
        [
            (lambda x, g, lr: lr * x @ x.T @ g, "sign"),
            (lambda x, g, lr: -x @ x.T @ g, "learning rate"),
            (lambda x, g, lr: -lr * x.T @ g, "weights"),
            (lambda x, g, lr: -lr * g, "free map"),
            (lambda x, g, lr: -lr * x @ x.T @ x @ x.T @ g, "twice"),
            (lambda x, g, lr: -lr * x @ x.T @ g / len(g), "not a mean"),
            (lambda x, g, lr: (x @ x.T @ (-lr * g)).sum(), "shape"),
        ],
    ),
    "planted": (
        lessons.check_planted,
        [
            (lambda x, y, r, b: torch.where(of_one(y) & r, x + b, x), "start again at 0"),
            (lambda x, y, r, b: torch.where(of_one(y) & r, x.int() + b, x.int()), "brighter than white"),
            (lambda x, y, r, b: brightened(x, r, b), "all images have the patch"),
            (lambda x, y, r, b: torch.where(of_one(y), x, brightened(x, r, b)), "class 0 has the patch"),
            (lambda x, y, r, b: torch.where(of_one(y), brightened(x, r | ~r, b), x), "whole image"),
            (lambda x, y, r, b: torch.where(of_one(y), brightened(x, ~r, b), x), "everything but the region"),
            (lambda x, y, r, b: torch.where(of_one(y) & r, torch.tensor(b, dtype=torch.uint8), x), "replaced"),
            (lambda x, y, r, b: x, "nothing was changed"),
            (lambda x, y, r, b: x.copy_(brightened(x, r & of_one(y), b)), "work on a clone"),
            (lambda x, y, r, b: brightened(x, r & of_one(y), b).float(), "torch.uint8"),
            (lambda x, y, r, b: None, "return"),
        ],
    ),
    "guess": (
        lessons.check_guess,
        [
            (lambda strength, area, jitter, images: "gain", "always 'gain'"),
            (lambda strength, area, jitter, images: "gain" if strength > 0.05 else None, "returns nothing"),
            (lambda strength, area, jitter, images: strength > 0.05, "a bool came back"),
            (lambda strength, area, jitter, images: strength * area, "a float came back"),
            (lambda strength, area, jitter, images: "Gain" if jitter else "nothing", "'Gain' came back"),
            (lambda strength, area, jitter, images: ["gain"], "a list came back"),
        ],
    ),
    "shared_pooling": (
        lessons.check_shared_pooling,
        [
            (lambda x, m: torch.einsum("bchw,khw->bkc", x, m).flatten(1), "how many there are"),
            (lambda x, m: torch.einsum("bchw,khw->bck", x, m).flatten(1) / m[0].numel(), "order"),
            (lambda x, m: torch.einsum("bchw,khw->bkc", x, m) / m[0].numel(), "flatten it"),
            (lambda x, m: (x * m.mean(0)).mean((2, 3)), "averaged first"),
            (lambda x, m: (x * m[0]).mean((2, 3)), "only the first"),
            (lambda x, m: torch.einsum("bchw,khw->bk", x, m) / x[0].numel(), "channels"),
            (lambda x, m: x.mean((2, 3)).repeat(1, len(m)), "not used"),
            (lambda x, m: (x.flatten(2) @ m.flatten(1).softmax(1).T).transpose(1, 2).flatten(1), "softmax"),
        ],
    ),
    "corrected": (
        lessons.check_corrected,
        [
            (lambda a, b, r: ((a - b).mean(), (a - b).std() / len(a) ** 0.5), "not in it: this is"),
            (lambda a, b, r: ((a - b).mean(), (a - b).std() * r**0.5), "1/n is not"),
            (lambda a, b, r: ((a - b).mean(), (a - b).std() * (1 / len(a) + 1 / r) ** 0.5), "upside down"),
            (lambda a, b, r: ((a - b).mean(), (a - b).var() * (1 / len(a) + r)), "root"),
            (lambda a, b, r: ((a - b).mean(), ((a.var() + b.var()) * (1 / len(a) + r)) ** 0.5), "not paired"),
            (lambda a, b, r: ((a - b).mean(), (a - b).std(correction=0) * (1 / len(a) + r) ** 0.5), "degrees"),
            (lambda a, b, r: ((b - a).mean(), (a - b).std() * (1 / len(a) + r) ** 0.5), "sign"),
            (lambda a, b, r: (a - b).mean(), "shape"),
            (lambda a, b, r: None, "return"),
        ],
    ),
    "blank": (
        lessons.check_blank,
        [
            (lambda i, m: i * ~m, "black"),
            (lambda i, m: torch.where(m, i.mean((1, 2, 3), keepdim=True), i), "its own mean"),
            (lambda i, m: torch.where(m, i.mean(), i), "one number"),
            (lambda i, m: torch.where(m, i, i.mean(0)), "kept"),
            (lambda i, m: i.clone(), "as they were"),
            (lambda i, m: i.copy_(torch.where(m, i.mean(0), i)), "changed"),
        ],
    ),
    "chance": (
        lessons.check_chance,
        [
            (lambda low, draws: (draws <= low).double().mean(), "a draw too"),
            (lambda low, draws: (draws <= low).sum() / (len(draws) + 1), "above the line"),
            (lambda low, draws: ((draws <= low).sum() + 1) / len(draws), "below the line"),
            (lambda low, draws: ((draws < low).sum() + 1) / (len(draws) + 1), "<= and not <"),
            (lambda low, draws: ((draws >= low).sum() + 1) / (len(draws) + 1), "higher"),
            (lambda low, draws: draws <= low, "shape"),
            (lambda low, draws: (draws <= low).sum() + 1, "counts"),
        ],
    ),
    "chosen_scores": (
        lessons.check_chosen_scores,
        [
            (lambda loss, auroc: auroc.max(0).values, "can't judge"),
            (lambda loss, auroc: auroc.gather(0, loss.argmax(0, keepdim=True))[0], "lowest is wanted"),
            (lambda loss, auroc: loss.min(0).values, "loss came back"),
            (lambda loss, auroc: loss.argmin(0), "numbers of the trials"),
            (lambda loss, auroc: auroc[loss.mean(1).argmin()], "its own"),
            (lambda loss, auroc: auroc[range(3), loss.argmin(1)], "dim=0"),
            (lambda loss, auroc: auroc.gather(0, loss.argmin(0, keepdim=True)).mean(), "one score a fold"),
            (lambda loss, auroc: auroc.gather(0, loss.argmin(0, keepdim=True)), "shape"),
        ],
    ),
    "corrected_p": (
        lessons.check_corrected_p,
        [
            (lambda p: (p * len(p)).clamp(max=1), "Bonferroni"),
            (lambda p: stepped(p).cummax(0).values.clamp(max=1), "sorted values"),
            (lambda p: stepped(p).clamp(max=1)[p.argsort().argsort()], "running maximum"),
            (lambda p: stepped(p).cummax(0).values[p.argsort().argsort()], "above 1"),
            (
                lambda p: (
                    (p.sort().values * (torch.arange(len(p)) + 1)).cummax(0).values.clamp(max=1)[p.argsort().argsort()]
                ),
                "wrong way round",
            ),
            (lambda p: p.cummax(0).values, "of the products"),
            (lambda p: p, "nothing was corrected"),
            (lambda p: None, "return"),
        ],
    ),
    "smallest_shown": (
        lessons.check_smallest_shown,
        [
            (lambda d, n, r: student_t.ppf(0.95, n - 1) * (1 / n + r) ** 0.5 * d, "one-sided"),
            (lambda d, n, r: student_t.ppf(0.975, n - 1) * n**-0.5 * d, "ratio is not in it"),
            (lambda d, n, r: student_t.ppf(0.975, n - 1) * r**0.5 * d, "1/pairs is not"),
            (lambda d, n, r: (1 / n + r) ** 0.5 * d, "standard error"),
            (lambda d, n, r: student_t.ppf(0.975, n) * (1 / n + r) ** 0.5 * d, "degrees of freedom"),
            (lambda d, n, r: norm.ppf(0.975) * (1 / n + r) ** 0.5 * d, "normal"),
            (lambda d, n, r: 2 * student_t.ppf(0.975, n - 1) * (1 / n + r) ** 0.5 * d, "whole width"),
            (lambda d, n, r: student_t.ppf(0.975, n - 1) * (1 / n + r) * d, "root is missing"),
            (lambda d, n, r: "wide", "expected"),
        ],
    ),
    "pointing_game": (
        lessons.check_pointing_game,
        [
            (lambda m, r: r[m == m.max()].any(), "wins every game"),
            (lambda m, r: r.flatten()[m.argmax()], "in memory"),
            (lambda m, r: r[m == m.max()].sum() / r.sum(), "pixels of the region"),
            (lambda m, r: r[m == m.max()].sum(), "counts the hits"),
            (lambda m, r: m[r].sum() / m.sum(), "share of the weight"),
            (lambda m, r: r[m == m.max()].all(), "only if all"),
            (lambda m, r: r[m == m.max()].sum() / m.numel(), "all pixels of the map"),
            (lambda m, r: r.flatten()[(m + 1e-6 * drawn(m)).argmax()], "by chance"),
            (lambda m, r: None, "return"),
        ],
    ),
    "without": (
        lessons.check_without,
        [
            (
                lambda train, test, r: (filled(train, mean_of(train), r), filled(test, mean_of(test), r)),
                "their own mean",
            ),
            (lambda train, test, r: tuple(filled(s, mean_of(test), r) for s in (train, test)), "mean of the test"),
            (lambda train, test, r: tuple(filled(s, train.float().mean(), r) for s in (train, test)), "one grey level"),
            (lambda train, test, r: tuple(filled(s, 0.0, r) for s in (train, test)), "black"),
            (lambda train, test, r: tuple(filled(s, mean_of(train), ~r) for s in (train, test)), "everything but"),
            (lambda train, test, r: tuple(filled(s, mean_of(train), r | ~r) for s in (train, test)), "whole image"),
            (lambda train, test, r: (train, filled(test, mean_of(train), r)), "training images came back"),
            (lambda train, test, r: (filled(train, mean_of(train), r), test), "test images came back"),
            (lambda train, test, r: (train, test), "nothing was changed"),
            (lambda train, test, r: filled(train, mean_of(train), r), "training and the test images"),
            (lambda train, test, r: tuple(filled(s, mean_of(train), r).float() for s in (train, test)), "8 bits"),
            (lambda train, test, r: (train.masked_fill_(r, 0), test), "were changed"),
        ],
    ),
    "add_batch": (
        lessons.check_add_batch,
        [
            (lambda g, b: g + products(standardised(b, 1)), "makes a new matrix"),
            (lambda g, b: g.add_(products(b.flatten(1).double())), "not standardised"),
            (lambda g, b: g.add_(products(b.flatten(1).double() - b.flatten(1).double().mean(1, True))), "divided out"),
            (lambda g, b: g.add_(products(standardised(b, 0).nan_to_num())), "over its own pixels"),
            (lambda g, b: g.add_(products((b.double() - b.double().mean()) / b.double().std(correction=0))), "its own"),
            (lambda g, b: g.add_(products(standardised(b, 1)) / len(b)), "do not add up"),
            (lambda g, b: g.copy_(products(standardised(b, 1))), "overwrite"),
            (lambda g, b: g.add_(products(standardised(b, 1)) * 11 / 12), "correction=0"),
            (lambda g, b: g.add_(standardised(b, 1) @ standardised(b, 1).T), "pixels with pixels"),
            (lambda g, b: g.add_(products(b - b.mean(dim=1, keepdim=True))), ".float() first"),
            (lambda g, b: g.view(5, 5), "shape"),
        ],
    ),
    "network_seconds": (
        lessons.check_network_seconds,
        [
            (lambda p, k, rate: (k - 1) / k * 4 * p**2 / rate, "handed out"),
            (lambda p, k, rate: 2 * (k - 1) / k * p**2 / rate, "bytes, not numbers"),
            (lambda p, k, rate: 2 * (k - 1) / k * 4 * p / rate, "P x P"),
            (lambda p, k, rate: 2 * (k - 1) * 4 * p**2 / rate, "one piece of k"),
            (lambda p, k, rate: 2 * 4 * p**2 / rate, "k - 1 are enough"),
            (lambda p, k, rate: 2 * (k - 1) / k * 4 * p**2, "divide by the rate"),
            (lambda p, k, rate: None, "return"),
        ],
    ),
    "best_offset": (
        lessons.check_best_offset,
        [
            (lambda i, m, f: tuple(-step for step in fitting(i, m, f)), "signs are turned"),
            (lambda i, m, f: fitting(i, m, f)[::-1], "exchanged"),
            (lambda i, m, f: fitting(i, m, f, best=min), "worst fit"),
            (lambda i, m, f: (fitting(i, m, f, across=False)[0], 0), "only moves up and down"),
            (lambda i, m, f: tuple(step + f for step in fitting(i, m, f)), "these count from 0"),
            (lambda i, m, f: fitting(i, m, f, least=0), "to one side"),
            (lambda i, m, f: 3, "two numbers"),
            (lambda i, m, f: None, "return"),
        ],
    ),
    "verdict": (
        lessons.check_verdict,
        [
            (lambda mean, low, high: "helps" if mean > 0 else "hurts", "no verdict while"),
            (lambda mean, low, high: "hurts" if low > 0 else "helps" if high < 0 else NOTHING, "exchanged"),
            (lambda mean, low, high: "helps" if low > 0.005 else "hurts" if high < 0 else NOTHING, "a small gain"),
            (lambda mean, low, high: NOTHING if mean > -1 else "hurts", "a small gain"),
            (lambda mean, low, high: "helps" if low > 0 else NOTHING, "shows a difference"),
            (
                lambda mean, low, high: (
                    "helps" if low > 0 else "hurts" if high < 0 else "hurts" * (mean == 0) or NOTHING
                ),
                "holds 0",
            ),
            (lambda mean, low, high: None, "one of helps"),
        ],
    ),
}

# What the two questions to the inspector look at. Images 1, 3 and 4 are mistakes, of probability .6, .9 and .7.
SURE = torch.tensor([0.55, 0.6, 0.95, 0.9, 0.7])
MAPS = [torch.tensor(rows_).float() for rows_ in ([[1, 0, 2, 3]], [[1, 0, 2, 3]], [[0, 2, 1, 3]], [[0, 1, 2, 3]])]
PANEL = SimpleNamespace(
    scene=SimpleNamespace(
        probabilities=torch.stack([SURE, 1 - SURE], dim=1),
        right=torch.tensor([True, False, True, False, False]),
        passing=lambda class_name, right: [1, 3, 4],
        maps=[MAPS[0] * 0 + torch.tensor([[3, 2, 1, 0]]), *MAPS, MAPS[3]],
        kept_epoch=4,
    )
)
QUESTIONS = {  # check, right answer, wrong ones with a word that the complaint must hold
    "surest_mistake": (
        lessons.check_surest_mistake,
        3,
        [
            (0, "is right"),
            (2, "from 1"),
            (4, "one is surer"),
            (1, "from 0"),
            (7, "0 to 4"),
            (3.0, "whole number"),
            (True, "whole"),
        ],
    ),
    "settled": (
        lessons.check_settled,
        5,
        [
            (4, "count from 1"),
            (6, "an earlier epoch"),
            (1, "below"),
            (2, "below"),
            (0, "1 to 6"),
            (7, "1 to 6"),
            ("5", "whole number"),
            (0.9, "whole number"),
        ],
    ),
}


@pytest.mark.parametrize("as_written", [int, np.int64, torch.tensor])
@pytest.mark.parametrize("name", QUESTIONS)
def test_a_right_answer_to_a_question_to_the_inspector_is_accepted(name, as_written, capsys):
    check, right, _ = QUESTIONS[name]
    check(PANEL, as_written(right))
    assert capsys.readouterr().out.endswith("right.\n")


@pytest.mark.parametrize(
    ("check", "wrong", "word"), [(check, *pair) for check, _, all_ in QUESTIONS.values() for pair in all_]
)
def test_a_wrong_answer_to_a_question_is_rejected_with_the_mistake_by_name(check, wrong, word):
    with pytest.raises(WrongAnswer, match=re.escape(word)):
        check(PANEL, wrong)


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_question_without_an_answer_says_so_and_lets_the_notebook_run_on(name, capsys):
    QUESTIONS[name][0](PANEL, None)
    assert "not started" in capsys.readouterr().out


def test_where_no_prediction_is_wrong_the_question_says_so():
    scene = SimpleNamespace(**vars(PANEL.scene) | {"passing": lambda class_name, right: []})
    with pytest.raises(WrongAnswer, match="no prediction is wrong"):
        lessons.check_surest_mistake(SimpleNamespace(scene=scene), 0)


@pytest.mark.parametrize(
    ("check", "wrong", "word"),
    [
        pytest.param(check, wrong, word, id=f"{name}-{word}")
        for name, (check, all_) in WRONG.items()
        for wrong, word in all_
    ],
)
@pytest.mark.filterwarnings("ignore:Seems like `optimizer.step:UserWarning")
def test_a_wrong_answer_is_rejected_with_the_mistake_by_name(check, wrong, word):
    CHANCE.manual_seed(7)
    with pytest.raises(WrongAnswer, match=re.escape(word)):
        check(wrong)


@pytest.mark.parametrize("name", WRONG)
def test_an_untouched_exercise_says_so_and_lets_the_notebook_run_on(name, capsys):
    WRONG[name][0](not_yet)
    assert "not started" in capsys.readouterr().out


@pytest.mark.parametrize("name", WRONG)
def test_a_refusal_of_torch_is_not_taken_for_an_exercise_that_nobody_has_begun(name):
    """torch 2.15 refuses the mean of bytes by a NotImplementedError, which the stubs raise, too."""

    def refused(*_, **__):
        raise NotImplementedError("mean(): could not infer output dtype. Input dtype must be floating point")

    with pytest.raises(WrongAnswer, match=r"floating point|call \.float\(\) first"):
        WRONG[name][0](refused)


# Complaints that say what came, and not which mistake it was.
GENERAL = {"off by", "shape", "return", "expected"}


def test_every_check_of_the_package_rejects_six_wrong_answers_by_name():
    checks = {name.removeprefix("check_") for name in vars(lessons) if name.startswith("check_")}
    assert checks == set(WRONG) | set(QUESTIONS)
    named = {
        name: [word for _, word in entry[-1] if word not in GENERAL] for name, entry in (WRONG | QUESTIONS).items()
    }
    assert [name for name, words in named.items() if len(words) < 6] == []


@pytest.mark.parametrize(
    ("check", "right", "own"),
    [
        (lessons.check_attention, attention(), lesson_03.Attention),
        (lessons.check_training, training(), lesson_03.training),
        (lessons.check_auroc, lambda w, r: lesson_03.auroc(w, r), lesson_03.auroc),
        (lessons.check_sgd_step, lambda x, g, lr: lesson_03.sgd_step(x, g, lr), lesson_03.sgd_step),
    ],
)
def test_lesson_03_goes_on_with_what_the_learner_wrote_and_else_with_its_own(check, right, own):
    assert check(right) is right
    assert check(not_yet) is own


def exercises():
    """The folded solution of each exercise in the notebooks, and the check that follows it."""
    for path in NOTEBOOKS:
        solution = ""
        for cell in nbformat.read(path, as_version=4).cells:
            block = re.search(r"<summary>Solution</summary>\s*```python\n(.*?)```", cell.source, re.DOTALL)
            call = re.search(r"^(?:\w+ = )?lessons\.(check_\w+)\((?:panel, )?(\w+)\)$", cell.source, re.MULTILINE)
            if block:
                solution = block[1]
            elif call:
                yield pytest.param(solution, call[1], call[2], id=f"{path.stem[:2]}-{call[1]}")
                solution = ""


@pytest.mark.parametrize(("solution", "check", "function"), list(exercises()))
def test_the_folded_solution_passes_its_check(solution, check, function, capsys):
    names = {"torch": torch, "nn": torch.nn, "stability": stability, "panel": PANEL, "student_t": student_t}
    exec(solution, names)
    given = [PANEL] if check.removeprefix("check_") in QUESTIONS else []
    getattr(lessons, check)(*given, names[function])
    assert capsys.readouterr().out.endswith("right.\n")


def test_every_lesson_has_two_exercises_or_more():
    numbers = [parameter.id[:2] for parameter in exercises()]
    assert {path.stem[:2]: numbers.count(path.stem[:2]) >= 2 for path in NOTEBOOKS} == {
        path.stem[:2]: True for path in NOTEBOOKS
    }
    assert len(numbers) == len(WRONG) + len(QUESTIONS), "every check is used once"
