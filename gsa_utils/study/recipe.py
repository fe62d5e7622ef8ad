"""A recipe says all of one run of a comparison; a result, what came of it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from jaxtyping import Float
from torch import Tensor

from gsa_utils.arguments import bad_value, check_switch, check_whole, is_share, unknown_name
from gsa_utils.attention import CLASSIFIERS
from gsa_utils.files import checksum
from gsa_utils.networks.backbones import LAYERS
from gsa_utils.networks.local_attention import PEERS
from gsa_utils.training.checks import check_settings

# region: the true one as a constant map, where it is known; attentive: queries that ask each image, before its pooling;
# coordinates: no attention, but two more channels that say where a pixel is
ATTENTIONS = ["none", "free", *CLASSIFIERS, *PEERS, "region", "attentive", "coordinates"]
# Rankings that a training run of its own makes, and how that run differs; the others are functions of the images.
LEARNED = {
    "mlp": {"attention": "mlp"},
    "free": {"attention": "free"},
    "cbam": {"attention": "cbam"},
    "grad-cam": {"attention": "none"},
    "moved": {"attention": "mlp"},  # the same map, rolled elsewhere
    "shuffled": {"attention": "mlp", "shuffled": True},
}
# Where a marker of the side stands in kermany-chest, small and lower in one class, large and higher in the other; as
# much of the other edge; and where `Recipe.marker` plants one. First and last row and column, as shares.
RECTANGLES = {"marker": (0.02, 0.6, 0.0, 0.13), "opposite": (0.02, 0.6, 0.87, 1.0), "corner": (0.05, 0.2, 0.8, 0.95)}
RANKINGS = ["constant", "random", "centre", "anova", *RECTANGLES, *LEARNED]
NAMES = {"attention": ATTENTIONS, "backbone": list(LAYERS), "ranking": [None, *RANKINGS]}
LEAST = {"rank": 1, "shift": 0, "maps": 1, "jitter": 0}  # of whole numbers
LEAST_OR_ALL = dict.fromkeys(("size", "images", "train_images", "valid_images"), 1) | {"fold": 0}
FOLDS, VALID = 5, 0.2  # tested is one fold of so many; of the other people this share chooses
FIT_SETTINGS = ("epochs", "batch_size", "lr", "attention_lr", "weight_decay", "seed")
NUMBERS = ("strength", "area", "marker", "share")
SWITCHES = ("fast", "shuffled", "keep", "decoys")
CENTRE = (0.5, 0.4)  # of planted patches, as shares of height and width: in chests beside the heart


@dataclass(frozen=True)
class Recipe:
    """One run. `seed` picks the training images, the initial weights and the order of the images.

    Args:
        attention: one of ATTENTIONS; "region" shows the CNN the true region alone, as a reference.
        at: where a global map sits: "input", a layer of the backbone ("early", "middle", "late", "pool"), the name of a
            submodule, or "pooling", in place of the average. Local attention has places of its own.
        maps: how many maps, or queries of "attentive".
        fold: None for the set's own splits; or the one of FOLDS that is tested, when all its images are divided anew by
            people. `seed` then says how, and with the fold what the initial weights are.
        images: how many of the set there are before it is divided into folds; None for all.
        strength, area, jitter, decoys: what `plant_patch` plants into the images of a fold, around CENTRE; `area` is a
            share of the image, and 0 leaves the set as it is, with its own labels.
        marker: the agreement of the marker of this `strength` that `plant_marker` plants into the "corner" of the
            images of a fold, which keep their labels; 0 plants none.
        train_images, valid_images: how many, with the classes' shares kept; None for all.
        rank: of the pixel features; a set of fewer images has as many as these.
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
    maps: int = 1
    backbone: str = "small"
    size: int | None = None
    fold: int | None = None
    images: int | None = None
    strength: float = 0.0
    area: float = 0.0
    jitter: int = 0
    decoys: bool = False
    marker: float = 0.0
    train_images: int | None = None
    valid_images: int | None = None
    epochs: int = 30
    batch_size: int = 32
    lr: float = 5e-4
    attention_lr: float = 1e-2
    weight_decay: float = 0.0
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
        check_settings(**self.fit_settings)
        for argument, least in (LEAST | LEAST_OR_ALL).items():
            value = getattr(self, argument)
            if value is not None or argument not in LEAST_OR_ALL:
                check_whole(argument, value, least)
        self._check_kinds()
        self._check_combinations()

    def _check_kinds(self) -> None:
        if not isinstance(self.at, str):
            raise bad_value("at", repr(self.at), "a place by name")
        for argument in NUMBERS:
            if not is_share(value := getattr(self, argument)):
                raise bad_value(argument, repr(value), "a number from 0 to 1")
        for argument in SWITCHES:
            check_switch(argument, getattr(self, argument))

    def _check_combinations(self) -> None:
        if self.fold is not None and self.fold >= FOLDS:
            raise bad_value("fold", self.fold, f"a whole number below {FOLDS}")
        if self.area and self.fold is None:
            raise bad_value("area", self.area, "0 without a fold: patches are planted into sets that are divided anew")
        if self.marker and (self.fold is None or self.area):
            raise bad_value("marker", self.marker, "0 without a fold, and 0 where a patch is planted (area)")
        if self.share != 0 if self.ranking is None else not 0 < self.share < 1:
            raise bad_value("share", self.share, "a share of the pixels between 0 and 1 with a ranking, 0 without one")

    @property
    def fit_settings(self) -> dict[str, float]:
        """What `fit` is told."""
        return {name: getattr(self, name) for name in FIT_SETTINGS}

    @property
    def key(self) -> str:
        """A short name of this recipe for files."""
        return checksum(json.dumps(asdict(self), sort_keys=True))


@dataclass(frozen=True)
class Result:
    """What came of a run.

    Attributes:
        scores: on the test split; empty where the run failed.
        weight_map: the map after training, (H, W); of several maps the first. Without global attention, what explains
            the trained network: the mean Grad-CAM of the test images, or the mean of CBAM's maps over them; None where
            there is none.
        error: why the run failed, in one line.
        precision: what the CNN was computed in, "float32" or "bfloat16"; None where the run failed.
        made_with: date, torch, python, device, threads and commit of a run that was read from a table.
    """

    recipe: Recipe
    scores: dict[str, float]
    weight_map: Float[Tensor, "height width"] | None = None
    error: str | None = None
    precision: str | None = None
    made_with: Mapping[str, str] = field(default_factory=dict)
