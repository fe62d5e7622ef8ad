"""MedMNIST: what comes out of its files."""

import hashlib
import re

import numpy as np
import pytest

from gsa_utils.datasets.load import load_image_set
from gsa_utils.datasets.medmnist import flags, published
from gsa_utils.images import SPLITS


def test_the_table_holds_every_2d_set_with_one_label_an_image_in_every_size_from_the_record_on_zenodo():
    assert len(published()) == 18
    assert len(flags()) == 11
    for flag in flags():
        facts = published()[flag]
        assert facts["task"] in ("binary-class", "multi-class", "ordinal-regression")
        assert len(set(facts["labels"])) == len(facts["labels"]) > 1
        assert list(facts["files"]) == ["28", "64", "128", "224"]
        for size, source in facts["files"].items():
            name = flag if size == "28" else f"{flag}_{size}"
            assert source["url"] == f"https://zenodo.org/records/10519652/files/{name}.npz?download=1"
            assert re.fullmatch("[0-9a-f]{32}", source["md5"])
    every = [source["md5"] for flag in flags() for source in published()[flag]["files"].values()]
    assert len(set(every)) == 4 * 11


def test_the_sets_that_cannot_be_loaded_are_known_by_what_they_are():
    others = {flag: facts for flag, facts in published().items() if flag not in flags()}
    assert others.pop("chestmnist") == {"task": "multi-label"}
    assert all(flag.endswith("3d") and facts == {"task": "3D"} for flag, facts in others.items())


def test_colour_images_come_channels_first(publish, tmp_path):
    _, arrays = publish("retinamnist", colour=True)
    loaded = load_image_set("retinamnist", root=tmp_path)
    assert loaded.images.shape == (6, 3, 28, 28)
    assert np.array_equal(loaded.images[2, 1].numpy(), arrays["train_images"][2, :, :, 1])
    assert len(loaded.class_names) == 5


def test_pickled_objects_are_not_loaded(server, tmp_path, monkeypatch):
    path = tmp_path / "breastmnist.npz"
    np.savez(path, train_images=np.array([{}], dtype=object), train_labels=np.zeros((1, 1), np.uint8))
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setitem(published()["breastmnist"]["files"]["28"], "sha256", sha256)
    with pytest.raises(ValueError, match="allow_pickle"):
        load_image_set("breastmnist", root=tmp_path)


@pytest.mark.parametrize(("flag", "counts"), [("pneumoniamnist", (4708, 524, 624)), ("breastmnist", (546, 78, 156))])
def test_the_official_files_pass_their_checksum_and_give_the_official_splits(flag, counts, real_file, tree):
    folder = real_file(f"{flag}.npz").parent
    before = tree(folder)
    sets = [load_image_set(flag, split) for split in SPLITS]
    assert tuple(map(len, sets)) == counts
    assert all(s.images.shape[1:] == (1, 28, 28) and s.groups is None and s.name == flag for s in sets)
    assert tree(folder) == before
