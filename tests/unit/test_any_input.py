"""Any value in the place of one argument of a public function works, or is refused in a line that names an argument.

Hypothesis draws the values, the same in every run; all other arguments are right. What works must not give NaN.
"""

import copy
import inspect
import math
import re

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import gsa_utils as gsa
from gsa_utils.datasets.phantoms import make_phantom
from gsa_utils.export.saved import save_model

TRAIN, VALID = make_phantom("phantom-chest", 12, 16, seed=0), make_phantom("phantom-chest", 8, 16, seed=1)
FEATURES = gsa.pixel_features(TRAIN, 4)
MAP = torch.rand(16, 16, generator=torch.Generator().manual_seed(0))
NET = gsa.build_backbone("small", 1, 2, 16).eval()
RUN = gsa.fit(gsa.build_backbone("small", 1, 2, 16), TRAIN, VALID, epochs=1, progress=False)
EACH = 40  # values for an argument

DTYPES = [torch.float32, torch.float64, torch.float16, torch.int64, torch.uint8, torch.bool, torch.complex64]
FILLS = [0.0, 1.0, 0.5, -1.0, 200.0, 1e38, math.nan, math.inf]


@st.composite
def tensors(draw):
    shape = draw(st.sampled_from([(), (0,), (3,), (16, 16), (1, 16), (2, 16, 16), (3, 1, 16, 16), (3, 1, 0, 16)]))
    dtype, fill = draw(st.sampled_from(DTYPES)), draw(st.sampled_from(FILLS))
    if not (dtype.is_floating_point or dtype.is_complex):
        fill = float(np.clip(np.nan_to_num(fill), 0, 255))
    tensor = torch.full(shape, fill).to(dtype)
    return tensor.numpy() if draw(st.booleans()) else tensor


SIMPLE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 40),
    st.sampled_from([10**6, 2**63, 10**400, -(10**400)]),
    st.floats(),
    st.complex_numbers(max_magnitude=2),
    st.text(max_size=8),
    st.binary(max_size=4),
    st.sampled_from(["small", "phantom-chest", "last", "../..", "\x1b[31m", "<b>", "a\x00b"]),
)
OBJECTS = st.sampled_from([object(), int, len, NET, RUN, TRAIN, TRAIN.images, FEATURES, np.int64(3), np.float32(0.5)])
ANYTHING = st.one_of(
    SIMPLE,
    tensors(),
    OBJECTS,
    st.lists(SIMPLE, max_size=3),
    st.tuples(SIMPLE, SIMPLE),
    st.dictionaries(st.text(max_size=2), SIMPLE, max_size=2),
    st.sets(st.integers(), max_size=2),
)
# Work that is done as often as this number says: a large one is right, and takes as long as it says.
LONG = {"count", "epochs", "shuffles", "in_channels", "num_classes", "hidden", "maps", "k", "kernel_size"}


def is_quick(value):
    return not isinstance(value, int) or value < 4 or value > 10**7


