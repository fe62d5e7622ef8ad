"""The activations of a frozen network: computed once, kept in half precision, and then read from disk without a pass.

With a folder, the activations of some images at a time are written to a part of their own, so that a call goes on
where an earlier one was interrupted, and processes that want the same share the work. The parts become one file a
layer, which is memory-mapped: what is never looked at takes no memory, and processes have one copy between them. Each
file carries a checksum of its numbers, which is asked for whenever it is opened.
"""

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from jaxtyping import Float, Float16, UInt8
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from tqdm import tqdm

from gsa_utils.arguments import bad_value, check_name, check_whole, describe, instance_of
from gsa_utils.evaluation.scores import device_of, eval_mode
from gsa_utils.files import checksum, file_checksum, whole_file
from gsa_utils.images import ImageSet

CHUNK = 256  # images in a part
_NAME, _SUM = "activations", "crc32"  # of the one tensor in a file, and of its numbers


def frozen_activations(
    network: nn.Module,
    images: ImageSet | UInt8[Tensor, "n channels height width"] | Float[Tensor, "n channels height width"],
    layers: Sequence[str],
    *,
    folder: str | Path | None = None,
    batch_size: int = 32,
    progress: bool = True,
) -> dict[str, Float16[Tensor, "n c h w"]]:
    """What leaves each of `layers` for every image, in evaluation mode, on the CPU: layer -> (N, C, h, w) float16.

    A pass ends behind the last of the layers; what one gives when a pass comes through it again is not looked at.

    Args:
        network: any module, on any device; left in the mode it came in. A pretrained one of `build_backbone`
            prepares its images itself; others go behind `gsa_utils.networks.pretrained.Preparation`.
        images: those of an ImageSet, or uint8, are given to the network in [0, 1]; floats as they are.
        layers: names of submodules as in `network.named_modules()`.
        folder: where the activations are kept, under checksums of the images and of the network: its weights, buffers,
            hooks and `repr`; other code under the same names is not noticed. All images make one entry, so ask for
            the whole set and index what comes. None: they are computed anew each time.
        batch_size: images in a pass, which changes no more than the last digits.

    Raises:
        ValueError: an unknown layer, one that a pass does not come through, whose output is no (N, C, h, w) tensor, or
            holds what is no finite number or too large for half precision; images that are none; a damaged file.
    """
    instance_of("network", network, nn.Module, "an nn.Module")
    pixels, layers = _pixels(images), _names(layers, network)
    check_whole("batch_size", batch_size, 1)
    with tqdm(total=len(pixels), desc=_NAME, unit="image", disable=not progress) as bar:
        if folder is None:
            return _compute(network, pixels, layers, batch_size, bar)
        place = Path(folder) / f"{_checksum(network)}-{checksum(f'{pixels.dtype} {tuple(pixels.shape)}', pixels)}"
        missing = [layer for layer in layers if not _file(place, layer).exists()]
        if missing:
            _compute_parts(network, pixels, missing, batch_size, place, bar)
            _join_parts(place, missing, len(pixels))
        bar.update(len(pixels) - bar.n)
    return {layer: _read(_file(place, layer)) for layer in layers}


def _pixels(images: object) -> Tensor:
    pixels = images.images if isinstance(images, ImageSet) else images
    whole = isinstance(pixels, Tensor) and pixels.ndim == 4 and pixels.numel()
    if not whole or not (pixels.dtype == torch.uint8 or pixels.is_floating_point()):
        raise bad_value("images", describe(images), "an ImageSet, or a uint8 or float tensor (N, C, H, W)")
    return pixels


def _names(layers: object, network: nn.Module) -> list[str]:
    if isinstance(layers, str) or not isinstance(layers, Sequence) or not layers:
        raise bad_value("layers", repr(layers), "a list of names of submodules")
    names = [name for name, _ in network.named_modules() if name]
    for layer in layers:
        check_name("layers", layer, names)
    return list(dict.fromkeys(layers))


# ---------------------------------------------------------------- passes


class _Enough(Exception):
    """All layers have been heard: what the network would do after that is not needed."""


