"""Image sets by name: what is refused, and that a name gets to its set."""

import pytest
import torch

from gsa_utils.datasets import load
from gsa_utils.datasets.load import load_image_set, load_whole
from gsa_utils.datasets.phantoms import load_phantom
from gsa_utils.images import SPLITS, ImageSet


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


def test_a_whole_set_is_all_its_splits_one_after_another():
    parts = [load_image_set("phantom-chest", split, 16) for split in SPLITS]
    whole = load_whole("phantom-chest", 16)
    assert torch.equal(whole.images, torch.cat([part.images for part in parts]))
    assert torch.equal(whole.labels, torch.cat([part.labels for part in parts]))
    assert torch.equal(whole.region, parts[0].region)
    assert (whole.name, whole.class_names, whole.groups) == ("phantom-chest", parts[0].class_names, None)


@pytest.fixture
def people(monkeypatch):
    """A set of 78 images of 12 people; person k has k images, all in one split."""
    groups = torch.arange(1, 13).repeat_interleave(torch.arange(1, 13))
    images = torch.arange(78, dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 4, 4).contiguous()
    split = {"train": groups % 3 == 0, "val": groups % 3 == 1, "test": groups % 3 == 2}

    def made_up(name, split_name, size=None):
        chosen = split[split_name]
        return ImageSet(images[chosen], images[chosen, 0, 0, 0].long() % 2, ("a", "b"), groups[chosen])

    monkeypatch.setattr(load, "load_image_set", made_up)
    return groups


def test_people_stay_with_their_images_when_splits_become_one_set(people):
    whole = load_whole("any")
    assert sorted(whole.images[:, 0, 0, 0].tolist()) == list(range(78))
    assert torch.equal(whole.groups, people[whole.images[:, 0, 0, 0].long()])


def test_some_of_a_set_are_whole_people_and_always_the_same(people):
    some, again = load_whole("any", images=40), load_whole("any", images=40)
    assert torch.equal(some.images, again.images)
    assert 25 <= len(some) <= 55
    for person in some.groups.unique():
        assert (some.groups == person).sum() == (people == person).sum()
    assert len(load_whole("any", images=78)) == len(load_whole("any", images=1000)) == 78
