"""Whatever is handed to a public function by mistake is refused in one line that begins with the argument's name."""

import numpy as np
import pytest
import torch

import gsa_utils as gsa
from gsa_utils.datasets.phantoms import make_phantom
from gsa_utils.study.recipe import Recipe

TRAIN, VALID = make_phantom("phantom-chest", 40, 16, seed=0), make_phantom("phantom-chest", 20, 16, seed=1)
FEATURES = gsa.pixel_features(TRAIN, 4)
MAP, REGION = torch.rand(16, 16, generator=torch.Generator().manual_seed(0)), TRAIN.region
SHORT = {"epochs": 1, "progress": False}


def net():
    return gsa.build_backbone("small", 1, 2, 16)


def weight_map():
    return gsa.GlobalSpatialAttention(FEATURES)


def trained():
    return gsa.fit(net(), TRAIN, VALID, **SHORT)


# argument -> calls that get it wrong
CASES = {
    "features": [
        lambda: gsa.GlobalSpatialAttention(FEATURES.numpy()),
        lambda: gsa.GlobalSpatialAttention(None),
        lambda: gsa.GlobalSpatialAttention(FEATURES[0]),
        lambda: gsa.GlobalSpatialAttention(FEATURES * float("nan")),
        lambda: gsa.GlobalSpatialAttention(FEATURES.double() * 1e300),  # infinite in the precision that is kept
        lambda: gsa.GlobalSpatialAttention(FEATURES.long()),
    ],
    "hidden": [lambda: gsa.GlobalSpatialAttention(FEATURES, hidden=-1)],
    "kernel_size": [lambda: gsa.GlobalSpatialAttention(FEATURES, kernel_size=2)],
    "maps": [
        lambda: gsa.stability(np.float32(0) + np.zeros(())),
        lambda: gsa.GlobalSpatialAttention(FEATURES, maps=0),
        lambda: gsa.stability(None),
        lambda: gsa.stability("ab"),
        lambda: gsa.stability([MAP]),
        lambda: gsa.stability([MAP.numpy(), MAP.numpy()]),
        lambda: gsa.stability([MAP, MAP[1:]]),
    ],
    "model": [
        lambda: gsa.attend("resnet", weight_map()),
        lambda: gsa.attend(None, weight_map()),
        lambda: gsa.evaluate(None, VALID),
        lambda: gsa.evaluate(trained(), VALID),
        lambda: gsa.predict(MAP, VALID),
        lambda: gsa.fit(None, TRAIN, VALID, **SHORT),
        lambda: gsa.fit(trained(), TRAIN, VALID, **SHORT),
        lambda: gsa.evaluate(torch.nn.Flatten(), VALID),
    ],
    "attention": [
        lambda: gsa.attend(net(), None),
        lambda: gsa.attend(net(), MAP),
        lambda: gsa.GlobalPooling(None),
        lambda: gsa.GlobalPooling(torch.nn.Identity()),
        lambda: Recipe("phantom-chest", attention="mpl"),
        lambda: Recipe("phantom-chest", attention=None),
    ],
    "at": [
        lambda: gsa.attend(net(), weight_map(), at=np.array([])),
        lambda: gsa.attend(net(), weight_map(), at=3),
        lambda: gsa.attend(net(), weight_map(), at="layer9"),
        lambda: Recipe("phantom-chest", at=3),
    ],
    "images": [
        lambda: gsa.ImageSet(TRAIN.images.numpy(), TRAIN.labels, ("a", "b")),
        lambda: gsa.ImageSet(None, None, None),
        lambda: gsa.ImageSet(TRAIN.images.float(), TRAIN.labels, ("a", "b")),
        lambda: gsa.pixel_features(None),
        lambda: gsa.pixel_features([1, 2]),
        lambda: gsa.alignment(None),
        lambda: gsa.alignment(TRAIN.images.numpy()),
        lambda: gsa.alignment(TRAIN.images[:1]),
        lambda: gsa.alignment(torch.full((3, 1, 4, 4), torch.inf)),
        lambda: gsa.alignment(torch.rand(3, 1, 0, 4)),
        lambda: gsa.alignment(torch.rand(3, 1, 4, 4).to(torch.complex64)),
    ],
    "labels": [
        lambda: gsa.ImageSet(TRAIN.images, TRAIN.labels.float(), ("a", "b")),
        lambda: gsa.ImageSet(TRAIN.images, TRAIN.labels[1:], ("a", "b")),
        lambda: gsa.ImageSet(TRAIN.images, TRAIN.labels + 1, ("a", "b")),
    ],
    "class_names": [
        lambda: gsa.ImageSet(TRAIN.images, TRAIN.labels, {"a", "b"}),  # in the order of their hashes
        lambda: gsa.ImageSet(TRAIN.images, TRAIN.labels, "ab"),
        lambda: gsa.ImageSet(TRAIN.images, TRAIN.labels, ("a", "a")),
        lambda: gsa.ImageSet(TRAIN.images, TRAIN.labels, (0, 1)),
        lambda: gsa.ImageSet(TRAIN.images, TRAIN.labels, None),
    ],
    "groups": [
        lambda: gsa.ImageSet(TRAIN.images[:2], TRAIN.labels[:2], ("a", "b"), groups=[[1], [1, 2]]),
        lambda: gsa.ImageSet(TRAIN.images, TRAIN.labels, ("a", "b"), groups=[1, 2]),
        lambda: gsa.ImageSet(TRAIN.images, TRAIN.labels, ("a", "b"), groups=[None] * 40),
    ],
    "region": [
        lambda: gsa.ImageSet(TRAIN.images, TRAIN.labels, ("a", "b"), region=REGION[1:]),
        lambda: gsa.localisation(MAP, REGION.float()),
        lambda: gsa.localisation(MAP, None),
        lambda: gsa.localisation(MAP, REGION[1:]),
        lambda: gsa.localisation(MAP, torch.zeros_like(REGION)),
        lambda: gsa.plant_patch(TRAIN, None, 0.1),
        lambda: gsa.plant_patch(TRAIN, REGION.numpy(), 0.1),
    ],
    "weight_map": [
        lambda: gsa.localisation(None, REGION),
        lambda: gsa.localisation(MAP.numpy(), REGION),
        lambda: gsa.localisation(MAP[None], REGION),
        lambda: gsa.localisation(-MAP, REGION),
        lambda: gsa.localisation(MAP * float("nan"), REGION),
        lambda: gsa.effective_area(None),
        lambda: gsa.effective_area(MAP.numpy()),
        lambda: gsa.effective_area(weight_map()),
        lambda: gsa.effective_area(0 * MAP),
    ],
    "mask": [
        lambda: gsa.knock_out(net(), VALID, MAP),
        lambda: gsa.knock_out(net(), VALID, REGION.numpy()),
        lambda: gsa.knock_out(net(), VALID, None),
    ],
    "image_set": [
        lambda: gsa.evaluate(net(), VALID.images),
        lambda: gsa.predict(net(), VALID.images),
        lambda: gsa.predict(net(), None),
        lambda: gsa.concentration(None),
        lambda: gsa.concentration(TRAIN.images),
        lambda: gsa.plant_patch(None, REGION, 0.1),
        lambda: gsa.plant_marker(TRAIN.images, REGION, 0.1, 0.9),
    ],
    "indices": [
        lambda: TRAIN.subset([99]),
        lambda: TRAIN.subset([]),
        lambda: TRAIN.subset(torch.tensor([0.5])),
        lambda: TRAIN.subset(REGION.flatten()[:40]),
    ],
    "fraction": [lambda: TRAIN.split(2, 0), lambda: TRAIN.split("half", 0), lambda: TRAIN.split(None, 0)],
    "k": [lambda: TRAIN.folds(1, 0), lambda: TRAIN.folds(True, 0), lambda: TRAIN.folds(41, 0)],
    "train": [lambda: gsa.fit(net(), None, VALID, **SHORT), lambda: gsa.fit(net(), TRAIN.images, VALID, **SHORT)],
    "valid": [lambda: gsa.fit(net(), TRAIN, None, **SHORT)],
    "epochs": [lambda: gsa.fit(net(), TRAIN, VALID, epochs=0), lambda: gsa.fit(net(), TRAIN, VALID, epochs="3")],
    "lr": [
        lambda: gsa.fit(net(), TRAIN, VALID, **SHORT, lr=3.4e37),
        lambda: gsa.fit(net(), TRAIN, VALID, **SHORT, lr=True),
        lambda: gsa.fit(net(), TRAIN, VALID, **SHORT, lr=float("nan")),
        lambda: Recipe("phantom-chest", lr=True),
    ],
    "keep": [lambda: gsa.fit(net(), TRAIN, VALID, **SHORT, keep="best"), lambda: Recipe("x", keep="no")],
    "callbacks": [lambda: gsa.fit(net(), TRAIN, VALID, **SHORT, callbacks=3)],
    "checkpoint_dir": [
        lambda: gsa.fit(net(), TRAIN, VALID, **SHORT, checkpoint_dir=3),
        lambda: gsa.fit(net(), TRAIN, VALID, **SHORT, checkpoint_dir="\0"),
    ],
    "name": [
        lambda: gsa.load_image_set(np.array([])),
        lambda: gsa.build_backbone(None, 1, 2, 32),
        lambda: gsa.build_backbone(["small"], 1, 2, 32),
        lambda: gsa.build_backbone("resnet50", 1, 2, 32),
        lambda: gsa.load_image_set(None),
        lambda: gsa.load_image_set(3),
    ],
    "in_channels": [lambda n=n: gsa.build_backbone("small", n, 2, 32) for n in (0, True, 1.5, "1")],
    "num_classes": [lambda n=n: gsa.build_backbone("small", 1, n, 32) for n in (1, "2", None)],
    "image_size": [lambda n=n: gsa.build_backbone("small", 1, 2, n) for n in (True, 8, "32", (32, 32, 3))],
    "size": [
        lambda: gsa.load_image_set("phantom-chest", size=10**6),  # terabytes
        lambda: make_phantom("phantom-chest", 4, 10**6),
        lambda: gsa.load_image_folder(".", 10**6),
        lambda: gsa.load_image_folder(".", None),
        lambda: gsa.FreeMap(0),
        lambda: gsa.FreeMap(None),
        lambda: gsa.patch_region(None, 0.1),
    ],
    "split": [lambda: gsa.load_image_set("phantom-chest", split=None)],
    "root": [lambda: gsa.load_image_set("breastmnist", root=3)],
    "path": [
        lambda: gsa.load_image_folder(None, 32),
        lambda: gsa.load_image_folder(3, 32),
        lambda: gsa.load_image_folder("~0", 32),
    ],
    "count": [lambda n=n: make_phantom("phantom-chest", n, 16) for n in ("4", 1, 2.5, None)],
    "area": [
        lambda: gsa.patch_region(16, 7e305),
        lambda: gsa.patch_region(8, "half"),
        lambda: gsa.patch_region(8, 2),
        lambda: Recipe("phantom-chest", fold=0, area="a", strength=0.1),
    ],
    "centre": [lambda: gsa.patch_region(8, 0.1, 3), lambda: gsa.patch_region(8, 0.1, (0.5, 2))],
    "strength": [
        lambda: gsa.plant_patch(TRAIN, REGION, "0.1"),
        lambda: gsa.plant_patch(TRAIN, REGION, -1),
        lambda: Recipe("phantom-chest", strength="a"),
    ],
    "agreement": [lambda n=n: gsa.plant_marker(TRAIN, REGION, 0.1, n) for n in (2, None, "most")],
    "seed": [
        lambda: gsa.plant_patch(TRAIN, REGION, 0.1, seed=-1),
        lambda: gsa.plant_patch(TRAIN, REGION, 0.1, seed=1.5),
        lambda: gsa.plant_marker(TRAIN, REGION, 0.1, 0.9, seed=True),
        lambda: gsa.fit(net(), TRAIN, VALID, **SHORT, seed=-1),
    ],
    "share": [lambda: Recipe("phantom-chest", ranking="anova", share=float("nan"))],
    "shuffled": [lambda: Recipe("phantom-chest", shuffled="no")],
    "x": [lambda: trained().model(VALID.images)],
    "shuffles": [lambda: gsa.concentration(TRAIN, shuffles=2)],
    "rank": [lambda n=n: gsa.pixel_features(TRAIN, rank=n) for n in (0, True, 1.5, 10**6)],
    "network": [
        lambda: gsa.frozen_activations(None, TRAIN, ["0"]),
        lambda: gsa.frozen_activations("vgg", TRAIN, ["0"]),
    ],
    "layers": [lambda: gsa.frozen_activations(net(), TRAIN, ["nowhere"])],
}
EACH = [pytest.param(name, call, id=f"{name}-{n}") for name, calls in CASES.items() for n, call in enumerate(calls)]


