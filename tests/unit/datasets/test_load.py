"""Image sets by name: what is refused, and that a name gets to its set."""

import pytest
import torch

from gsa_utils.datasets.load import load_image_set
from gsa_utils.datasets.phantoms import load_phantom


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": "pneumonia-mnist"}, ["name: got", "did you mean 'pneumoniamnist'", "london-faces", "phantom-chest"]),
        ({"name": "phantom-heart"}, ["name: got", "phantom-chest"]),
        ({"name": None}, ["name: got", "breastmnist"]),
        ({"name": "chestmnist"}, ["name: got", "multi-label", "pneumoniamnist"]),
        ({"name": "nodulemnist3d"}, ["name: got", "3D", "2D"]),
        ({"name": "breastmnist", "split": "tset"}, ["split: got", "did you mean 'test'"]),
        ({"name": "breastmnist", "size": 32}, ["size: got 32", "28, 64, 128, 224"]),
        ({"name": "breastmnist", "size": [28, 28]}, ["size: got [28, 28]"]),
        ({"name": "london-faces", "size": 97}, ["size: got 97", "1 to 96"]),
        ({"name": "london-faces", "size": 0}, ["size: got 0"]),
        ({"name": "chest"}, ["name: got", "kermany-chest", "nih-chest"]),
        ({"name": "kermany-chest", "size": 225}, ["size: got 225", "1 to 224"]),
        ({"name": "kermany-chest", "size": 64.0}, ["size: got 64.0", "a whole number"]),
        ({"name": "nih-chest", "size": 0}, ["size: got 0", "1 to 1024"]),
        ({"name": "nih-chest", "split": "valid"}, ["split: got 'valid'", "did you mean 'val'"]),
    ],
)
def test_a_wrong_argument_is_named_with_what_was_expected(arguments, words, tmp_path, tree):
    with pytest.raises(ValueError, match="expected") as caught:
        load_image_set(**arguments, root=tmp_path)
    assert all(word in str(caught.value) for word in words), caught.value
    assert not tree(tmp_path)


def test_a_phantom_is_the_generated_set_and_needs_no_folder(tmp_path, tree):
    generated, loaded = load_phantom("phantom-chest", "val", 16), load_image_set("phantom-chest", "val", 16, tmp_path)
    assert torch.equal(loaded.images, generated.images)
    assert torch.equal(loaded.region, generated.region)
    assert not tree(tmp_path)
