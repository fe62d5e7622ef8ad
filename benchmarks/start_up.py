"""How long until the package is there, and until the first training step is done?

    .venv/bin/python benchmarks/start_up.py       writes results/start_up.csv

Every figure is a new Python process. Importing gsa_utils against importing what it stands on; the first step of
ResNet-18 (28 px, batch 32, Adam) with our map at its input against the first step without. Run it on a machine that has
nothing else to do.
"""

import subprocess
import sys
from collections.abc import Iterator

from turns import made_with, milliseconds, ratios, take_turns, write_table

TURNS = 9
FIRST_STEP = """
import torch
import torch.nn.functional as F
from gsa_utils import GlobalSpatialAttention, attend, build_backbone
model = build_backbone("resnet", 1, 2, 28)
{attended}
optimiser = torch.optim.Adam(model.parameters())
F.cross_entropy(model(torch.rand(32, 1, 28, 28)), torch.randint(2, (32,))).backward()
optimiser.step()
"""
PROGRAMS = {  # name -> (program, what it is compared with)
    "import torch, torchvision": ("import torch, torchvision", "import torch, torchvision"),
    "import gsa_utils": ("import gsa_utils", "import torch, torchvision"),
    "first step, no attention": (FIRST_STEP.format(attended=""), "first step, no attention"),
    "first step, ours": (
        FIRST_STEP.format(attended="model = attend(model, GlobalSpatialAttention(torch.randn(1, 64, 28, 28)))"),
        "first step, no attention",
    ),
}


def measure() -> Iterator[dict[str, object]]:
    def runner(program: str):
        return lambda: subprocess.run([sys.executable, "-c", program], check=True)

    seconds = take_turns({name: runner(program) for name, (program, _) in PROGRAMS.items()}, TURNS)
    for name, (_, base) in PROGRAMS.items():
        middle, low, high = (f"{value:.3f}" for value in ratios(seconds[name], seconds[base]))
        row = {"what": name, "against": base, "ratio": middle, "quartile_low": low, "quartile_high": high}
        yield row | {"ms": milliseconds(seconds[name])} | made_with(TURNS, "torchvision", "accelerate")


if __name__ == "__main__":
    write_table("start_up.csv", measure())
