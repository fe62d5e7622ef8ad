"""What does a frozen map cost at inference, in time and in the saved file?

    .venv/bin/python benchmarks/inference.py      writes results/inference.csv

ResNet-18 in eager mode, under torch.compile and in ONNX Runtime, float32: the plain model, the same with a frozen map
at the input and late in it, and with the trainable pixel classifier still in it (rank 64). Run it on a machine that has
nothing else to do; torch.compile needs a C++ compiler.
"""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from step_cost import RANK, SIZES, Size, network
from torch import Tensor, nn
from turns import compared, keep_memory, made_with, take_turns, write_table

from gsa_utils import GlobalSpatialAttention, attend
from gsa_utils.export.programs import export_onnx
from gsa_utils.networks.backbones import LAYERS

PLAIN, TURNS, LATE = "plain", 41, LAYERS["resnet"]["late"]


def models(size: Size) -> dict[str, nn.Module]:
    torch.manual_seed(0)
    features = torch.randn(1, RANK, size.grid, size.grid)  # which ones makes no difference to the time
    found = {PLAIN: network(size), f"{PLAIN}, again": network(size)}
    for place, at in (("input", None), ("late", LATE)):
        for state in ("frozen", "trainable"):
            model = attend(network(size), GlobalSpatialAttention(features), at)
            if state == "frozen":
                model.attention.freeze()
            found[f"{state}, {place}"] = model
    return {name: model.eval() for name, model in found.items()}


def mebibytes(model: nn.Module) -> float:
    """Of its weights in a file."""
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    return len(file.getvalue()) / 2**20


def session(path: Path) -> Callable[[Tensor], object]:
    """The program in this ONNX file, with as many threads as torch has."""
    import onnxruntime  # here: the tables of a GPU are made without it

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    program = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda images: program.run(None, {"images": images.numpy()})


def prepared(
    contenders: dict[str, nn.Module], mode: str, images: Tensor
) -> tuple[dict[str, Callable], dict[str, float]]:
    """What is called in this mode, and the MiB of its file."""
    if mode == "ONNX Runtime":
        calls, sizes = {}, {}
        with TemporaryDirectory() as folder:
            for number, (name, model) in enumerate(contenders.items()):
                path = Path(folder, f"{number}.onnx")
                export_onnx(model, path, images.shape[1], images.shape[-2:])
                calls[name], sizes[name] = session(path), path.stat().st_size / 2**20
        return calls, sizes
    sizes = {name: mebibytes(model) for name, model in contenders.items()}
    if mode == "compiled":
        torch.compiler.reset()  # else the models of all sizes share a limit, above which nothing more is compiled
        contenders = {name: torch.compile(model) for name, model in contenders.items()}
    return contenders, sizes


def measure(size: Size, batch: int, mode: str) -> Iterator[dict[str, object]]:
    images = torch.rand(batch, 3 if size.side == 224 else 1, size.side, size.side)
    calls, sizes = prepared(models(size), mode, images)
    with torch.inference_mode():
        seconds = take_turns({name: lambda call=call: call(images) for name, call in calls.items()}, TURNS)
    for name, taken in seconds.items():
        row = {"image_side": size.side, "batch": batch, "mode": mode, "what": name}
        row |= compared(taken, seconds[PLAIN])
        yield row | {"mib_saved": f"{sizes[name]:.2f}"} | made_with(TURNS, "torchvision", "onnxruntime")


def main() -> None:
    keep_memory()
    settings = []
    for size in SIZES:
        settings += [(size, batch, mode) for batch in (1, size.batch) for mode in ("eager", "ONNX Runtime")]
        settings.append((size, size.batch, "compiled"))  # each model takes half a minute to compile
    write_table("inference.csv", (row for setting in settings for row in measure(*setting)))


if __name__ == "__main__":
    main()
