"""Small runs for the tests of this folder, and when two of them are the same."""

import torch
from torch import nn

from gsa_utils.attended import attend
from gsa_utils.attention import GlobalSpatialAttention
from gsa_utils.datasets.phantoms import make_phantom
from gsa_utils.pixels.features import pixel_features
from gsa_utils.training.loop import TrainingRun, fit

TRAIN, VALID = make_phantom("phantom-chest", 24, 16, seed=0), make_phantom("phantom-chest", 14, 16, seed=1)
FEATURES = pixel_features(TRAIN, rank=4)


def small_cnn(channels=1, classes=2, seed=0):
    """With BatchNorm and dropout: what can be forgotten between two epochs, and what draws random numbers."""
    torch.manual_seed(seed)
    net = nn.Sequential()
    net.first = nn.Sequential(nn.Conv2d(channels, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(4))
    net.second = nn.Sequential(nn.Conv2d(6, 6, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    net.drop, net.head = nn.Dropout(0.3), nn.Linear(6, classes)
    return net


def attended(features=FEATURES, hidden=3, at=None, seed=0):
    torch.manual_seed(seed)
    return attend(small_cnn(seed=seed), GlobalSpatialAttention(features, hidden), at)


def run(model=None, train=TRAIN, valid=VALID, **settings):
    usual = {"epochs": 4, "batch_size": 8, "seed": 3, "progress": False}
    return fit(attended() if model is None else model, train, valid, **usual | settings)


def same_run(one: TrainingRun, two: TrainingRun) -> bool:
    """Bit for bit, but for the seconds."""
    states = one.model.state_dict(), two.model.state_dict()
    rows = [[{k: v for k, v in row.items() if k != "seconds"} for row in r.history] for r in (one, two)]
    return (
        list(states[0]) == list(states[1])
        and all(torch.equal(states[0][name], states[1][name]) for name in states[0])
        and rows[0] == rows[1]
        and len(one.maps) == len(two.maps)
        and all(torch.equal(a, b) for a, b in zip(one.maps, two.maps, strict=True))
        and one.kept_epoch == two.kept_epoch
    )
