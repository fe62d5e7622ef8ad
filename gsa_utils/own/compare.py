"""Does one shared map help on this set? A frozen pretrained network, average pooling against shared maps, fold by fold.

Both arms get six trials on each fold: two layers of the network, a later and an earlier one, each with three settings
(of weight decay for the average, of the maps' rate for the maps), chosen by the log-loss of tuning persons. Every image
is tested once in each repeat, by a head that has seen nobody of its fold.
"""

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import torch
from jaxtyping import Float, Float16
from torch import Tensor, nn

from gsa_utils.attention import GlobalPooling, GlobalSpatialAttention, WeightMap
from gsa_utils.evaluation.scores import scores
from gsa_utils.files import checksum, whole_file
from gsa_utils.images import ImageSet
from gsa_utils.pixels.features import pixel_features
from gsa_utils.probing.activations import frozen_activations
from gsa_utils.probing.heads import Head, build_head
from gsa_utils.probing.network import LAYERS, cut_network, network
from gsa_utils.probing.train import fit_head
from gsa_utils.splits import three_sides
from gsa_utils.study.comparison import FoldDifference, fold_difference
from gsa_utils.training.state import TrainingRun

GRIDS = (14, 28)  # places a side of the two layers
DECAYS, RATES = (1e-3, 1e-2, 1e-1), (0.01, 0.03, 0.1)
ARMS = {"average": DECAYS, "shared": RATES}
FOLDS, VALID, STEPS, RANK = 5, 0.2, 200, 64


@dataclass(frozen=True)
class Outcome:
    """One arm on one fold.

    Attributes:
        grid, setting: of the trial that was chosen.
        weight_map: (28, 28), the mean over the maps, or None of the average.
    """

    arm: str
    repeat: int
    fold: int
    grid: int
    setting: float
    valid_loss: float
    accuracy: float
    auroc: float
    loss: float
    trained_on: int
    tested_on: int
    weight_map: list[list[float]] | None


def compare_on(image_set: ImageSet, folder: Path, maps: int = 4, repeats: int = 2) -> Iterator[Outcome]:
    """Every arm on every fold, as they are done; what is in `folder` already is read, so that a later call goes on.

    The folder belongs to one set and one number of maps: for others its results are set aside.
    """
    path, done = folder / "folds.json", {}
    of = {"images": checksum("own", image_set.images, image_set.labels), "maps": maps}
    if image_set.groups is not None:
        of["persons"] = checksum("persons", image_set.groups)
    if path.exists():
        kept = _read(path)
        if kept.get("of") == of:
            found = [Outcome(**row) for row in kept["folds"]]
            done = {(one.arm, one.repeat, one.fold): one for one in found}
        else:
            path.replace(path.with_suffix(".other.json"))
    x: dict[int, Float16[Tensor, "n c h w"]] = {}
    for arm, repeat, fold in _cells(repeats):
        if (arm, repeat, fold) not in done:
            x = x or _activations(image_set, folder)
            done[arm, repeat, fold] = _on_fold(image_set, x, arm, repeat, fold, maps)
            _write(path, {"of": of, "folds": [asdict(one) for one in done.values()]})
        yield done[arm, repeat, fold]


def _write(path: Path, kept: dict) -> None:
    with whole_file(path) as file:
        file.write(json.dumps(kept | {"checksum": checksum(json.dumps(kept))}).encode())


def _read(path: Path) -> dict:
    """What `_write` wrote; nothing if it is damaged: then it is set aside as another set's would be."""
    try:
        kept = json.loads(path.read_text())
    except ValueError:
        return {}
    found = kept.pop("checksum", None) if isinstance(kept, dict) else None
    return kept if found and found == checksum(json.dumps(kept)) else {}


def _cells(repeats: int) -> Iterator[tuple[str, int, int]]:
    return ((arm, repeat, fold) for repeat in range(repeats) for fold in range(FOLDS) for arm in ARMS)


@cache
def _network() -> nn.Module:
    return network().to("cuda" if torch.cuda.is_available() else "cpu")


def _activations(image_set: ImageSet, folder: Path) -> dict[int, Float16[Tensor, "n c h w"]]:
    """Computed once and kept in the folder; where memory does not suffice, by half as many images at a time."""
    layers, batch_size = {grid: LAYERS[grid] for grid in GRIDS}, 8
    while True:
        try:
            kept = frozen_activations(
                _network(), image_set, list(layers.values()), folder=folder / "activations", batch_size=batch_size
            )
            return {grid: kept[layer] for grid, layer in layers.items()}
        except (MemoryError, torch.OutOfMemoryError):
            if batch_size == 1:
                raise
            batch_size //= 2