@pytest.mark.parametrize(("argument", "call"), EACH)
def test_a_mistaken_argument_is_refused_by_its_name(argument, call):
    with pytest.raises((ValueError, TypeError, gsa.DataUnavailable), match=rf"^{argument}: (got|another)") as refused:
        call()
    assert len(str(refused.value)) < 700
    assert "\n" not in str(refused.value)


def test_a_training_run_in_place_of_a_model_is_told_where_the_model_is():
    with pytest.raises(ValueError, match="model: got TrainingRun .*it holds one as .model"):
        gsa.evaluate(trained(), VALID)


def test_an_array_in_place_of_a_map_is_told_how_to_become_one():
    with pytest.raises(ValueError, match="weight_map: got a float32 ndarray .*torch.from_numpy makes one"):
        gsa.effective_area(np.ones((3, 3), dtype=np.float32))


@pytest.mark.parametrize("factor", [1e-300, 1e-38, 1e38, 1e150, 1e300, 1.79e308])
def test_intensities_far_from_any_picture_align_as_others_do(factor):
    images = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0)).double()
    assert gsa.alignment(images * factor) == pytest.approx(gsa.alignment(images), abs=1e-6)


@pytest.mark.parametrize("factor", [1e-300, 1e-38, 1e38, 1e150, 1e300, 1.79e308])
def test_a_map_on_any_scale_is_as_good_and_as_wide_as_itself(factor):
    assert gsa.localisation(MAP.double() * factor, REGION) == pytest.approx(gsa.localisation(MAP.double(), REGION))
    assert gsa.effective_area(MAP.double() * factor) == pytest.approx(gsa.effective_area(MAP.double()))
    assert gsa.stability([MAP.double() * factor, MAP]) == pytest.approx(1)
