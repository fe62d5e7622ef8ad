"""A trained model as one file: its weights (safetensors), and a card that says how to build, feed and trust it.

Nothing is pickled, so a file runs no code when it is opened. The card is JSON in the file's own header: the two can't
be parted. Maps are frozen, for a file needs the map, not what made it.
"""

import copy
import hashlib
import json
import platform
import struct
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

import gsa_utils
from gsa_utils.arguments import bad_value, check_path, describe, instance_of, real_number
from gsa_utils.attended import Attended, attend
from gsa_utils.attention import FreeMap, GlobalPooling, WeightMap
from gsa_utils.files import whole_file
from gsa_utils.files.reader import Reader
from gsa_utils.networks.backbones import build_backbone
from gsa_utils.networks.pooling import AttentivePooling, replace_pooling
from gsa_utils.networks.pretrained import build_pretrained
from gsa_utils.probing.heads import Head, build_head
from gsa_utils.probing.network import cut_network
from gsa_utils.training.state import Standardised, TrainingRun

FORMAT = 1
USE = "For research and teaching; not a medical device."


def save_model(
    run: TrainingRun,
    path: str | Path,
    metrics: Mapping[str, object] | None = None,
    reader: Reader | None = None,
    licence: str = "",
) -> dict[str, object]:
    """Write the model of a run to one file, and return its card.

    Args:
        run: what `fit` returned. Its model is a network of `build_backbone`, with or without maps or queries: `attend`,
            `replace_pooling`, GlobalPooling. It stays as it is.
        path: of the file, by custom `.safetensors`; what is there is replaced once the new one is whole.
        metrics: name -> number or [number, low, high], on images that the model was not trained on.
        reader: how image files become its images; by default grey levels of 8 bits, or colours.
        licence: of the weights, and of what they were trained on.

    Raises:
        ValueError: a run without a trained model, or a model that a card can't describe: export that (export_program);
            metrics or a reader that are none.
    """
    instance_of("run", run, TrainingRun, "a TrainingRun, as fit returns it")
    _check_written(path, metrics, reader, licence)
    if run.trained_on is None:
        raise bad_value("run", "a run that knows no training set", "one that fit has trained")
    on = run.trained_on
    model = copy.deepcopy(run.model).cpu().eval()
    for weight_map in [part for part in model.modules() if isinstance(part, WeightMap)]:
        weight_map.freeze()
    tensors = {name: value.detach().contiguous().clone() for name, value in model.state_dict().items()}
    reader = reader or Reader(on.size, on.channels == 3)
    card = {
        "format": FORMAT,
        "use": USE,
        "classes": list(on.class_names),
        "reader": asdict(reader),
        "trained_on": asdict(on),
        "metrics": dict(metrics or {}),
        "licence": licence,
        "network": _plan(model),
        "versions": {
            "gsa_utils": gsa_utils.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }
    card = json.loads(json.dumps(card))  # as it will be read
    card["sha256"] = _digest(tensors, card)
    with whole_file(Path(path)) as file:
        file.write(save(tensors, metadata={"card": json.dumps(card)}))
    return card


def _check_written(path: object, metrics: object, reader: object, licence: object) -> None:
    """Raise a ValueError unless these can be the name of a file and what stands in its card."""
    check_path("path", path)
    if Path(path).name in ("", ".."):
        raise bad_value("path", describe(path), "the path of a file")
    if metrics is not None:
        values = metrics.values() if isinstance(metrics, Mapping) else [None]
        numbers = [number for value in values for number in (value if isinstance(value, list | tuple) else [value])]
        if not all(map(real_number, numbers)) or not all(isinstance(name, str) for name in metrics):
            raise bad_value("metrics", describe(metrics), "name -> a number, or [number, low, high]")
    if reader is not None:
        instance_of("reader", reader, Reader, "a Reader")
    instance_of("licence", licence, str, "a text")


def load_model(path: str | Path) -> nn.Module:
    """The model of a file that `save_model` wrote, in evaluation mode; its `card` says what the file's did.

    It takes float images (B, C, H, W) in [0, 1], as `ImageSet.to_float()` and `read_image` give them.

    Raises:
        ValueError: a file that is none, damaged, or of a later format.
    """
    card = read_card(path)
    try:
        tensors = load(Path(path).read_bytes())
    except SafetensorError as error:
        raise bad_value("path", f"{path}, damaged ({error})", "a whole file of save_model") from error
    if _digest(tensors, card) != card.get("sha256"):
        raise bad_value("path", f"{path}, damaged: not what was saved", "a whole file of save_model")
    model = _built(card["network"])
    model.load_state_dict(tensors)
    model.card = card
    return model.eval()


def read_card(path: str | Path) -> dict[str, object]:
    """The card of a file, without its weights.

    Raises:
        ValueError: a file that is none of `save_model`, or of a later format.
    """
    check_path("path", path)
    expected = "a file that save_model wrote"
    if not Path(path).is_file():
        raise bad_value("path", path, f"{expected}; there is none")
    try:
        with Path(path).open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(min(length, 100_000_000)))
        card = json.loads(header["__metadata__"]["card"])
        version = card["format"]
    except (struct.error, ValueError, KeyError, TypeError, MemoryError, OverflowError) as error:
        raise bad_value("path", path, expected) from error
    if version != FORMAT:
        raise bad_value("path", f"{path} of format {version!r}", f"format {FORMAT}; a later gsa_utils reads it")
    return card


