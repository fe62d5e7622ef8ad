"""One run of a comparison: a recipe says all of it, `run` trains it and scores it."""

import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gsa_utils.arguments import bad_value, unknown_name, whole_number
from gsa_utils.attention import FreeMap, GlobalSpatialAttention, WeightMap, attend
from gsa_utils.datasets.load import load_image_set
from gsa_utils.evaluation import rankings
from gsa_utils.evaluation.knockout import blank
from gsa_utils.evaluation.maps import localisation
from gsa_utils.images import ImageSet
from gsa_utils.networks.backbones import PLACES, build_backbone
from gsa_utils.networks.local_attention import PEERS, add_local_attention
from gsa_utils.pixels.features import pixel_features
from gsa_utils.training.loop import TrainingRun, evaluate, fit

# hidden width and kernel of the pixel classifiers
CLASSIFIERS = {"logistic": (0, 1), "mlp": (32, 1), "pixel-cnn": (32, 3)}
# region: the true one as a constant map, where it is known
ATTENTIONS = ["none", "free", *CLASSIFIERS, *PEERS, "region"]
# Rankings that a training run of its own makes, and how that run differs; the others are functions of the images.
LEARNED = {
    "mlp": {"attention": "mlp"},
    "free": {"attention": "free"},
    "cbam": {"attention": "cbam"},
    "grad-cam": {"attention": "none"},
    "moved": {"attention": "mlp"},  # the same map, rolled elsewhere
    "shuffled": {"attention": "mlp", "shuffled": True},
}
RANKINGS = ["constant", "random", "centre", "anova", *LEARNED]
NAMES = {"attention": ATTENTIONS, "backbone": list(PLACES), "ranking": [None, *RANKINGS]}
LEAST = {"epochs": 1, "batch_size": 2, "rank": 1, "seed": 0, "shift": 0}  # of whole numbers
MAY_BE_ALL = ("size", "train_images", "valid_images")
LEAST |= dict.fromkeys(MAY_BE_ALL, 1)
SWITCHES = ("fast", "shuffled", "keep")


@dataclass(frozen=True)
class Recipe:
    """One run. `seed` picks the training images, the initial weights and the order of the images.

    Args:
        attention: one of ATTENTIONS; "region" shows the CNN the true region alone, as a reference.
        at: where a global map sits: "input", a place of the backbone ("early", "middle", "late", "pool"), or the name
            of a submodule. Local peers have places of their own.
        train_images, valid_images: how many, with the classes' shares kept; None for all.
        fast: compute the CNN in half precision where the processor does that itself (`native_bfloat16`), else in
            float32; a result says which it was.
        shift: every image is moved by up to so many pixels up or down and left or right, in all splits.
        shuffled: the labels of the training and validation images are dealt out anew at random.
        ranking, share, keep: before training, the `share` of pixels that `ranking` (one of RANKINGS, made under this
            recipe's settings) puts highest is blanked in all splits; with `keep` all the others are.
    """

    dataset: str
    attention: str = "none"
    at: str = "input"
    backbone: str = "small"
    size: int | None = None
    train_images: int | None = None
    valid_images: int | None = None
    epochs: int = 30
    batch_size: int = 32
    lr: float = 5e-4
    attention_lr: float = 1e-2
    rank: int = 64
    seed: int = 0
    fast: bool = False
    shift: int = 0
    shuffled: bool = False
    ranking: str | None = None
    share: float = 0.0
    keep: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.dataset, str):
            raise bad_value("dataset", repr(self.dataset), "the name of an image set")
        for argument, names in NAMES.items():
            if (value := getattr(self, argument)) not in names:
                raise unknown_name(argument, value, [name for name in names if name])
        for argument, least in LEAST.items():
            value = getattr(self, argument)
            if not whole_number(value, least) and not (value is None and argument in MAY_BE_ALL):
                raise bad_value(argument, repr(value), f"a whole number, at least {least}")
        for argument in SWITCHES:
            if not isinstance(value := getattr(self, argument), bool):
                raise bad_value(argument, repr(value), "true or false")
        for argument in ("lr", "attention_lr"):
            value = getattr(self, argument)
            if not isinstance(value, int | float) or not value > 0:
                raise bad_value(argument, repr(value), "a positive number")
        if self.share != 0 if self.ranking is None else not 0 < self.share < 1:
            raise bad_value("share", self.share, "a share of the pixels between 0 and 1 with a ranking, 0 without one")

    @property
    def fit_settings(self) -> dict[str, float]:
        """What `fit` is told."""
        return {name: getattr(self, name) for name in ("epochs", "batch_size", "lr", "attention_lr", "seed")}

    @property
    def key(self) -> str:
        """A short name of this recipe for files."""
        return f"{zlib.crc32(json.dumps(asdict(self), sort_keys=True).encode()):08x}"


