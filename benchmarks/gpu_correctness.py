"""Does what the package computes on a device agree with what it is defined as, computed on the CPU in float64?

`gpu_check.py` runs these checks on a GPU; the tests run them on the CPU. What is compared with is never the same code
in the same precision, so that each check can fail on a CPU too. Differences are shares of the largest number expected.
"""

import copy
import io
import os
import shutil
import sysconfig
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from gsa_utils import (
    FreeMap,
    GlobalPooling,
    GlobalSpatialAttention,
    ImageSet,
    attend,
    build_backbone,
    make_phantom,
    pixel_features,
)
from gsa_utils.attention import CLASSIFIERS, WeightMap
from gsa_utils.networks.backbones import FAMILIES, LAYERS

SIDE, RANK, CHECKS = 20, 8, {}
MAPS, NETWORKS = 2e-5, 1e-4  # allowed differences, where a library may choose how it adds up


class Skipped(Exception):
    """What a check needs is not there; the message names it."""


@dataclass
class Bench:
    """The device that is checked, and how far its numbers were off.

    Args:
        backend: of torch.compile; "inductor" makes machine code, "aot_eager" goes as far as that and is quicker.
    """

    device: torch.device
    backend: str = "inductor"
    worst: float = 0.0

    def there(self, module: nn.Module) -> nn.Module:
        """A copy on the device."""
        return copy.deepcopy(module).to(self.device)

    def agree(self, what: str, found: Tensor, expected: Tensor, tolerance: float) -> None:
        """Raise an AssertionError where a number is off by more than this share of the largest one expected."""
        found, expected = found.detach().cpu().double(), expected.detach().cpu().double()
        if found.shape != expected.shape:
            raise AssertionError(f"{what}: shape {tuple(found.shape)}, expected {tuple(expected.shape)}")
        if not expected.any():
            raise AssertionError(f"{what}: nothing but zeros is expected, which shows nothing")
        off = ((found - expected).abs().max() / expected.abs().max()).item()
        if not off <= tolerance:  # NaN is no agreement
            raise AssertionError(f"{what}: off by {off:.1e} of the largest number, allowed {tolerance:.0e}")
        self.worst = max(self.worst, off)

    def is_there(self, what: str, found: Tensor) -> None:
        if found.device.type != self.device.type:
            raise AssertionError(f"{what} lies on {found.device}, expected {self.device}")


def check(function: Callable[[Bench], str | None]) -> Callable[[Bench], str | None]:
    """Enter a check by its name; it raises where something is wrong, and may return a remark."""
    CHECKS[function.__name__.replace("_", " ")] = function
    return function


def run_check(name: str, bench: Bench) -> tuple[str, str, float]:
    """Its verdict ("ok", "FAILED" or "skipped"), a remark, and its seconds; nothing is raised."""
    started, bench.worst = time.perf_counter(), 0.0
    try:
        remark = CHECKS[name](bench) or f"largest difference {bench.worst:.1e}"
        verdict = "ok"
    except Skipped as reason:
        verdict, remark = "skipped", str(reason)
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        ours = package in ("", "gsa_utils")
        verdict, remark = ("FAILED", str(error)) if ours else ("skipped", f"package {package} is missing")
    except Exception as error:  # the other checks go on
        verdict, remark = "FAILED", " ".join(f"{type(error).__name__}: {error}".split())[:400]
    return verdict, remark, time.perf_counter() - started


# ---------------------------------------------------------------- what is checked


@cache
def phantoms(count: int = 96, seed: int = 0) -> ImageSet:
    return make_phantom("phantom-chest", count, SIDE, seed)


def randomised(module: nn.Module, seed: int = 0) -> nn.Module:
    """With weights drawn anew: a map that starts uniform would hide every mistake."""
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in module.parameters():
            weight.copy_(0.5 * torch.randn(weight.shape, generator=random))
    return module