def read_image(file: str | Path, card: Mapping[str, object]) -> Tensor:
    """An image file as the model of this card takes it: (1, C, H, W) in [0, 1], read as its training images were.

    Raises:
        ValueError: a file that cannot be read.
    """
    reader = Reader(**card["reader"] | {"size": tuple(card["reader"]["size"])})
    return torch.from_numpy(reader(file).copy())[None].float() / 255


def _digest(tensors: Mapping[str, Tensor], card: Mapping[str, object]) -> str:
    """SHA-256 of all that a file says, so that a bit which flips on a disk is noticed."""
    words = {name: value for name, value in card.items() if name != "sha256"}
    found = hashlib.sha256(json.dumps(words, sort_keys=True).encode())
    for name, value in sorted(tensors.items()):
        found.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        found.update(value.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def _plan(model: nn.Module) -> dict[str, object]:
    """How it was put together, outermost first."""
    if isinstance(model, Standardised):
        return {"standardised": _plan(model.model)}
    if isinstance(model, Attended) and isinstance(model.attention, WeightMap):
        return {"attended": _plan(model.model), "at": model.at, "map": list(model.attention.map().shape)}
    if (built := getattr(model, "built_as", None)) and "name" in built and not _unknown(model):
        pooled = [part for part in model.modules() if isinstance(part, GlobalPooling | AttentivePooling)]
        if not pooled:
            return {"backbone": {key: value for key, value in built.items() if key != "pooling_times"}}
        (pooling,) = pooled
        known = {key: value for key, value in built.items() if key != "pooling_times"}
        if isinstance(pooling, AttentivePooling):
            return {"backbone": known, "queries": list(pooling.query.shape)}
        return {"backbone": known, "pooling": list(pooling.attention.map().shape)}
    if (
        isinstance(model, nn.Sequential)
        and len(model) == 2
        and isinstance(model[1], Head)
        and hasattr(model[0], "built_as")
    ):
        return {"frozen": model[0].built_as, "head": _head_plan(model[1])}
    raise bad_value(
        "run", f"a model with a {type(model).__name__} that no card describes", "build_backbone with maps or queries"
    )


def _head_plan(head: Head) -> dict[str, object]:
    """How a head pools, and what it reads and gives."""
    size = {"channels": head.mean.numel(), "classes": head.linear.out_features}
    if isinstance(head.pooling, GlobalPooling):
        return size | {"pooling": list(head.pooling.attention.map().shape)}
    if isinstance(head.pooling, AttentivePooling):
        return size | {"pooling": len(head.pooling.query)}
    return size | {"pooling": "places" if isinstance(head.pooling, nn.Flatten) else "average"}


def _unknown(model: nn.Module) -> bool:
    """Whether something was put into a backbone that its name does not tell."""
    built = model.built_as
    plain = build_pretrained(built["name"], built["num_classes"], download=False) if built["pretrained"] else None
    plain = plain or build_backbone(built["name"], built["in_channels"], built["num_classes"], 16)
    ours = {type(part) for part in model.modules()} - {GlobalPooling, AttentivePooling, FreeMap}
    ours = {kind for kind in ours if not issubclass(kind, WeightMap)}
    return not ours <= {type(part) for part in plain.modules()} | {nn.Sequential, nn.Unflatten, nn.Flatten, nn.ReLU}


def _built(plan: Mapping[str, object]) -> nn.Module:
    """The same again, with weights that are still random."""
    if "standardised" in plan:
        return Standardised(_built(plan["standardised"]), 0.0, 1.0)
    if "attended" in plan:
        return attend(_built(plan["attended"]), _map(plan["map"]), plan["at"])
    if "frozen" in plan:
        grid, head = plan["frozen"]["grid"], plan["head"]
        activations = torch.rand(2, head["channels"], grid, grid)  # of the shape that the head is made for
        pooling = _map(head["pooling"]) if isinstance(head["pooling"], list) else head["pooling"]
        return nn.Sequential(cut_network(grid, pretrained=False), build_head(activations, head["classes"], pooling))
    built = dict(plan["backbone"])
    if built.pop("pretrained"):
        model = build_pretrained(built["name"], built["num_classes"], download=False)
    else:
        model = build_backbone(**built, image_size=16)
    if "pooling" in plan:
        maps = plan["pooling"]
        return replace_pooling(model, built["name"], GlobalPooling(_map(maps)), maps[0] if len(maps) == 3 else 1)
    if "queries" in plan:
        queries, channels = plan["queries"]
        return replace_pooling(model, built["name"], AttentivePooling(channels, queries), queries)
    return model


def _map(shape: list[int]) -> WeightMap:
    """A frozen map of this shape, as the file holds it."""
    *maps, height, width = shape
    return FreeMap((height, width), maps[0] if maps else 1).freeze()