@dataclass(frozen=True)
class Result:
    """What came of a run.

    Attributes:
        scores: on the test split; empty where the run failed.
        weight_map: the map after training, (H, W). Without global attention, what explains the trained network: the
            mean Grad-CAM of the test images, or the mean of CBAM's maps over them; None where there is none.
        error: why the run failed, in one line.
        precision: what the CNN was computed in, "float32" or "bfloat16"; None where the run failed.
        made_with: date, torch, python, threads and commit of a run that was read from a table.
    """

    recipe: Recipe
    scores: dict[str, float]
    weight_map: Float[Tensor, "height width"] | None = None
    error: str | None = None
    precision: str | None = None
    made_with: Mapping[str, str] = field(default_factory=dict)


def native_bfloat16() -> bool:
    """Whether the device that `fit` picks multiplies bfloat16 in hardware; where it does not, float32 is far faster.

    A CPU without AVX512-BF16 or AMX emulates it: a training step then takes 13 to 16 times as long as in float32.
    ATEN_CPU_CAPABILITY=avx2 in the environment (torch's own variable) makes a CPU that has it look like one without.
    """
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    has_avx512 = torch.backends.cpu.get_cpu_capability() == "AVX512"
    return (
        device.type == "cpu"
        and has_avx512
        and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    )


class Bfloat16(nn.Module):
    """A CNN that computes in bfloat16 with channels last, and returns float32 logits; its weights stay float32."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model.to(memory_format=torch.channels_last)

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch classes"]:
        x = x.contiguous(memory_format=torch.channels_last)
        with torch.autocast(x.device.type, torch.bfloat16):
            return self.model(x).float()


def build(recipe: Recipe, train: ImageSet) -> tuple[nn.Module, WeightMap | None]:
    """The untrained model of a recipe, and the global weight map in it if there is one."""
    torch.manual_seed(recipe.seed)
    channels, *size = train.images.shape[1:]
    model = build_backbone(recipe.backbone, channels, len(train.class_names), tuple(size))
    weight_map = None
    if recipe.attention in PEERS:
        model = add_local_attention(model, recipe.backbone, recipe.attention)
    elif recipe.attention != "none":
        weight_map = _weight_map(recipe, train)
        place = None if recipe.at == "input" else PLACES[recipe.backbone].get(recipe.at, recipe.at)
        model = attend(model, weight_map, place)
    return Bfloat16(model) if recipe.fast and native_bfloat16() else model, weight_map


def run(recipe: Recipe) -> Result:
    """Train on the recipe's images, keep the best validation epoch, and score it on the whole test split."""
    train, valid, test = images(recipe)
    model, weight_map = build(recipe, train)
    trained = fit(model, train, valid, **recipe.fit_settings, progress=False)
    best = trained.history[trained.best_epoch]
    scores = evaluate(trained.model, test) | {name: best[name] for name in ("valid_auroc", "valid_loss")}
    scores |= {"best_epoch": trained.best_epoch, "seconds": trained.seconds}
    final = weight_map.map().detach().cpu() if weight_map is not None else _explained(recipe, trained, test)
    if final is not None and train.region is not None:
        scores |= {f"map_{name}": score for name, score in localisation(final, train.region).items()}
    precision = "bfloat16" if isinstance(model, Bfloat16) else "float32"
    return Result(recipe, scores, final, precision=precision)


