"""What attention costs on a GPU: the tables of the lesson on cost, made there by `gpu_check.py`.

Step: forward, backward and Adam of a ResNet-18, in turns, as `step_cost.py` has it on a CPU; small batches, in which a
GPU waits for the next launch, and large ones, in which it computes. Precisions: the same step in other number formats
and memory layouts. Pixel features: against the bare matrix products and torch.svd_lowrank. Fit: the package's training
loop against a bare one that asks for nothing before an epoch ends. Inference: frozen maps against the plain network.
Everything is waited for before a time is taken.
"""

import csv
import io
import subprocess
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import inference
import pixel_features as features_on_cpu
import torch
import torch.nn.functional as F
from gpu_correctness import missing_for_machine_code, precision
from step_cost import BASE, SIZES, TO_INPUT, NaiveMap, Size, network, stepper
from torch import Tensor, nn
from turns import compared, made_with, ratios, take_turns

from gsa_utils import GlobalSpatialAttention, attend, build_backbone, fit, make_phantom, pixel_features
from gsa_utils.files import whole_file
from gsa_utils.networks.backbones import LAYERS
from gsa_utils.networks.local_attention import PEERS, add_local_attention

RANK, TURNS, FEW_TURNS = 64, 21, 5
LARGE = {28: 256, 64: 128, 224: 64}  # images in a batch that keeps a GPU busy
Row = dict[str, object]


@dataclass(frozen=True)
class Place:
    """The device, and until when (by time.perf_counter) settings are begun."""

    device: torch.device
    until: float

    def wait(self) -> None:
        getattr(torch, self.device.type).synchronize()

    def take_turns(self, calls: Mapping[Hashable, Callable[[], object]], turns: int) -> dict[Hashable, list[float]]:
        """Seconds of each call in each turn, until the device has done it."""

        def waited(call: Callable[[], object]) -> Callable[[], None]:
            def until_done() -> None:
                call()
                self.wait()

            return until_done

        waiting = {name: waited(call) for name, call in calls.items()}
        for call in [*waiting.values()] * 2:  # libraries are loaded and memory is got in the first ones
            call()
        self.wait()
        return take_turns(waiting, turns)


