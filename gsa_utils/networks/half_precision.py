"""Half precision where the processor has it: a network that computes in bfloat16, and whether that pays here."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


def native_bfloat16() -> bool:
    """Whether the device that `fit` picks multiplies bfloat16 in hardware; where it does not, float32 is far faster.

    A CPU without AVX512-BF16 or AMX emulates it: a training step then takes 13 to 16 times as long as in float32.
    ATEN_CPU_CAPABILITY=avx2 in the environment (torch's own variable) makes a CPU that has it look like one without.
    """
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    has_avx512 = torch.backends.cpu.get_cpu_capability() == "AVX512"
    return (
        device.type == "cpu"
        and has_avx512
        and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    )


class Bfloat16(nn.Module):
    """A CNN that computes in bfloat16 with channels last, and returns float32 logits; its weights stay float32."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model.to(memory_format=torch.channels_last)

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch classes"]:
        x = x.contiguous(memory_format=torch.channels_last)
        with torch.autocast(x.device.type, torch.bfloat16):
            return self.model(x).float()
