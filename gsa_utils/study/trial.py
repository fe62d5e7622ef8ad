"""One run of a comparison: the images of a recipe, its model, and what training and testing make of them."""

from dataclasses import replace
from functools import lru_cache
from statistics import fmean

import torch
from accelerate import PartialState
from jaxtyping import Float
from torch import Tensor, nn

from gsa_utils.arguments import bad_value, unknown_name
from gsa_utils.attended import attend
from gsa_utils.attention import CLASSIFIERS, FreeMap, GlobalPooling, GlobalSpatialAttention, WeightMap
from gsa_utils.datasets.load import load_image_set, load_whole
from gsa_utils.evaluation import rankings
from gsa_utils.evaluation.knockout import blank, mean_fill
from gsa_utils.evaluation.maps import effective_area, localisation
from gsa_utils.evaluation.saliency import grad_cam, mean_local_map
from gsa_utils.evaluation.scores import evaluate
from gsa_utils.images import SPLITS, ImageSet
from gsa_utils.networks.backbones import FAMILIES, LAYERS, build_backbone
from gsa_utils.networks.coordinates import build_with_coordinates
from gsa_utils.networks.local_attention import PEERS, add_local_attention
from gsa_utils.networks.pooling import AttentivePooling, replace_pooling
from gsa_utils.pixels.features import pixel_features
from gsa_utils.planting import patch_region, plant_marker, plant_patch
from gsa_utils.splits import three_sides
from gsa_utils.study.recipe import CENTRE, FOLDS, LEARNED, RANKINGS, RECTANGLES, VALID, Recipe, Result
from gsa_utils.training.loop import fit
from gsa_utils.training.state import TrainingRun


def native_bfloat16() -> bool:
    """Whether the device that `fit` picks multiplies bfloat16 in hardware; where it does not, float32 is far faster.

    A CPU without AVX512-BF16 or AMX emulates it: a training step then takes 13 to 16 times as long as in float32.
    ATEN_CPU_CAPABILITY=avx2 in the environment (torch's own variable) makes a CPU that has it look like one without.
    """
    device = PartialState().device
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
    torch.manual_seed(recipe.seed if recipe.fold is None else 1000 * recipe.seed + recipe.fold)
    channels, *size = train.images.shape[1:]
    make = build_with_coordinates if recipe.attention == "coordinates" else build_backbone
    model = make(recipe.backbone, channels, len(train.class_names), tuple(size))
    weight_map = None
    if recipe.attention in PEERS:
        model = add_local_attention(model, recipe.backbone, recipe.attention)
    elif recipe.attention == "attentive":
        _, linear = FAMILIES[recipe.backbone].head
        queries = AttentivePooling(model.get_submodule(linear).in_features, recipe.maps)
        model = replace_pooling(model, recipe.backbone, queries, recipe.maps)
    elif recipe.attention not in ("none", "coordinates"):
        weight_map = _weight_map(recipe, train)
        if recipe.at == "pooling":
            model = replace_pooling(model, recipe.backbone, GlobalPooling(weight_map), recipe.maps)
        else:
            place = None if recipe.at == "input" else LAYERS[recipe.backbone].get(recipe.at, recipe.at)
            model = attend(model, weight_map, place)
    return Bfloat16(model) if recipe.fast and native_bfloat16() else model, weight_map


def run(recipe: Recipe) -> Result:
    """Train on the recipe's images to the last epoch, and score the model on all images to be tested on."""
    train, valid, test = images(recipe)
    model, weight_map = build(recipe, train)
    trained = fit(model, train, valid, **recipe.fit_settings, progress=False)
    last = trained.history[-1]
    scores = evaluate(trained.model, test) | {name: last[name] for name in ("valid_auroc", "valid_loss")}
    scores |= {"seconds": trained.seconds, "trained_on": len(train), "tested_on": len(test)}
    if weight_map is None:
        final = _explained(recipe, trained, test)
    else:
        maps = weight_map.map().detach().cpu().reshape(-1, *weight_map.map().shape[-2:])
        scores["effective_area"] = fmean(map(effective_area, maps))
        final = maps[0]
    if final is not None and train.region is not None:
        scores |= {f"map_{name}": score for name, score in localisation(final, train.region).items()}
    precision = "bfloat16" if isinstance(model, Bfloat16) else "float32"
    return Result(recipe, scores, final, precision=precision)


