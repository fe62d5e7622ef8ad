"""A model as a program of its own, which runs where there is no gsa_utils: torch.export's, and ONNX."""

from pathlib import Path

import torch
from torch import nn

from gsa_utils.arguments import check_path, instance_of
from gsa_utils.evaluation.scores import device_of, eval_mode

BATCH = {0: torch.export.Dim.DYNAMIC}


def export_program(model: nn.Module, path: str | Path, channels: int, size: tuple[int, int]) -> None:
    """Write a program of torch.export (.pt2) for images (B, channels, height, width), any B; for torch.export.load.

    Raises:
        ValueError: a model or path that is none.
    """
    example = _example(model, path, channels, size)
    with eval_mode(model):
        program = torch.export.export(model, (example,), dynamic_shapes=(BATCH,))
    torch.export.save(program, path)


def export_onnx(model: nn.Module, path: str | Path, channels: int, size: tuple[int, int]) -> None:
    """Write an ONNX file with an input "images" (B, channels, height, width) and an output "logits" (B, classes).

    Raises:
        ModuleNotFoundError: onnx and onnxscript are not installed; the message says how.
    """
    example = _example(model, path, channels, size)
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("ONNX files need two packages: pip install onnx onnxscript") from error
    with eval_mode(model):
        torch.onnx.export(
            model,
            (example,),
            path,
            input_names=["images"],
            output_names=["logits"],
            dynamic_shapes=(BATCH,),
            dynamo=True,
            external_data=False,
        )


def _example(model: nn.Module, path: str | Path, channels: int, size: tuple[int, int]) -> torch.Tensor:
    instance_of("model", model, nn.Module, "an nn.Module")
    check_path("path", path)
    return torch.rand(2, channels, *size, generator=torch.Generator().manual_seed(0)).to(device_of(model))
