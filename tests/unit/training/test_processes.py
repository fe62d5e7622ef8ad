"""Several processes, really launched: features of shards, training on one global batch, and workers that are killed."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
import several_processes as several
import torch
from accelerate import Accelerator
from several_processes import FEW, LENGTHS, MANY, TRAIN, VALID, plain_model, train
from timm.layers import BatchNormAct2d
from torch import nn
from torch.utils.data import DataLoader

from gsa_utils.attended import attend
from gsa_utils.attention import GlobalSpatialAttention
from gsa_utils.images import ImageSet
from gsa_utils.pixels import features as features_module
from gsa_utils.pixels.features import pixel_features
from gsa_utils.training.loop import fit
from gsa_utils.training.processes import mean_and_deviation, share_of_step, synchronise_batch_norm

ROOT = Path(__file__).parents[3]
SCRIPT = Path(several.__file__)


def fake(**attributes):
    """An accelerator that says it is one of several processes, or has a GPU, and launches nothing."""
    return Mock(spec=Accelerator, **attributes)


def launch(what, folder, processes=None):
    """Output and exit code of so many processes by torchrun, or of a script that starts its own."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)] if processes else []
    process = subprocess.Popen(
        [sys.executable, *torchrun, str(SCRIPT), what, str(folder)],
        cwd=ROOT,
        # One thread each, in the launcher too: a child that is forked from a process with more may hang.
        env={**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        return process.communicate(timeout=300)[0], process.returncode
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)  # upon which torchrun ends its workers
            process.wait(timeout=60)


def results(what, folder, processes):
    """What each process has saved, after making sure that they were so many, and knew of each other."""
    saved = [torch.load(folder / f"{what}-{index}.pt", weights_only=True) for index in range(processes)]
    assert len(list(folder.glob(f"{what}-*.pt"))) == processes
    assert [one["world size"] for one in saved] == [processes] * processes
    return [one["found"] for one in saved]


@pytest.fixture(scope="module", params=[2, 4], ids=["2 processes", "4 processes"])
def launched(request, tmp_path_factory):
    """Slow (15 s, 30 s for four) because each process must import torch, and they share the cores of one machine."""
    folder = tmp_path_factory.mktemp("several")
    output, code = launch("all", folder, request.param)
    assert code == 0, output
    return SimpleNamespace(
        count=request.param,
        features=results("features", folder, request.param),
        training=results("training", folder, request.param),
    )


def relative(a, b):
    """The largest difference, as a share of the largest entry."""
    return ((a - b).abs().max() / b.abs().max()).item()


def gram(features):
    rows = features.flatten(2)[0].T  # (P, K)
    return rows @ rows.T


# ---------------------------------------------------------------- pixel features of shards

SHARDS = ["even", "array", "uneven", "one has none", "one stream is empty", "streams", "after the errors"]


@pytest.mark.parametrize("kind", SHARDS)
def test_shards_give_the_features_of_the_whole_set(kind, launched):
    expected = pixel_features(MANY, 8)
    for found in launched.features:
        assert found[kind].shape == expected.shape
        assert relative(found[kind], expected) < 1e-5


def test_shards_of_fewer_images_than_pixels_and_of_colour_images_too(launched):
    for found in launched.features:
        assert relative(gram(found["few"]), gram(pixel_features(FEW, 8))) < 1e-5
        assert relative(found["colour"], pixel_features(several.COLOUR, 6, size=(5, 4))) < 1e-5


def test_every_process_has_the_same_features_to_the_last_bit(launched):
    shared = [*SHARDS, "few", "colour", "copies", "sketch", "sketch of streams"]
    for kind in shared:
        assert all(torch.equal(found[kind], launched.features[0][kind]) for found in launched.features), kind


def test_the_whole_set_in_every_process_counts_once(launched):
    """As copies, which are no heavier for being many, as the only one, and before torch.distributed is in use."""
    expected = pixel_features(MANY, 8)
    for found in launched.features:
        assert torch.equal(found["before"], expected)
        assert torch.equal(found["alone"], expected)
        assert torch.equal(found["alone, uncompressed"], pixel_features(FEW, None))
        assert relative(found["copies"], expected) < 1e-5
        assert relative(gram(found["few copies"]), gram(pixel_features(FEW, 8))) < 1e-5


def test_one_process_may_make_features_of_its_own_while_the_others_do_not(launched):
    assert torch.equal(launched.features[0]["in one process"], pixel_features(MANY[:: launched.count], 8))


def test_shards_of_a_sketch_give_the_sketch_of_the_whole_set(launched, monkeypatch):
    monkeypatch.setattr(features_module, "LARGEST_GRAM", 100)
    twice, once = pixel_features(MANY, 8), pixel_features(iter(MANY.split(9)), 8)
    for found in launched.features:
        assert relative(found["sketch"], twice) < 1e-5
        assert relative(found["sketch of streams"], once) < 1e-5
        # One pass where any process has no more than that.
        assert relative(found["sketch of a stream and arrays"], once) < 1e-5


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("sizes", ["images: got", "(9, 12), rank 8 in process 0", "(10, 12), rank 8 in process 1", "one grid"]),
        ("ranks", ["images: got", "rank 8 in process 0", "rank 9 in process 1", "one rank in all processes"]),
        ("rank", ["rank: got 51", "1 to 50", "50 images"]),
        ("no rank", ["rank: got None for the shards of", "expected a number", "sharded=False"]),
        ("nothing", ["images: got no images", "at least one batch"]),
        ("constant", ["images: got only constant images"]),
    ],
)
def test_what_does_not_fit_together_is_an_error_in_every_process(kind, words, launched):
    for found in launched.features:
        assert all(word in found["errors"][kind] for word in words), found["errors"][kind]