def images(recipe: Recipe) -> tuple[ImageSet, ImageSet, ImageSet]:
    """The training, validation and test images of a recipe, shifted, relabelled and blanked as it says."""
    train, valid, test = _sides(recipe)
    train, valid = _some(train, recipe.train_images, recipe.seed), _some(valid, recipe.valid_images, recipe.seed)
    if recipe.shift:
        train, valid, test = (shifted(s, recipe.shift, recipe.seed + i) for i, s in enumerate((train, valid, test)))
    if recipe.shuffled:
        dealt = torch.Generator().manual_seed(recipe.seed)
        train, valid = (replace(s, labels=s.labels[torch.randperm(len(s), generator=dealt)]) for s in (train, valid))
    if recipe.ranking is not None:
        mask = rankings.top_pixels(ranking(recipe.ranking, recipe), recipe.share, recipe.seed)
        mean = mean_fill(train)
        train, valid, test = (blank(s, ~mask if recipe.keep else mask, mean) for s in (train, valid, test))
    return train, valid, test


def _sides(recipe: Recipe) -> tuple[ImageSet, ...]:
    """The set's own splits, or the sides of a fold."""
    if recipe.fold is None:
        return tuple(load_image_set(recipe.dataset, split, recipe.size) for split in SPLITS)
    whole = _whole(recipe.dataset, recipe.size, recipe.images)
    if recipe.area:
        region = patch_region(tuple(whole.images.shape[-2:]), recipe.area, CENTRE)
        whole = plant_patch(whole, region, recipe.strength, recipe.jitter, recipe.decoys, recipe.seed)
    if recipe.marker:
        region = rankings.rectangle(whole, RECTANGLES["corner"]).bool()
        whole = plant_marker(whole, region, recipe.strength, recipe.marker, recipe.seed)
    sides = three_sides(whole.labels, whole.groups, FOLDS, recipe.fold, VALID, recipe.seed)
    return tuple(whole.subset(side) for side in sides)


_whole = lru_cache(maxsize=4)(load_whole)


def ranking(name: str, recipe: Recipe) -> Float[Tensor, "height width"]:
    """One of RANKINGS for the training images of a recipe; a learned one is trained under the recipe's settings."""
    whole = replace(recipe, ranking=None, share=0.0, keep=False)
    if name in LEARNED:
        learned = _learned(replace(whole, **LEARNED[name]))
        return rankings.moved(learned, "far", recipe.seed) if name == "moved" else learned
    if name not in RANKINGS:
        raise unknown_name("ranking", name, RANKINGS)
    if name == "random":
        return rankings.random(images(whole)[0], recipe.seed)
    if name in RECTANGLES:
        return rankings.rectangle(images(whole)[0], RECTANGLES[name])
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
        rank = min(recipe.rank, len(train) * train.images.shape[1])  # few people in a fold leave few images
        return GlobalSpatialAttention(pixel_features(train, rank), hidden, kernel_size, recipe.maps)
    weight_map = FreeMap(tuple(train.images.shape[-2:]), recipe.maps)
    if recipe.attention == "region":
        if train.region is None:
            raise bad_value("attention", "'region'", f"a set whose region is known; {train.name} is none")
        weight_map.logit.data.copy_(torch.where(train.region, 6.0, -6.0))  # outside a 400th of the weight inside
        weight_map.freeze()
    return weight_map


def _explained(recipe: Recipe, trained: TrainingRun, test: ImageSet) -> Tensor | None:
    if recipe.attention == "cbam":
        return mean_local_map(trained.model, test)
    return grad_cam(trained.model, test, LAYERS[recipe.backbone]["pool"]) if recipe.attention == "none" else None


def _some(image_set: ImageSet, count: int | None, seed: int) -> ImageSet:
    return image_set if count is None or count >= len(image_set) else image_set.split(count / len(image_set), seed)[0]