def images(recipe: Recipe) -> tuple[ImageSet, ImageSet, ImageSet]:
    """The training, validation and test images of a recipe, shifted, relabelled and blanked as it says."""
    train, valid, test = (load_image_set(recipe.dataset, split, recipe.size) for split in ("train", "val", "test"))
    train, valid = _some(train, recipe.train_images, recipe.seed), _some(valid, recipe.valid_images, recipe.seed)
    if recipe.shift:
        train, valid, test = (shifted(s, recipe.shift, recipe.seed + i) for i, s in enumerate((train, valid, test)))
    if recipe.shuffled:
        dealt = torch.Generator().manual_seed(recipe.seed)
        train, valid = (replace(s, labels=s.labels[torch.randperm(len(s), generator=dealt)]) for s in (train, valid))
    if recipe.ranking is not None:
        mask = rankings.top_pixels(ranking(recipe.ranking, recipe), recipe.share, recipe.seed)
        mean = train.images.float().mean(dim=0).round().to(torch.uint8)
        train, valid, test = (blank(s, ~mask if recipe.keep else mask, mean) for s in (train, valid, test))
    return train, valid, test


def ranking(name: str, recipe: Recipe) -> Float[Tensor, "height width"]:
    """One of RANKINGS for the training images of a recipe; a learned one is trained under the recipe's settings."""
    whole = replace(recipe, ranking=None, share=0.0, keep=False)
    if name in LEARNED:
        learned = _learned(replace(whole, **LEARNED[name]))
        return rankings.moved(learned, recipe.seed) if name == "moved" else learned
    if name not in RANKINGS:
        raise unknown_name("ranking", name, RANKINGS)
    if name == "random":
        return rankings.random(images(whole)[0], recipe.seed)
    return getattr(rankings, name)(images(whole)[0])


def shifted(image_set: ImageSet, furthest: int, seed: int) -> ImageSet:
    """Every image moved by its own random offset of up to `furthest` pixels; the border is repeated, nothing wraps."""
    count, _, height, width = image_set.images.shape
    generator = torch.Generator().manual_seed(seed)
    offsets = torch.randint(-furthest, furthest + 1, (2, count, 1), generator=generator)
    rows = (torch.arange(height) + offsets[0]).clamp(0, height - 1)  # (N, H)
    columns = (torch.arange(width) + offsets[1]).clamp(0, width - 1)  # (N, W)
    numbers = torch.arange(count)[:, None, None]
    moved = image_set.images.movedim(1, -1)[numbers, rows[:, :, None], columns[:, None, :]]  # (N, H, W, C)
    return replace(image_set, images=moved.movedim(-1, 1).contiguous())


@lru_cache(maxsize=64)  # the runs that blank other shares by the same ranking come one after another
def _learned(recipe: Recipe) -> Tensor:
    return run(recipe).weight_map


def _weight_map(recipe: Recipe, train: ImageSet) -> WeightMap:
    if recipe.attention in CLASSIFIERS:
        hidden, kernel_size = CLASSIFIERS[recipe.attention]
        return GlobalSpatialAttention(pixel_features(train, recipe.rank), hidden, kernel_size)
    weight_map = FreeMap(tuple(train.images.shape[-2:]))
    if recipe.attention == "region":
        if train.region is None:
            raise bad_value("attention", "'region'", f"a set whose region is known; {train.name} is none")
        weight_map.logit.data = torch.where(train.region, 6.0, -6.0)  # weights of 0.998 and 0.002
        weight_map.freeze()
    return weight_map


def _explained(recipe: Recipe, trained: TrainingRun, test: ImageSet) -> Tensor | None:
    if recipe.attention == "cbam":
        return rankings.mean_local_map(trained.model, test)
    return rankings.grad_cam(trained.model, test, recipe.backbone) if recipe.attention == "none" else None


def _some(image_set: ImageSet, count: int | None, seed: int) -> ImageSet:
    return image_set if count is None or count >= len(image_set) else image_set.split(count / len(image_set), seed)[0]