@contextmanager
def _listening(network: nn.Module, layers: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Within it, what leaves each layer is put into a dict, for the caller to empty after a pass."""
    heard: dict[str, Tensor] = {}

    def listen(layer: str, output: object) -> None:
        if layer not in heard:
            heard[layer] = _half(layer, output)
        if len(heard) == len(layers):
            raise _Enough

    with ExitStack() as hooks:
        for layer in layers:
            module = network.get_submodule(layer)
            hook = module.register_forward_hook(lambda module, args, output, layer=layer: listen(layer, output))
            hooks.callback(hook.remove)
        yield heard


def _half(layer: str, output: object) -> Float16[Tensor, "batch c h w"]:
    if not isinstance(output, Tensor) or output.ndim != 4 or not output.is_floating_point():
        raise bad_value("layers", f"{layer!r}, whose output is {describe(output)}", "one that gives (N, C, h, w)")
    half = output.to("cpu", torch.float16, copy=True)  # a copy: a rectifier behind the layer may work in place
    if not half.abs().amax().isfinite():  # a tenth of the time of isfinite().all(), and NaN comes through
        largest = output.abs().max().item()
        if not math.isfinite(largest):
            raise bad_value("layers", f"{layer!r}, whose output is infinite or not a number", "finite activations")
        raise bad_value("layers", f"{layer!r} with activations up to {largest:.4g}", "at most 65504 in half precision")
    return half


def _compute(
    network: nn.Module, pixels: Tensor, layers: Sequence[str], batch_size: int, bar: tqdm
) -> dict[str, Float16[Tensor, "n c h w"]]:
    device, found = device_of(network), {}
    # Not inference_mode: a head could not be trained on tensors that come from there.
    with eval_mode(network), torch.no_grad(), _listening(network, layers) as heard:
        for start in range(0, len(pixels), batch_size):
            batch = pixels[start : start + batch_size].to(device)
            with suppress(_Enough):
                _pass(network, batch if batch.is_floating_point() else batch.float() / 255)
            for layer in layers:
                if layer not in heard:
                    raise bad_value("layers", repr(layer), "a submodule that the network calls in every pass")
                half = heard.pop(layer)
                if layer not in found:
                    found[layer] = half.new_empty(len(pixels), *half.shape[1:])
                if half.shape != (len(batch), *found[layer].shape[1:]):
                    raise bad_value("layers", f"{layer!r} with an output of {tuple(half.shape)}", "as many as images")
                found[layer][start : start + batch_size] = half
            bar.update(len(batch))
    return found


def _pass(network: nn.Module, batch: Float[Tensor, "batch channels height width"]) -> None:
    try:
        network(batch)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:  # channels or a size that it is not made for, mostly
        raise bad_value("images", describe(batch), f"what the network takes: {' '.join(str(error).split())}") from error


# ---------------------------------------------------------------- files


def _checksum(network: nn.Module) -> str:
    """Of all that decides what a network computes, but for the code of its modules."""
    values = [*network.named_parameters(), *network.named_buffers()]
    shapes = [f"{name} {value.dtype} {tuple(value.shape)}" for name, value in values]
    hooks = [  # that of `attend` says where its map is, which no weight does
        f"{name} {getattr(hook, '__qualname__', type(hook).__name__)}"
        for name, part in network.named_modules()
        for hook in [*part._forward_pre_hooks.values(), *part._forward_hooks.values()]
    ]
    return checksum(repr(network), *shapes, *hooks, *(value for _, value in values))


def _file(place: Path, layer: str, part: int | None = None) -> Path:
    return place / f"{layer}{'' if part is None else f'.part{part:05}'}.safetensors"


def _compute_parts(
    network: nn.Module, pixels: Tensor, layers: Sequence[str], batch_size: int, place: Path, bar: tqdm
) -> None:
    """Write all parts that are not there: first those that no other process works on, then those that it left."""
    locks = place / "locks"  # never removed: who waits for one and who makes it anew would both have it
    locks.mkdir(parents=True, exist_ok=True)
    parts = dict(enumerate(pixels.split(CHUNK)))
    for seconds in (0, -1):  # to wait for a process that has the part in hand: not at all, then until it is done
        for part, chunk in list(parts.items()):
            with suppress(Timeout), FileLock(locks / f"{part:05}", timeout=seconds):
                # In this order: a part goes when the whole is there.
                there = [_file(place, layer, part).exists() or _file(place, layer).exists() for layer in layers]
                wanted = [layer for layer, done in zip(layers, there, strict=True) if not done]
                for layer, half in (_compute(network, chunk, wanted, batch_size, bar) if wanted else {}).items():
                    with whole_file(_file(place, layer, part)) as file:
                        file.write(save({_NAME: half}, {_SUM: checksum(half)}))
                del parts[part]


def _join_parts(place: Path, layers: Sequence[str], count: int) -> None:
    """Make one file of each layer's parts, written as https://github.com/huggingface/safetensors#format has it.

    The library itself would need all of them in memory.
    """
    with FileLock(place / "locks" / "join"):
        for layer in layers:
            parts = [_file(place, layer, part) for part in range(math.ceil(count / CHUNK))]
            if not _file(place, layer).exists():
                shape = [count, *_read(parts[0]).shape[1:]]
                about = {"dtype": "F16", "shape": shape, "data_offsets": [0, 2 * math.prod(shape)]}
                found = {_SUM: checksum(*map(_read, parts))}  # that of one after another is that of the whole
                header = json.dumps({_NAME: about, "__metadata__": found}).encode()
                header += b" " * (-len(header) % 8)
                with whole_file(_file(place, layer)) as file:
                    file.write(len(header).to_bytes(8, "little") + header)
                    file.writelines(_read(part).numpy() for part in parts)
            for path in place.glob(f"{layer}.part*"):  # what a killed process had half written, too
                path.unlink()


def _read(path: Path) -> Float16[Tensor, "n c h w"]:
    """Memory-mapped; what is written into the tensor stays in this process."""
    try:
        with safe_open(path, framework="pt") as file:
            tensor, kept = file.get_tensor(_NAME), (file.metadata() or {}).get(_SUM)
    except SafetensorError as error:
        raise bad_value("folder", f"{path}: {error}", "a file that is not damaged; delete this one") from error
    if kept != file_checksum(path, _header_end(path)):
        raise bad_value("folder", f"{path}: another checksum", "a file that is not damaged; delete this one")
    return tensor


def _header_end(path: Path) -> int:
    """Where the numbers begin: behind eight bytes that say how long the header is, and the header."""
    with path.open("rb") as file:
        return 8 + int.from_bytes(file.read(8), "little")
