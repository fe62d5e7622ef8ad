"""Phantoms: the same bytes on every machine, and a class that shows inside the known region and nowhere else."""

import hashlib

import numpy as np
import pytest
import torch

from gsa_utils.datasets.phantoms import load_phantom, make_phantom

# sha256 of images, labels and region, made by `fingerprint`; a change of the drawings changes them all. To renew:
#   python -c "from tests.unit.test_phantoms import *; print(*((n, fingerprint(n)) for n in PINS), sep='\n')"
PINS = {
    "phantom-chest": "9641542348067104486a73bc615b2b5d86617cab053fdf32098b6a9dc19f4844",
    "phantom-retina": "105238c4c3ce187d0f9be72a927a363c3491b36cffd176035b316bf9223ab99e",
    "phantom-face": "5a1d2195025bb2a895cca8f44330e3a538d655be118f2a392c109ed7decfcba7",
}
SIZES = [16, 17, 28, 32, 48, 64, (16, 40), (50, 20)]


def fingerprint(name):
    drawn = make_phantom(name, 6, size=(20, 24), seed=3)
    parts = (drawn.images, drawn.labels, drawn.region)
    return hashlib.sha256(b"".join(part.numpy().tobytes() for part in parts)).hexdigest()


@pytest.mark.parametrize("name", PINS)
def test_the_same_call_gives_the_same_bytes_on_any_machine(name):
    assert fingerprint(name) == PINS[name]


@pytest.mark.parametrize("name", PINS)
def test_the_bytes_do_not_depend_on_the_global_random_states_nor_change_them(name):
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    first, state = make_phantom(name, 4, 16), torch.get_rng_state()
    drawn = np.random.random_sample()  # noqa: NPY002
    np.random.seed(1)  # noqa: NPY002
    assert drawn == np.random.random_sample()  # noqa: NPY002
    torch.manual_seed(2)
    second = make_phantom(name, 4, 16)
    assert torch.equal(first.images, second.images)
    torch.manual_seed(1)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("name", PINS)
def test_another_seed_gives_other_images_of_the_same_region(name):
    first, second = (make_phantom(name, 10, 24, seed=seed) for seed in (0, 1))
    assert (first.images != second.images).flatten(1).float().mean(dim=1).min() > 0.5
    assert torch.equal(first.region, second.region)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", PINS)
def test_opposite_classes_differ_inside_the_region_and_nowhere_else(name, size):
    drawn = make_phantom(name, 12, size, seed=5)
    opposite = make_phantom(name, 12, size, seed=5, labels=1 - drawn.labels)
    differs = (drawn.images != opposite.images)[:, 0]  # (N, H, W)
    assert not differs[:, ~drawn.region].any()
    assert differs[:, drawn.region].float().mean(dim=1).min() > 0.9  # of the region's pixels, in every image
    assert torch.equal(opposite.labels, 1 - drawn.labels)


@pytest.mark.parametrize("name", PINS)
def test_labels_given_as_they_would_be_drawn_change_nothing(name):
    drawn = make_phantom(name, 7, 16, seed=5)
    again = make_phantom(name, 7, 16, seed=5, labels=drawn.labels.clone())
    assert torch.equal(drawn.images, again.images)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", PINS)
def test_every_size_gives_grey_images_with_some_pixels_inside_the_region_and_most_outside(name, size):
    drawn = make_phantom(name, 3, size)
    height, width = (size, size) if isinstance(size, int) else size
    assert drawn.images.shape == (3, 1, height, width)
    assert drawn.region.shape == (height, width)
    assert 0 < drawn.region.float().mean() < 0.5
    assert drawn.images.flatten(1).float().std(dim=1).min() > 10  # a picture, not a blank
    assert drawn.name == name


@pytest.mark.parametrize("name", PINS)
def test_few_pixels_are_clipped_to_black_or_white(name):
    images = make_phantom(name, 50, 32).images
    clipped = ((images == 0) | (images == 255)).float().mean(dim=0)[0]  # (H, W)
    region = make_phantom(name, 2, 32).region
    assert clipped[region].max() < 0.1


@pytest.mark.parametrize("count", [2, 7, 100])
@pytest.mark.parametrize("name", PINS)
def test_both_classes_come_equally_often_in_an_order_of_their_own(name, count):
    labels = make_phantom(name, count, 16).labels
    assert abs(int((2 * labels - 1).sum())) <= 1
    assert count < 100 or len(set(labels[::2].tolist())) == 2


@pytest.mark.parametrize("name", PINS)
def test_the_three_splits_have_their_sizes_and_no_image_in_common(name):
    splits = [load_phantom(name, split, 16) for split in ("train", "val", "test")]
    assert [len(split) for split in splits] == [300, 150, 600]
    assert [split.class_counts for split in splits] == [[150, 150], [75, 75], [300, 300]]
    seen = [image.numpy().tobytes() for split in splits for image in split.images]
    assert len(set(seen)) == 1050
    assert load_phantom(name).images.shape[-2:] == (32, 32)


@pytest.mark.parametrize(
    ("argument", "call", "words"),
    [
        ("name", lambda: make_phantom("phantom-cheast", 4), ["did you mean 'phantom-chest'", "phantom-retina"]),
        ("name", lambda: make_phantom("face", 4), ["phantom-face", "phantom-chest"]),
        ("name", lambda: load_phantom("phantom-eye"), ["one of phantom-chest"]),
        ("split", lambda: load_phantom("phantom-chest", "valid"), ["did you mean 'val'"]),
        ("size", lambda: make_phantom("phantom-chest", 4, 15), ["got 15", "16"]),
        ("size", lambda: make_phantom("phantom-chest", 4, (32, 8)), ["(32, 8)", "16"]),
        ("size", lambda: load_phantom("phantom-chest", size=0), ["got 0", "positive"]),
        ("count", lambda: make_phantom("phantom-chest", 1), ["got 1", "at least 2"]),
        ("labels", lambda: make_phantom("phantom-chest", 4, labels=torch.tensor([0, 1])), ["(2,)", "4 labels"]),
        ("labels", lambda: make_phantom("phantom-chest", 2, labels=torch.tensor([0, 2])), ["0 or 1"]),
        ("labels", lambda: make_phantom("phantom-chest", 2, labels=torch.tensor([0, -1])), ["0 or 1"]),
        ("labels", lambda: make_phantom("phantom-chest", 2, labels=torch.tensor([0.0, 1.0])), ["float32", "int64"]),
        ("labels", lambda: make_phantom("phantom-chest", 2, labels=[0, 1]), ["list"]),
    ],
)
def test_a_wrong_argument_is_refused_by_name(argument, call, words):
    with pytest.raises(ValueError, match=f"^{argument}: got .*expected ") as caught:
        call()
    assert all(word in str(caught.value) for word in words), caught.value