# ---------------------------------------------------------------- training


@pytest.fixture(scope="module")
def one_process():
    features = pixel_features(TRAIN, 4)
    return {name: train(plain_model(features), length) for name, length in LENGTHS.items()}


@pytest.fixture(scope="module")
def one_process_alike(launched):
    """In one process, on the features that the others made of their shards: an eigenvector may have the other sign
    there, so that the same initial weights are another pixel classifier."""
    return {
        name: train(plain_model(launched.training[0]["pixel features"]), length) for name, length in LENGTHS.items()
    }


@pytest.mark.parametrize("length", LENGTHS)
def test_the_same_global_batch_gives_the_same_losses_as_one_process(length, launched, one_process_alike):
    expected = one_process_alike[length].history
    assert abs(expected[0]["train_loss"] - expected[-1]["train_loss"]) > 1e-2  # it has learned, by far more than 1e-4
    for history, _ in (found[length] for found in launched.training):
        assert len(history) == 3
        for row, one in zip(history, expected, strict=True):
            assert row["train_loss"] == pytest.approx(one["train_loss"], abs=1e-4)
            assert row["valid_loss"] == pytest.approx(one["valid_loss"], abs=1e-4)
            assert row["valid_auroc"] == pytest.approx(one["valid_auroc"], abs=0.03)  # of 49 pairs, one may swap


@pytest.mark.parametrize("length", [*LENGTHS, "BatchNorm"])
def test_all_processes_end_with_the_same_weights_statistics_and_losses(length, launched):
    (first_history, first), *others = [found[length] for found in launched.training]
    for history, state in others:
        assert all(torch.equal(state[name], value) for name, value in first.items())
        losses = [[(row["train_loss"], row["valid_loss"]) for row in rows] for rows in (history, first_history)]
        assert losses[0] == losses[1]


def test_in_an_epoch_each_process_reads_its_own_images_and_all_together_each_image_once(launched):
    per_epoch = 48 // launched.count
    for epoch in range(3):
        parts = [found["seen"][epoch * per_epoch : (epoch + 1) * per_epoch] for found in launched.training]
        assert all(len(set(part)) == per_epoch for part in parts)
        assert len(set().union(*parts)) == 48


def test_a_memory_mapped_set_trains_like_the_same_set_in_memory(tmp_path, one_process):
    np.save(tmp_path / "images.npy", TRAIN.images.numpy())
    images = torch.from_numpy(np.load(tmp_path / "images.npy", mmap_mode="c"))
    mapped = ImageSet(images, TRAIN.labels, TRAIN.class_names)
    model = plain_model(pixel_features(mapped, 4))
    run = fit(model, mapped, VALID, epochs=3, batch_size=16, lr=1e-2, seed=3, progress=False)
    losses = [[row["train_loss"] for row in one.history] for one in (run, one_process["whole steps"])]
    assert losses[0] == losses[1]


def test_a_process_that_was_given_a_shard_to_train_on_is_told_so(launched):
    for found in launched.training:
        words = rf"train: got {48 // launched.count} images, labels .* in process 0; .*expected the same in all"
        assert re.match(words, found["errors"]["shards"]), found["errors"]["shards"]


def test_pixel_features_that_differ_between_processes_are_an_error(launched):
    for found in launched.training:
        words = "model: got pixel features .* in process 0; .*expected the same in all processes"
        assert re.match(words, found["errors"]["features"]), found["errors"]["features"]