def measured_seconds(image_set: ImageSet, maps: int, repeats: int) -> tuple[float, int]:
    """What `compare_on` will take here, from a few images and steps that are measured; and its megabytes on disk."""
    some = image_set.subset(torch.arange(min(16, len(image_set))))
    layers, steps = [LAYERS[grid] for grid in GRIDS], 5
    frozen_activations(_network(), some, layers, progress=False)  # the first pass sets up what later ones have
    started = time.perf_counter()
    x = frozen_activations(_network(), some, layers, progress=False)
    passes = (time.perf_counter() - started) / len(some) * len(image_set)
    megabytes = sum(one.numel() * 2 for one in x.values()) / len(some) * len(image_set) / 1e6
    heads = 0.0
    for grid, layer in zip(GRIDS, layers, strict=True):
        batch = x[layer][torch.arange(64) % len(some)]  # a batch of a training
        features = _features(some, grid)
        for pooling in ("average", GlobalSpatialAttention(features, maps=maps)):
            head = build_head(batch, len(image_set.class_names), pooling)
            started = time.perf_counter()
            fit_head(head, batch, torch.arange(64) % len(image_set.class_names), steps=steps)
            heads += (time.perf_counter() - started) / steps * STEPS * len(RATES)
    return passes + heads * FOLDS * repeats, round(megabytes)


def _on_fold(image_set: ImageSet, x: Mapping[int, Tensor], arm: str, repeat: int, fold: int, maps: int) -> Outcome:
    train, valid, test = three_sides(image_set.labels, image_set.groups, FOLDS, fold, VALID, repeat)
    best: tuple[float, int, float, Head] | None = None
    for grid in GRIDS:
        features = _features(image_set.subset(train), grid) if arm == "shared" else None
        for setting in ARMS[arm]:
            torch.manual_seed(1000 * repeat + fold)
            pooling = "average" if features is None else GlobalSpatialAttention(features, maps=maps)
            head = trained_head(
                x[grid][train], image_set.labels[train], len(image_set.class_names), pooling, setting, repeat
            )
            loss = scores(logits(head, x[grid][valid]), image_set.labels[valid])["loss"] if head else float("inf")
            if best is None or loss < best[0]:
                best = loss, grid, setting, head
    loss, grid, setting, head = best
    if head is None:
        raise RuntimeError(f"{arm}, repeat {repeat}, fold {fold}: no trial ended with a number as its loss")
    found = scores(logits(head, x[grid][test]), image_set.labels[test])
    return Outcome(
        arm,
        repeat,
        fold,
        grid,
        setting,
        loss,
        **found,
        trained_on=len(train),
        tested_on=len(test),
        weight_map=_mean_map(head),
    )


def map_of_fold(image_set: ImageSet, x: Mapping[int, Tensor], fold: int, maps: int = 4) -> Float[Tensor, "h w"]:
    """The mean of the shared maps of one fold, (28, 28), as `compare_on` finds it."""
    return torch.tensor(_on_fold(image_set, x, "shared", 0, fold, maps).weight_map)


def _features(train: ImageSet, grid: int) -> Float[Tensor, "1 rank h w"]:
    size = min(grid, *train.images.shape[-2:])
    return pixel_features(train, min(RANK, len(train) * train.images.shape[1], size**2), size)


def trained_head(
    x: Float16[Tensor, "n c h w"], labels: Tensor, classes: int, pooling: WeightMap | str, setting: float, seed: int
) -> Head | None:
    """A head with this weight decay (average) or rate of its maps; None where its loss is no number."""
    head = build_head(x, classes, pooling)
    tuned = {"weight_decay": setting} if pooling == "average" else {"pooling_lr": setting}
    try:
        return fit_head(head, x, labels, steps=STEPS, seed=seed, **tuned)
    except RuntimeError:
        return None


@torch.inference_mode()
def logits(head: Head, x: Float16[Tensor, "n c h w"]) -> Float[Tensor, "n classes"]:
    return torch.cat([head(batch) for batch in x.split(128)]).cpu()


def _mean_map(head: Head) -> list[list[float]] | None:
    if not isinstance(head.pooling, GlobalPooling):
        return None
    finest = (max(GRIDS), max(GRIDS))  # folds may have chosen other layers: their maps are compared on one grid
    return head.pooling.attention.resized(finest).mean(dim=0).detach().cpu().tolist()


def final_model(image_set: ImageSet, folder: Path, outcomes: list[Outcome], maps: int) -> TrainingRun:
    """A network for new images: the arm that is not shown to be worse, trained on all persons.

    Shared maps where they help; else the average, which is simpler. Layer and setting are those that most folds chose.
    """
    arm = "shared" if difference(outcomes).low > 0 else "average"
    chosen = Counter((one.grid, one.setting) for one in outcomes if one.arm == arm)
    ((grid, setting), _), *_ = chosen.most_common()
    pooling = GlobalSpatialAttention(_features(image_set, grid), maps=maps) if arm == "shared" else "average"
    torch.manual_seed(0)
    x = _activations(image_set, folder)[grid]
    head = trained_head(x, image_set.labels, len(image_set.class_names), pooling, setting, 0)
    if head is None:
        raise RuntimeError(f"{arm}, trained on all images: the loss is no number")
    return TrainingRun.of(nn.Sequential(cut_network(grid), head.cpu()).eval(), image_set)


def difference(outcomes: list[Outcome], score: str = "auroc") -> FoldDifference:
    """Shared maps minus average pooling over the folds, with the corrected interval."""
    ours, theirs = ([one for one in outcomes if one.arm == arm] for arm in ("shared", "average"))
    ratio = sum(one.tested_on for one in ours) / sum(one.trained_on for one in ours)
    return fold_difference([getattr(one, score) for one in ours], [getattr(one, score) for one in theirs], ratio)
