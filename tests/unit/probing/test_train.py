"""Training a head: it learns what its pooling can read and no more, repeats to the bit, and minds its arguments."""

import pytest
import torch

from gsa_utils.attention import FreeMap
from gsa_utils.evaluation.scores import scores
from gsa_utils.probing.heads import build_head
from gsa_utils.probing.train import fit_head


def task(count=120, seed=0):
    """Activations (N, 2, 6, 6) whose class is told by one place only; its sign is hidden in the average by noise."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    x = torch.randn(count, 2, 6, 6, generator=random)
    x[:, 0, 1, 4] += 3.0 * (2 * labels - 1)
    return x, labels


def accuracy(pooling, **settings):
    torch.manual_seed(0)
    x, labels = task()
    head = fit_head(build_head(x, 2, pooling), x, labels, steps=300, **settings)
    new, truth = task(seed=1)
    with torch.no_grad():
        return scores(head(new), truth)["accuracy"]


def test_a_shared_map_finds_the_place_that_decides_where_the_average_cannot():
    average, shared = accuracy("average"), accuracy(FreeMap(6), pooling_lr=0.03)
    assert average < 0.75
    assert shared > 0.8


def test_the_map_of_a_trained_head_is_highest_at_that_place():
    torch.manual_seed(0)
    x, labels = task()
    head = fit_head(build_head(x, 2, FreeMap(6)), x, labels, steps=300, pooling_lr=0.03)
    assert head.pooling.attention.map().argmax() == 1 * 6 + 4


def test_the_same_seed_gives_the_same_bits_and_another_seed_other_batches():
    x, labels = task()
    weights = []
    for seed in (0, 0, 1):
        torch.manual_seed(0)
        weights.append(fit_head(build_head(x, 2, FreeMap(6)), x, labels, steps=20, seed=seed).linear.weight)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_weight_decay_shrinks_the_linear_layer_and_leaves_the_maps_alone():
    x, labels = task()
    norms, maps = [], []
    for weight_decay in (0.0, 10.0):
        torch.manual_seed(0)
        head = fit_head(build_head(x, 2, FreeMap(6)), x, labels, steps=50, pooling_lr=1e-9, weight_decay=weight_decay)
        norms.append(head.linear.weight.norm().item())
        maps.append(head.pooling.attention.map())
    assert norms[1] < norms[0] / 2
    assert torch.allclose(maps[0], maps[1], atol=1e-6)


@pytest.mark.parametrize("count", [2, 5, 64, 65])
def test_fewer_images_than_a_batch_are_all_used_and_a_last_one_alone_is_not(count):
    x, labels = task(count)
    head = fit_head(build_head(x, 2), x, labels, steps=3)
    assert torch.isfinite(head(x)).all()
    assert not head.training


def test_a_loss_that_is_no_number_is_said_with_the_rates():
    x, labels = task()
    x[0, 0, 0, 0] = float("nan")
    with pytest.raises(RuntimeError, match=r"the loss is nan after 5 steps: lower lr=0.01 or pooling_lr=0.5"):
        fit_head(build_head(task()[0], 2), x, labels, steps=5, pooling_lr=0.5)


def test_labels_that_do_not_fit_are_refused_by_name():
    x, labels = task()
    for wrong in (labels[:-1], labels + 1, labels.float()):
        with pytest.raises(ValueError, match="labels: got"):
            fit_head(build_head(x, 2), x, wrong)
    with pytest.raises(ValueError, match="activations: got 1 image, expected at least two"):
        fit_head(build_head(x, 2), x[:1], labels[:1])