@pytest.mark.parametrize(("last", "own"), [(8, [8]), (3, [3]), (16, [8, 8]), (13, [8, 5]), (9, [8, 1, 0, 0])])
def test_of_a_last_step_that_is_filled_up_each_process_counts_the_images_that_are_its_own(last, own):
    count = len(own)
    whole = 5 * 8 * count  # images in whole steps
    loader = DataLoader(range(whole + last), batch_size=8)
    loader.total_batch_size = 8 * count
    for index, mine in enumerate(own):
        accelerator, filled = fake(num_processes=count, process_index=index), last if count == 1 else 8
        assert share_of_step(0, 8, loader, accelerator) == (8, 8 * count)
        assert share_of_step(whole, filled, loader, accelerator) == (mine, last)


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_the_shares_of_the_processes_add_up_to_the_mean_and_deviation_of_the_set(processes, monkeypatch):
    whole, sums = TRAIN.images.float(), []
    accelerators = [
        fake(num_processes=processes, process_index=index, device="cpu", reduce=sums.append)
        for index in range(processes)
    ]
    for accelerator in accelerators[:-1]:
        with pytest.raises(AttributeError):  # nobody has reduced anything
            mean_and_deviation(TRAIN.images, accelerator)
    accelerators[-1].reduce = lambda mine: sum(sums, mine)
    mean, deviation = mean_and_deviation(TRAIN.images, accelerators[-1])
    assert mean == pytest.approx(whole.mean().item(), rel=1e-6)
    assert deviation == pytest.approx(whole.std().item(), rel=1e-6)


def test_a_process_without_a_share_of_the_images_adds_nothing():
    last = fake(num_processes=4, process_index=3, device="cpu", reduce=lambda mine: mine + torch.ones(3))
    assert mean_and_deviation(TRAIN.images[:3], last) == (1, 0)


# ---------------------------------------------------------------- BatchNorm

TWO_GPUS = fake(num_processes=2, device=torch.device("cuda"))  # as far as a machine without one can tell


def normed():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4))
    net.last = BatchNormAct2d(4)
    attention = GlobalSpatialAttention(torch.randn(1, 2, 8, 8))
    nn.init.normal_(attention.classifier[-1].weight)
    return attend(net, attention, at="last")


def test_batch_norm_becomes_synchronised_on_gpus_with_its_weights_activation_and_map():
    model, before = normed(), normed().state_dict()
    weights = {id(weight) for weight in model.parameters()}
    x = torch.randn(3, 1, 8, 8)
    expected, without = model.eval()(x), normed().detach().eval()(x)
    converted = synchronise_batch_norm(model, TWO_GPUS)
    kinds = [type(part) for part in converted.modules()]
    assert not {nn.BatchNorm2d, BatchNormAct2d} & set(kinds)
    assert sum(issubclass(kind, nn.SyncBatchNorm) for kind in kinds) == 2
    assert list(converted.state_dict()) == list(before)
    assert {id(weight) for weight in converted.parameters()} == weights
    y = converted.eval()(x)
    assert (y >= 0).all()  # the activation
    assert torch.allclose(y, expected, atol=1e-6)  # the map
    assert not torch.allclose(y, without, atol=1e-2)


@pytest.mark.parametrize(("processes", "device"), [(1, "cuda"), (2, "cpu"), (1, "cpu")])
def test_batch_norm_stays_what_it_is_elsewhere(processes, device):
    model = normed()
    accelerator = fake(num_processes=processes, device=torch.device(device))
    assert synchronise_batch_norm(model, accelerator) is model
    assert not any(isinstance(part, nn.SyncBatchNorm) for part in model.modules())


# ---------------------------------------------------------------- killed, and from a notebook


def ends_with_the_name_of_the_killed(job, folder):
    """A launch of two processes, one of which kills itself: over within a minute, with an error, and no results."""
    output, code = launch(job, folder, 2)
    assert time.time() - float((folder / "killed").read_text()) < 60
    assert code != 0
    assert "rank      : 1" in output
    assert "Signal 9 (SIGKILL) received" in output
    assert not list(folder.glob(f"{job}-*.pt"))


def test_a_worker_killed_in_mid_epoch_ends_the_launch_and_a_restart_goes_on(tmp_path, one_process):
    """Slow (20 s) because it takes two launches of two processes."""
    ends_with_the_name_of_the_killed("resumed", tmp_path)
    before = torch.load(tmp_path / "checkpoints" / "checkpoint.pt", weights_only=True)["history"]
    assert len(before) == 2

    output, code = launch("resumed", tmp_path, 2)
    assert code == 0, output
    for history, _ in results("resumed", tmp_path, 2):
        assert history[:2] == before  # seconds included: they were not trained again
        for kind in ("train_loss", "valid_loss"):
            uninterrupted = [row[kind] for row in one_process["whole steps"].history]
            assert [row[kind] for row in history] == pytest.approx(uninterrupted, abs=1e-4)


def test_a_worker_killed_in_mid_pass_ends_the_launch(tmp_path):
    """Slow (8 s) because it takes a launch of two processes."""
    ends_with_the_name_of_the_killed("killed_in_pass", tmp_path)


def test_two_processes_from_a_notebook_train_and_share_features(tmp_path, one_process):
    """Slow (8 s) because the launcher must be forked from a process without an Accelerator of its own."""
    output, code = launch("notebook", tmp_path)
    assert code == 0, output
    for history, _, features in results("notebook", tmp_path, 2):
        losses = [row["train_loss"] for row in history]
        assert losses == pytest.approx([row["train_loss"] for row in one_process["whole steps"].history], abs=1e-4)
        assert relative(features, pixel_features(MANY, 8)) < 1e-5