class InBfloat16(nn.Module):
    """A model as it is trained in half precision: weights stay float32."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, torch.bfloat16):
            return self.model(x).float()


# ---------------------------------------------------------------- a training step


def sizes() -> list[Size]:
    return [*SIZES, *(replace(size, batch=LARGE[size.side]) for size in SIZES)]


def contenders(size: Size, device: torch.device) -> Iterator[tuple[str, int | str, nn.Module]]:
    """What it is called, the number of images behind its map, and the model on the CPU."""
    yield BASE, "", network(size)
    yield f"{BASE}, again", "", network(size)
    yield TO_INPUT, "", network(size)
    for count in (100, 100_000):
        features = features_of(size.grid, count, str(device))
        for place in ("input", "late"):
            at = None if place == "input" else LAYERS["resnet"][place]
            yield f"ours, {place}", count, attend(network(size), GlobalSpatialAttention(features), at)
    if find_spec("timm"):
        for peer in PEERS:
            yield peer, "", add_local_attention(network(size), "resnet", peer)
    yield "naive, input", 10_000, attend(network(size), NaiveMap(10_000, size.grid))


@cache
def features_of(side: int, count: int, device: str) -> Tensor:
    return pixel_features(features_on_cpu.stream(side, count, device), RANK).cpu()


def step_cost(place: Place) -> Iterator[list[Row]]:
    for half in (False, True):
        for size in sizes():
            yield step_rows(place, size, half) if time.perf_counter() < place.until else []


def step_rows(place: Place, size: Size, half: bool) -> list[Row]:
    steps = {}
    for what, count, model in contenders(size, place.device):
        model = InBfloat16(model) if half else model
        layout = torch.channels_last if half else torch.contiguous_format
        model = model.to(place.device, memory_format=layout)
        steps[what, count] = stepper(model, size, to_input=what == TO_INPUT)
    seconds = place.take_turns(steps, TURNS)
    rows = []
    for (what, count), taken in seconds.items():
        row = {"image_side": size.side, "map_side": size.grid, "batch": size.batch}
        row |= {"precision": "bf16, channels_last" if half else "float32", "what": what, "images": count}
        rows.append(row | compared(taken, seconds[BASE, ""]) | {"turns": TURNS})
    return rows


def precisions(place: Place) -> Iterator[list[Row]]:
    """Which number format and layout is worth it, for a network with a map at its input."""
    for size in sizes()[-3:]:
        features, steps = torch.randn(1, RANK, size.grid, size.grid), {}
        for half in (False, True):
            for layout in (torch.contiguous_format, torch.channels_last):
                model = attend(network(size), GlobalSpatialAttention(features))
                model = (InBfloat16(model) if half else model).to(place.device, memory_format=layout)
                name = "bf16" if half else "float32"
                steps[name + (", channels_last" if layout is torch.channels_last else "")] = stepper(model, size)
        seconds = place.take_turns(steps, TURNS)
        row = {"image_side": size.side, "batch": size.batch}
        yield [
            row | {"what": name} | compared(taken, seconds["float32"]) | {"turns": TURNS}
            for name, taken in seconds.items()
        ]


# ---------------------------------------------------------------- pixel features


def features(place: Place) -> Iterator[list[Row]]:
    """The CPU of the same machine takes part where it is done within seconds."""
    for side, count, cpu in [
        (28, 10_000, True),
        (28, 100_000, True),
        (28, 1_000_000, False),
        (64, 10_000, True),
        (64, 100_000, False),
    ]:
        yield feature_rows(place, side, count, cpu) if time.perf_counter() < place.until else []


def feature_rows(place: Place, side: int, count: int, cpu: bool) -> list[Row]:
    on, bare = str(place.device), "bare matrix products"
    calls = {
        bare: features_on_cpu.bare(side, count, on),
        "one pass": lambda: features_on_cpu.one_pass(side, count, on),
        "pixel_features": lambda: pixel_features(features_on_cpu.stream(side, count, on), RANK),
    }
    if cpu:
        calls["pixel_features, batches on the CPU"] = lambda: pixel_features(features_on_cpu.stream(side, count), RANK)
    if count <= 100_000:
        rows = features_on_cpu.in_memory(side, count, on)
        calls["torch.svd_lowrank"] = lambda: torch.svd_lowrank(rows.T, RANK)
    found, seconds = [], place.take_turns(calls, FEW_TURNS)
    for name, taken in seconds.items():
        middle, low, high = (f"{value:.2f}" for value in ratios(taken, seconds[bare]))
        row = {"image_side": side, "images": count, "what": name}
        row |= {"ratio_to_bare": middle, "quartile_low": low, "quartile_high": high}
        row |= {"ms": f"{1000 * median(taken):.2f}", "images_per_s": round(count / median(taken))}
        more = peak(place, calls[name]) if "CPU" not in name else ""
        found.append(row | {"more_gpu_mib": more, "turns": FEW_TURNS})
    return found


def peak(place: Place, call: Callable[[], object]) -> str:
    """MiB of the GPU at most during a call, beyond what was there before."""
    if place.device.type != "cuda":
        return ""
    place.wait()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    place.wait()
    return f"{(torch.cuda.max_memory_allocated() - before) / 2**20:.0f}"


# ---------------------------------------------------------------- the training loop


def loops(place: Place) -> Iterator[list[Row]]:
    """Epochs of `fit`, validation on 64 images included, against the same steps in a loop that does nothing else."""
    train, valid, epochs = make_phantom("phantom-chest", 4096, 28), make_phantom("phantom-chest", 64, 28, seed=1), 4
    weights = pixel_features(train, RANK)
    for name in ("small", "resnet"):
        for batch in (64, 256):
            rows = []
            for half in (False, True):

                def model(name: str = name) -> nn.Module:
                    torch.manual_seed(0)
                    return attend(build_backbone(name, 1, 2, 28), GlobalSpatialAttention(weights))

                bare = bare_epochs(place, InBfloat16(model()) if half else model(), train, batch, epochs)
                with precision("bf16" if half else "no"):
                    run = fit(model(), train, valid, epochs=epochs, batch_size=batch, progress=False)
                ours = [row["seconds"] for row in run.history]
                for what, taken in (("bare loop", bare), ("fit", ours)):
                    row = {"network": name, "image_side": 28, "batch": batch, "images": len(train)}
                    row |= {"precision": "bf16" if half else "float32", "what": what}
                    row |= {"ratio": f"{median(taken[1:]) / median(bare[1:]):.3f}"}
                    row |= {"images_per_s": round(len(train) / median(taken[1:])), "turns": epochs - 1}
                    rows.append(row)
            yield rows


def bare_epochs(place: Place, model: nn.Module, train: object, batch: int, epochs: int) -> list[float]:
    """Seconds of each epoch: images on the device, one Adam, no number asked for."""
    model, seconds = model.to(place.device).train(), []
    images, labels = train.images.to(place.device), train.labels.to(place.device)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(epochs):
        place.wait()
        started = time.perf_counter()
        for index in torch.randperm(len(images)).to(place.device).split(batch):
            loss = F.cross_entropy(model(images[index].float() / 255), labels[index])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
        place.wait()
        seconds.append(time.perf_counter() - started)
    return seconds


# ---------------------------------------------------------------- inference


def frozen(place: Place) -> Iterator[list[Row]]:
    settings = [(size, batch, "eager") for size in SIZES for batch in (1, LARGE[size.side])]
    if not (missing := missing_for_machine_code(place.device)):
        settings.append((SIZES[0], LARGE[28], "compiled"))
    else:
        print(f"inference: compiled is left out, {missing} missing")
    for size, batch, mode in settings:
        yield frozen_rows(place, size, batch, mode) if time.perf_counter() < place.until else []


def frozen_rows(place: Place, size: Size, batch: int, mode: str) -> list[Row]:
    models = inference.models(size)
    saved = {name: inference.mebibytes(model) for name, model in models.items()}
    images = torch.rand(batch, 3 if size.side == 224 else 1, size.side, size.side, device=place.device)
    models = {name: model.to(place.device) for name, model in models.items()}
    if mode == "compiled":
        torch.compiler.reset()
        models = {name: torch.compile(model) for name, model in models.items() if "trainable" not in name}
    with torch.inference_mode():
        seconds = place.take_turns({name: lambda m=model: m(images) for name, model in models.items()}, TURNS)
    row = {"image_side": size.side, "batch": batch, "mode": mode}
    return [
        row
        | {"what": name}
        | compared(taken, seconds[inference.PLAIN])
        | {"mib_saved": f"{saved[name]:.2f}", "turns": TURNS}
        for name, taken in seconds.items()
    ]


# ---------------------------------------------------------------- the tables


TABLES = {
    "step_cost": step_cost,
    "pixel_features": features,
    "fit": loops,
    "precisions": precisions,
    "inference": frozen,
}


def write_tables(device: torch.device, folder: Path, commit: str | None, until: float) -> None:
    """Each table is written anew with every setting that is done: who is interrupted keeps what there is."""
    folder.mkdir(parents=True, exist_ok=True)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    packages = [package for package in ("torchvision", "timm") if find_spec(package)]
    made = made_with(0, *packages)
    made = {key: made[key] for key in ("threads", "date", "versions", "machine")}
    made |= {"device": name, "commit": commit or commit_of_this()}
    for table, make in TABLES.items():
        started, rows = time.perf_counter(), []
        try:
            for more in make(Place(device, until)):
                if not more:
                    print(f"{table}: a setting is left out, time is up", flush=True)
                for row in more:
                    print(table, *row.values(), sep="  ", flush=True)
                rows += [row | made for row in more]
                write(folder / f"{table}.csv", rows)
        except Exception as error:  # the other tables are still to be made
            print(f"{table} ends here: {type(error).__name__}: {error}"[:600], flush=True)
        print(f"{table}: {len(rows)} rows in {time.perf_counter() - started:.0f} s", flush=True)


def write(path: Path, rows: list[Row]) -> None:
    if not rows:
        return
    lines = csv.DictWriter(text := io.StringIO(), list(rows[0]), lineterminator="\n")
    lines.writeheader()
    lines.writerows(rows)
    with whole_file(path) as file:
        file.write(text.getvalue().encode())


def commit_of_this() -> str:
    """Of the code that runs; empty where it is no checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    with suppress(OSError):  # no git
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return ""