def some_maps() -> Iterator[tuple[str, WeightMap]]:
    """Every kind of map, one and three of them."""
    features = torch.randn(1, RANK, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    for maps in (1, 3):
        for name, (hidden, kernel_size) in CLASSIFIERS.items():
            yield f"{name}, {maps}", randomised(GlobalSpatialAttention(features, hidden, kernel_size, maps))
        yield f"free, {maps}", randomised(FreeMap(SIDE, maps))


def numbers(*shape: int, seed: int = 2) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def attended_cnn(at: str | None = None, features: Tensor | None = None) -> nn.Module:
    """The small CNN with a map that is not uniform, in evaluation mode, on the CPU."""
    torch.manual_seed(0)
    features = numbers(1, RANK, SIDE, SIDE) if features is None else features
    return attend(build_backbone("small", 1, 2, SIDE), randomised(GlobalSpatialAttention(features)), at).eval()


def compare_passes(bench: Bench, what: str, module: nn.Module, x: Tensor, tolerance: float) -> None:
    """Output and gradients, of the weights too, on the device against float64."""
    exact, there = copy.deepcopy(module).double(), bench.there(module)
    inputs = x.double().requires_grad_(), x.to(bench.device, copy=True).requires_grad_()
    outputs = exact(inputs[0]), there(inputs[1])
    bench.is_there(what, outputs[1])
    bench.agree(what, outputs[1], outputs[0], tolerance)
    probe = numbers(*outputs[0].shape, seed=3)
    (outputs[0] * probe).sum().backward()
    (outputs[1] * probe.to(bench.device)).sum().backward()
    bench.agree(f"{what}, gradient of the input", inputs[1].grad, inputs[0].grad, 10 * tolerance)
    for (name, one), two in zip(there.named_parameters(), exact.parameters(), strict=True):
        bench.agree(f"{what}, gradient of {name}", one.grad, two.grad, 10 * tolerance)


@check
def weight_maps(bench: Bench) -> None:
    for name, module in some_maps():
        bench.agree(f"map of {name}", bench.there(module).map(), copy.deepcopy(module).double().map(), MAPS)
        for side in (SIDE, SIDE // 2, 2 * SIDE):  # as it is, averaged, interpolated
            compare_passes(bench, f"{name} at {side} pixels", module, numbers(3, 6, side, side), MAPS)


@check
def global_pooling(bench: Bench) -> None:
    for name, module in some_maps():
        compare_passes(bench, name, GlobalPooling(module), numbers(3, 6, SIDE // 2, SIDE // 2), MAPS)


@check
def frozen_maps_and_saved_weights(bench: Bench) -> None:
    x = numbers(3, 6, SIDE, SIDE)
    for name, module in some_maps():
        there, expected = bench.there(module), copy.deepcopy(module).double()(x.double())
        bench.agree(f"{name}, frozen", there.freeze()(x.to(bench.device)), expected, MAPS)
        bench.is_there(f"{name}, frozen", there.map())
        file = io.BytesIO()
        torch.save(there.state_dict(), file)
        file.seek(0)
        loaded = randomised(copy.deepcopy(module), seed=5)
        loaded.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
        bench.agree(f"{name}, saved on the device and loaded on the CPU", loaded(x), expected, MAPS)
        again = bench.there(randomised(copy.deepcopy(module), seed=5))
        again.load_state_dict(module.state_dict())
        bench.agree(f"{name}, loaded on the device", again(x.to(bench.device)), expected, MAPS)


@check
def attend_at_a_submodule(bench: Bench) -> None:
    x = torch.rand(4, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(4))
    for at in (None, *LAYERS["small"].values()):
        compare_passes(bench, f"at {at}", attended_cnn(at), x, NETWORKS)
    there = bench.there(attended_cnn("2"))
    plain = copy.deepcopy(there).detach()
    bench.agree("detached", plain(x.to(bench.device)), attended_cnn("2").detach().double()(x.double()), NETWORKS)


@check
def backbones(bench: Bench) -> None:
    x = torch.rand(2, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(4))
    for name in FAMILIES:
        torch.manual_seed(0)
        model = build_backbone(name, 1, 3, SIDE).eval()
        with torch.inference_mode():
            bench.agree(
                name, bench.there(model)(x.to(bench.device)), copy.deepcopy(model).double()(x.double()), NETWORKS
            )


@check
def local_attention(bench: Bench) -> None:
    from gsa_utils.networks.local_attention import PEERS, add_local_attention

    x = torch.rand(2, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(4))
    for peer in PEERS:
        torch.manual_seed(0)
        plain = build_backbone("small", 1, 2, SIDE)
        model = randomised(add_local_attention(plain, "small", peer)).eval()
        there = add_local_attention(bench.there(build_backbone("small", 1, 2, SIDE)), "small", peer).eval()
        there.load_state_dict(model.state_dict())
        with torch.inference_mode():
            bench.agree(peer, there(x.to(bench.device)), copy.deepcopy(model).double()(x.double()), NETWORKS)


# ---------------------------------------------------------------- pixel features


def data_matrix(images: Tensor, size: int | None = None) -> Tensor:
    """X / sqrt(M), (P, M), in float64, as the definition reads; no image of these is constant."""
    x = images.double() if size is None else F.interpolate(images.double(), (size, size), mode="area")
    x = x.flatten(2).flatten(0, 1)
    x = (x - x.mean(dim=1, keepdim=True)) / x.std(dim=1, correction=0, keepdim=True)
    return x.T / len(x) ** 0.5


def product(features: Tensor) -> Tensor:
    """F F^T, (P, P): features are free up to a rotation, this is not."""
    rows = features.flatten(2)[0].T.cpu().double()
    return rows @ rows.T


@check
def pixel_features_where_the_images_are(bench: Bench) -> None:
    images = phantoms().images
    there = images.to(bench.device)
    exact = data_matrix(images)
    bench.agree("all intensities", pixel_features(there, None)[0].flatten(1).T, exact, 1e-5)
    for size in (None, SIDE // 2, 7):  # fewer images than pixels, and more
        x = data_matrix(images, size)
        rank = min(64, *x.shape)
        u, s, _ = torch.linalg.svd(x, full_matrices=False)
        best = (u[:, :rank] * s[:rank] ** 2) @ u[:, :rank].T
        ways = {"in memory": there, "list of batches": there.split(17), "one at a time": iter(there.split(1))}
        for name, given in ways.items():
            found = pixel_features(given, rank, size)
            bench.is_there(name, found)
            bench.agree(f"F F^T at size {size}, {name}", product(found), best, 1e-4)
    bench.agree(
        "floats", product(pixel_features(there.float() / 255, RANK)), product(pixel_features(images, RANK)), 1e-4
    )
    broken = there.float()
    broken[3, 0, 2, 2] = torch.nan
    try:
        pixel_features(broken, RANK)
    except ValueError:
        return
    raise AssertionError("NaN among the intensities was not refused")


@check
def pixel_features_by_a_sketch(bench: Bench) -> None:
    from gsa_utils.pixels.eigen import from_sketch
    from gsa_utils.pixels.gram import DataMatrix

    images = phantoms().images
    x = data_matrix(images) * (len(images)) ** 0.5
    u, s, _ = torch.linalg.svd(x, full_matrices=False)
    best = (u[:, :RANK] * s[:RANK] ** 2) @ u[:, :RANK].T
    there = images.to(bench.device)
    found = from_sketch(DataMatrix(there.split(17), rank=RANK), RANK, widest=x.shape[0])
    bench.is_there("sketch", found)
    rows = found.cpu().double()
    error, least = ((x @ x.T - other).norm().item() for other in (rows @ rows.T, best))
    if not error < 1.05 * least:
        raise AssertionError(f"the sketch's error is {error / least:.3f} times the least one, allowed 1.05")
    return f"error {error / least:.4f} times the least one of this rank"


def one_shard(process: int, kind: str, folder: str) -> None:
    """Half of the images in each of two processes, on a device each."""
    import torch.distributed as dist

    backend = "nccl" if kind == "cuda" else "gloo"
    dist.init_process_group(backend, init_method=f"file://{folder}/meeting", rank=process, world_size=2)
    device = torch.device(kind, process) if kind == "cuda" else torch.device(kind)
    if kind == "cuda":
        torch.cuda.set_device(device)
    features = pixel_features(phantoms().images.to(device).tensor_split(2)[process], RANK)
    torch.save(features.cpu(), f"{folder}/{process}.pt")
    dist.destroy_process_group()


@check
def pixel_features_on_two_gpus(bench: Bench, kind: str = "cuda") -> None:
    if kind == "cuda" and torch.cuda.device_count() < 2:
        raise Skipped("a second GPU is missing")
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(one_shard, (kind, folder), nprocs=2)
        found = [torch.load(f"{folder}/{process}.pt", weights_only=True) for process in (0, 1)]
    bench.agree("both processes", found[0], found[1], 0)
    bench.agree("F F^T", product(found[0]), product(pixel_features(phantoms().images, RANK)), 1e-4)


# ---------------------------------------------------------------- training


def reference_fit(model: nn.Module, train: ImageSet, epochs: int, batch_size: int, lr: float, attention_lr: float):
    """What `fit` is said to do, by hand and in float64: the loss of each epoch and the map after the last one."""
    images = train.images.double() / 255
    images = (images - images.mean()) / images.std()
    model = copy.deepcopy(model).double().train()
    groups = [
        {"params": model.model.parameters(), "lr": lr},
        {"params": model.attention.parameters(), "lr": attention_lr},
    ]
    optimiser = torch.optim.Adam(groups)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs)
    order, losses = torch.Generator(), []
    loader = DataLoader(TensorDataset(images, train.labels), batch_size, shuffle=True, generator=order)
    for epoch in range(epochs):
        order.manual_seed(epoch)  # of seed 0
        total = 0.0
        for x, labels in loader:
            loss = F.cross_entropy(model(x), labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += loss.item() * len(labels)
        scheduler.step()
        losses.append(total / len(train))
    return torch.tensor(losses), model.attention.map().detach()


RATES = {"lr": 1e-3, "attention_lr": 1e-2}


def trained(bench: Bench, model: nn.Module, epochs: int, **settings: object):
    from gsa_utils import fit

    run = fit(model, phantoms(), phantoms(40, 1), epochs=epochs, batch_size=16, progress=False, **RATES, **settings)
    bench.is_there("the trained model", next(run.model.parameters()))
    return run


def losses(run: object, kind: str = "train_loss") -> Tensor:
    return torch.tensor([row[kind] for row in run.history])


def fresh_cnn(at: str | None = None) -> nn.Module:
    """As a user builds it: the map is uniform still."""
    torch.manual_seed(0)
    attention = GlobalSpatialAttention(pixel_features(phantoms(), RANK))
    return attend(build_backbone("small", 1, 2, SIDE), attention, at)


@check
def fit_against_float64(bench: Bench) -> str:
    worst = 0.0
    for at in (None, "2"):
        model = fresh_cnn(at)
        expected, weight_map = reference_fit(model, phantoms(), epochs=3, batch_size=16, **RATES)
        run = trained(bench, model, 3)
        bench.agree(f"training losses, map at {at}", losses(run), expected, 2e-3)
        bench.agree(f"the map at {at} after 3 epochs", run.maps[-1], weight_map, 1e-2)
        worst = max(worst, (losses(run) - expected).abs().max().item())
    return f"losses of 3 epochs differ by at most {worst:.1e}, anything by {bench.worst:.1e}"


@check
def resume(bench: Bench) -> None:
    whole = trained(bench, fresh_cnn(), 4)
    with tempfile.TemporaryDirectory() as folder:
        part = trained(bench, fresh_cnn(), 4, checkpoint_dir=folder, callbacks=[lambda run, of: len(run.history) == 2])
        if len(part.history) != 2:
            raise AssertionError(f"stopped after {len(part.history)} epochs, expected 2")
        again = trained(bench, fresh_cnn(), 4, checkpoint_dir=folder)
    exact = bench.device.type == "cpu"  # a GPU adds up in any order
    for kind in ("train_loss", "valid_loss"):
        bench.agree(kind, losses(again, kind), losses(whole, kind), 0 if exact else 1e-3)
    bench.agree("map", again.maps[-1], whole.maps[-1], 0 if exact else 1e-2)


@contextmanager
def precision(name: str) -> Iterator[None]:
    """accelerate reads its precision once a process, unless it is made to forget what it read."""
    from accelerate.state import AcceleratorState

    before = os.environ.get("ACCELERATE_MIXED_PRECISION")
    os.environ["ACCELERATE_MIXED_PRECISION"] = name
    AcceleratorState._reset_state(reset_partial_state=True)
    try:
        yield
    finally:
        os.environ.pop("ACCELERATE_MIXED_PRECISION")
        if before is not None:
            os.environ["ACCELERATE_MIXED_PRECISION"] = before
        AcceleratorState._reset_state(reset_partial_state=True)


@check
def bf16(bench: Bench) -> None:
    model, seen = fresh_cnn("2"), set()
    expected, _ = reference_fit(model, phantoms(), epochs=2, batch_size=16, **RATES)
    model.model[0][0].register_forward_hook(
        lambda module, args, output: seen.add(output.dtype) if module.training else None
    )
    with precision("bf16"):
        run = trained(bench, model, 2)
    if seen != {torch.bfloat16}:
        raise AssertionError(f"the first layer gave {seen} while it was trained, expected bfloat16")
    if {value.dtype for value in run.model.state_dict().values() if value.is_floating_point()} != {torch.float32}:
        raise AssertionError("weights are kept in another precision than float32")
    if run.maps[-1].unique().numel() <= 256:
        raise AssertionError("the map has no more than the levels of half precision")
    bench.agree("training losses against float64", losses(run), expected, 5e-2)


@check
def waits_for_the_device(bench: Bench) -> str:
    """Training and pixel features ask a GPU for a number once an epoch or a pass, not once a step or a batch."""
    if bench.device.type != "cuda":
        raise Skipped("only CUDA counts how often it is waited for")
    from gsa_utils import fit
    from gsa_utils.probing.heads import build_head
    from gsa_utils.probing.train import fit_head

    def waits(call: Callable[[], object]) -> int:
        call()  # what is waited for only once
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as heard:
                warnings.simplefilter("always")
                call()
        finally:
            torch.cuda.set_sync_debug_mode("default")
        return sum("synchronizing" in str(warning.message) for warning in heard)

    there, settings = phantoms().images.to(bench.device), {"epochs": 1, "progress": False}
    x = numbers(96, 4, 5, 5).to(bench.device)
    calls = {
        "fit, a step more": lambda n: fit(fresh_cnn(), phantoms(), phantoms(40, 1), batch_size=96 // n, **settings),
        "pixel_features, a batch more": lambda n: pixel_features(there.split(96 // n), RANK),
        "fit_head, a step more": lambda n: fit_head(build_head(x, 2, FreeMap(5)), x, phantoms().labels, steps=n),
    }
    found = {name: [waits(lambda: call(n)) for n in (4, 12)] for name, call in calls.items()}  # noqa: B023
    more = {name: (many - few) / 8 for name, (few, many) in found.items()}
    remark = ", ".join(f"{name}: {number:g} waits more (in all {found[name][1]})" for name, number in more.items())
    if any(more.values()):
        raise AssertionError(remark)
    return remark


def missing_for_machine_code(device: torch.device) -> str:
    """What torch.compile lacks to write machine code, or nothing."""
    if not any(map(shutil.which, ("c++", "g++", "clang++", "gcc", "cc"))):
        return "a compiler is"
    if device.type == "cuda" and find_spec("triton") is None:
        return "package triton is"
    if device.type == "cuda" and not (Path(sysconfig.get_paths()["include"]) / "Python.h").exists():
        return "Python's header files are"  # triton compiles a module of Python
    return ""


@check
def torch_compile(bench: Bench) -> str:
    if bench.backend == "inductor" and (missing := missing_for_machine_code(bench.device)):
        raise Skipped(f"{missing} missing")
    torch._dynamo.reset()
    x = torch.rand(4, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(4))
    exact, there = attended_cnn("2").double(), bench.there(attended_cnn("2"))
    compiled = torch.compile(there, backend=bench.backend)
    logits, expected = compiled(x.to(bench.device)), exact(x.double())
    bench.agree("logits", logits, expected, 1e-4)
    logits[:, 0].sum().backward()
    expected[:, 0].sum().backward()
    for (name, one), two in zip(there.named_parameters(), exact.parameters(), strict=True):
        bench.agree(f"gradient of {name}", one.grad, two.grad, 1e-3)
    return f"by {bench.backend}, largest difference {bench.worst:.1e}"


@check
def torch_export(bench: Bench) -> None:
    model = attended_cnn("2")
    x = torch.rand(4, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(4))
    expected = copy.deepcopy(model).double()(x.double())
    there = bench.there(model)
    there.attention.freeze()
    program = torch.export.export(there, (x.to(bench.device),))
    bench.agree("exported, frozen", program.module()(x.to(bench.device)), expected, 1e-4)


# ---------------------------------------------------------------- evaluation


def exact_logits(model: nn.Module, images: Tensor) -> Tensor:
    """In float64 on the CPU; `model` is on the CPU."""
    with torch.inference_mode():
        return copy.deepcopy(model).double().eval()(images.double() / 255)


@check
def evaluate_and_predict(bench: Bench) -> None:
    from sklearn.metrics import roc_auc_score

    from gsa_utils import evaluate, predict

    model, valid = attended_cnn("1"), phantoms(40, 1)
    there, logits = bench.there(model), exact_logits(model, valid.images)
    bench.agree("probabilities", predict(there, valid, batch_size=7), logits.softmax(dim=1), 1e-4)
    found, labels = evaluate(there, valid, batch_size=7), valid.labels
    bench.agree("loss", torch.tensor(found["loss"]), F.cross_entropy(logits, labels), 1e-4)
    bench.agree("accuracy", torch.tensor(found["accuracy"]), (logits.argmax(1) == labels).float().mean(), 1e-6)
    auroc = roc_auc_score(labels, logits[:, 1] - logits[:, 0])
    bench.agree("auroc", torch.tensor(found["auroc"]), torch.tensor(auroc), 1e-2)  # two images may change places


@check
def rankings_and_measures_of_maps(bench: Bench) -> None:
    from gsa_utils import alignment, effective_area, localisation, stability
    from gsa_utils.evaluation import rankings

    here, region = torch.rand(SIDE, SIDE, generator=torch.Generator().manual_seed(6)), phantoms().region
    there = here.to(bench.device)
    top = torch.zeros(SIDE * SIDE, dtype=torch.bool)
    top[here.flatten().topk(SIDE * SIDE // 5).indices] = True
    bench.agree("top pixels", rankings.top_pixels(there, 0.2), top.view(SIDE, SIDE), 0)
    bench.agree("moved", rankings.moved(there, "far", 3), rankings.moved(here.double(), "far", 3), 1e-6)
    bench.agree(
        "area", torch.tensor(effective_area(there)), here.double().mean() ** 2 / here.double().square().mean(), 1e-5
    )
    share = here.double()[region].sum() / here.double().sum()
    bench.agree("energy", torch.tensor(localisation(there, region.to(bench.device))["energy"]), share, 1e-5)
    ranks = torch.stack([one.flatten().argsort().argsort().double() for one in (here, here.square() + here.T)])
    spearman = torch.corrcoef(ranks)[0, 1]
    bench.agree("stability", torch.tensor(stability([there, there.square() + there.T])), spearman, 1e-4)
    x = data_matrix(phantoms().images).T
    x = x / x.norm(dim=1, keepdim=True)
    expected = torch.stack([torch.cosine_similarity(one, x.sum(0) - one, dim=0) for one in x]).mean()
    bench.agree("alignment", torch.tensor(alignment(phantoms().images.to(bench.device))), expected, 1e-4)
    on_device = ImageSet(phantoms().images.to(bench.device), phantoms().labels, phantoms().class_names)
    bench.agree("F statistic", rankings.anova(on_device), f_statistic(phantoms()), 1e-4)


def f_statistic(image_set: ImageSet) -> Tensor:
    x, labels = image_set.images[:, 0].double(), image_set.labels
    parts = [x[labels == label] for label in (0, 1)]
    between = sum(len(part) * (part.mean(0) - x.mean(0)) ** 2 for part in parts)
    within = sum(((part - part.mean(0)) ** 2).sum(0) for part in parts) / (len(x) - 2)
    return torch.where(within > 0, between / within, 0.0)


@check
def knock_out(bench: Bench) -> None:
    from gsa_utils import knock_out

    model, valid = attended_cnn("1"), phantoms(40, 1)
    mask = valid.region
    found = knock_out(bench.there(model), valid, mask.to(bench.device), draws=2)
    blanked = torch.where(mask, valid.images.double().mean(dim=0).round().to(torch.uint8), valid.images)
    for name, one, images in (("whole", found.whole, valid.images), ("without", found.without, blanked)):
        expected = F.cross_entropy(exact_logits(model, images), valid.labels)
        bench.agree(f"loss {name}", torch.tensor(one["loss"]), expected, 1e-4)
    here = knock_out(model, valid, mask, draws=2)
    for one, two in zip(found.scattered + found.moved, here.scattered + here.moved, strict=True):
        bench.agree("loss of a control", torch.tensor(one["loss"]), torch.tensor(two["loss"]), 1e-4)


@check
def mean_grad_cam(bench: Bench) -> None:
    from gsa_utils.evaluation.saliency import grad_cam

    model, valid, layer = attended_cnn(), phantoms(40, 1), LAYERS["small"]["pool"]
    with torch.no_grad():
        model.model[3][2].weight.abs_()  # else every place may speak against the predicted class, and the map be zero
    found = grad_cam(bench.there(model), valid, layer)
    exact, kept = copy.deepcopy(model).double(), []
    exact.model.get_submodule(layer).register_forward_pre_hook(lambda module, args: kept.append(args[0]))
    logits = exact(valid.images.double() / 255)
    (gradient,) = torch.autograd.grad(logits.amax(dim=1).sum(), kept[0])
    cams = (gradient.mean(dim=(2, 3), keepdim=True) * kept[0]).sum(dim=1, keepdim=True).relu()
    cams = F.interpolate(cams.detach(), (SIDE, SIDE), mode="bilinear")[:, 0]
    bench.agree("mean map", found, (cams / cams.amax(dim=(1, 2), keepdim=True).clamp(min=1e-12)).mean(dim=0), 1e-3)


@check
def mean_map_of_cbam(bench: Bench) -> None:
    from gsa_utils.evaluation.saliency import mean_local_map
    from gsa_utils.networks.local_attention import add_local_attention, spatial_gates

    torch.manual_seed(0)
    model, valid, total = build_backbone("small", 1, 2, SIDE), phantoms(40, 1), []
    model = randomised(add_local_attention(model, "small", "cbam")).eval()
    found, exact = mean_local_map(bench.there(model), valid), copy.deepcopy(model).double()
    gates = spatial_gates(exact).values()
    for gate in gates:
        gate.register_forward_hook(
            lambda module, args, output: total.append(
                F.interpolate(output, (SIDE, SIDE), mode="bilinear")[:, 0].mean(0)
            )
        )
    exact(valid.images.double() / 255)
    bench.agree("mean map", found, torch.stack(total).mean(dim=0), 1e-4)


# ---------------------------------------------------------------- heads on frozen networks


@check
def frozen_activations(bench: Bench) -> None:
    from gsa_utils import frozen_activations

    model, layers = attended_cnn("1"), ["model.1", "model.2.0"]
    found = frozen_activations(bench.there(model), phantoms(), layers, batch_size=13, progress=False)
    exact, kept = copy.deepcopy(model).double(), {}
    for layer in layers:
        exact.get_submodule(layer).register_forward_hook(
            lambda module, args, output, layer=layer: kept.__setitem__(layer, output.detach())
        )
    exact(phantoms().images.double() / 255)
    for layer in layers:
        bench.agree(layer, found[layer], kept[layer], 1e-3)  # half precision has 11 bits


@check
def heads(bench: Bench) -> None:
    from gsa_utils.probing.heads import build_head
    from gsa_utils.probing.train import fit_head

    labels = phantoms().labels
    x = numbers(96, 5, 6, 6) + labels.view(-1, 1, 1, 1) * numbers(1, 5, 6, 6, seed=7)
    poolings = {"average": lambda: "average", "places": lambda: "places", "two queries": lambda: 2}
    poolings |= {"two free maps": lambda: FreeMap(6, 2)}
    poolings |= {"a pixel classifier": lambda: GlobalSpatialAttention(numbers(1, RANK, 6, 6))}
    for name, make in poolings.items():
        torch.manual_seed(0)
        there = build_head(x.to(bench.device), 2, make())
        bench.is_there(name, there.linear.weight)
        torch.manual_seed(0)
        exact = reference_head(build_head(x, 2, make()), x, labels, steps=20)
        fit_head(there, x.to(bench.device), labels, steps=20, batch_size=32)
        with torch.inference_mode():
            bench.agree(f"logits of {name} after 20 steps", there(x.to(bench.device)), exact, 5e-3)


def reference_head(head: nn.Module, x: Tensor, labels: Tensor, steps: int) -> Tensor:
    """The logits after what `fit_head` is said to do, by hand and in float64."""
    head, x = copy.deepcopy(head).double().train(), x.double()
    mean, deviation = x.mean(dim=(0, 2, 3), keepdim=True), x.std(dim=(0, 2, 3), keepdim=True)
    x = (x - mean) / deviation
    groups = [{"params": head.linear.parameters(), "weight_decay": 1e-2}]
    if pooling := list(head.pooling.parameters()):
        groups.append({"params": pooling, "weight_decay": 0.0})
    optimiser = torch.optim.AdamW(groups, lr=1e-2)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    random, batches = torch.Generator().manual_seed(0), []
    while len(batches) < steps:
        order = torch.randperm(len(x), generator=random)
        batches += order[: len(x) // 32 * 32].split(32)
    for batch in batches[:steps]:
        loss = F.cross_entropy(head.linear(head.norm(head.pooling(x[batch]))), labels[batch])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        scheduler.step()
    head.eval()
    return head.linear(head.norm(head.pooling(x)))