CALLS = {  # name -> (function, its right arguments)
    "ImageSet": (
        gsa.ImageSet,
        {"images": TRAIN.images, "labels": TRAIN.labels, "class_names": ("a", "b"), "groups": None, "region": None},
    ),
    "subset": (TRAIN.subset, {"indices": [0, 1]}),
    "split": (TRAIN.split, {"fraction": 0.5, "seed": 0}),
    "folds": (TRAIN.folds, {"k": 2, "seed": 0}),
    "make_phantom": (gsa.make_phantom, {"name": "phantom-chest", "count": 4, "size": 16, "seed": 0}),
    "load_image_set": (gsa.load_image_set, {"name": "phantom-chest", "split": "val", "size": 16}),
    "load_image_folder": (gsa.load_image_folder, {"path": "nowhere", "size": 16, "split": "train", "groups": None}),
    "plant_patch": (gsa.plant_patch, {"image_set": TRAIN, "region": TRAIN.region, "strength": 0.1, "seed": 0}),
    "plant_marker": (
        gsa.plant_marker,
        {"image_set": TRAIN, "region": TRAIN.region, "strength": 0.1, "agreement": 0.9, "seed": 0},
    ),
    "patch_region": (gsa.patch_region, {"size": 16, "area": 0.1, "centre": (0.5, 0.5)}),
    "pixel_features": (gsa.pixel_features, {"images": TRAIN, "rank": 4, "size": None}),
    "GlobalSpatialAttention": (
        gsa.GlobalSpatialAttention,
        {"features": FEATURES, "hidden": 4, "kernel_size": 1, "maps": 1},
    ),
    "FreeMap": (gsa.FreeMap, {"size": 16, "maps": 1}),
    "GlobalPooling": (gsa.GlobalPooling, {"attention": gsa.FreeMap(16)}),
    "attend": (gsa.attend, {"model": NET, "attention": gsa.FreeMap(16), "at": None}),
    "build_backbone": (
        gsa.build_backbone,
        {"name": "small", "in_channels": 1, "num_classes": 2, "image_size": 16, "pretrained": False},
    ),
    "fit": (
        gsa.fit,
        {"model": NET, "train": TRAIN, "valid": VALID, "epochs": 1, "batch_size": 64, "lr": 1e-3, "attention_lr": 0.1}
        | {"weight_decay": 0.01, "keep": "last", "seed": 0, "checkpoint_dir": None, "callbacks": (), "progress": False},
    ),
    "evaluate": (gsa.evaluate, {"model": NET, "image_set": VALID}),
    "predict": (gsa.predict, {"model": NET, "image_set": VALID}),
    "localisation": (gsa.localisation, {"weight_map": MAP, "region": TRAIN.region}),
    "effective_area": (gsa.effective_area, {"weight_map": MAP}),
    "stability": (gsa.stability, {"maps": [MAP, MAP]}),
    "alignment": (gsa.alignment, {"images": TRAIN.images}),
    "concentration": (gsa.concentration, {"image_set": TRAIN, "shuffles": 20}),
    "knock_out": (gsa.knock_out, {"model": NET, "image_set": VALID, "mask": TRAIN.region}),
    "frozen_activations": (gsa.frozen_activations, {"network": NET, "images": TRAIN, "layers": ["0"]}),
    "save_model": (save_model, {"run": RUN, "path": "nowhere/model", "metrics": None, "reader": None, "licence": ""}),
    "load_model": (gsa.load_model, {"path": "nowhere"}),
    "TrainingRun": (gsa.TrainingRun, {"model": NET, "history": [], "maps": [], "seconds": 1.0, "kept_epoch": 0}),
}
PAIRS = [
    pytest.param(name, argument, id=f"{name}-{argument}") for name, (_, right) in CALLS.items() for argument in right
]


def given_right(right):
    """The right arguments; a network of its own for what trains or changes it."""
    return right | ({"model": copy.deepcopy(NET)} if "model" in right else {})


NAN = {"stability"}  # of a constant map, as its docstring says
QUIET = {"derandomize": True, "deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}


def holds_nan(value):
    if isinstance(value, torch.Tensor):
        return bool(value.is_floating_point() and value.isnan().any())
    if isinstance(value, dict):
        return any(map(holds_nan, value.values()))
    return isinstance(value, float) and math.isnan(value)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "argument"), PAIRS)
def test_any_value_works_or_is_refused_by_an_arguments_name(name, argument, tmp_path, monkeypatch, record_property):
    function, right = CALLS[name]
    tried = []
    monkeypatch.chdir(tmp_path)  # relative paths land there
    names = inspect.signature(function).parameters
    values = ANYTHING.filter(is_quick) if argument in LONG else ANYTHING

    @settings(max_examples=EACH, **QUIET)
    @given(values)
    def check(value):
        tried.append(value)
        try:
            found = function(**(given_right(right) | {argument: value}))
        except gsa.DataUnavailable:
            return
        except (ValueError, TypeError, OSError, RuntimeError) as error:
            said = str(error)
        else:
            assert not holds_nan(found) or name in NAN, f"NaN from {argument} = {value!r}"
            return
        diverged = name == "fit" and "loss is not a number in epoch 0" in said
        assert diverged or re.match(rf"({'|'.join(names)})\b.*: (got|another)", said), said
        assert "\n" not in said

    try:
        check()
    finally:
        record_property("cases", len(tried))
