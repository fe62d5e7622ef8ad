"""MedMNIST: what comes out of its files."""

import hashlib

import numpy as np
import pytest

from gsa_utils.datasets.load import load_image_set
from gsa_utils.images import SPLITS


def test_colour_images_come_channels_first(publish, tmp_path):
    _, arrays = publish("retinamnist", colour=True)
    loaded = load_image_set("retinamnist", root=tmp_path)
    assert loaded.images.shape == (6, 3, 28, 28)
    assert np.array_equal(loaded.images[2, 1].numpy(), arrays["train_images"][2, :, :, 1])
    assert len(loaded.class_names) == 5


def test_pickled_objects_are_not_loaded(server, tmp_path, monkeypatch):
    from medmnist import INFO

    path = tmp_path / "breastmnist.npz"
    np.savez(path, train_images=np.array([{}], dtype=object), train_labels=np.zeros((1, 1), np.uint8))
    monkeypatch.setitem(INFO["breastmnist"], "MD5", hashlib.md5(path.read_bytes()).hexdigest())
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
