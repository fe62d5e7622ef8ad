"""How long until the package is there, and until the first training step is done?

    .venv/bin/python benchmarks/start_up.py       writes results/start_up.csv

Every figure is a new Python process, which times itself. Importing what a training needs of gsa_utils, against
importing what that stands on; the first step of ResNet-18 after the imports (28 px, batch 32, Adam) with our map at its
input, against the first step without. Run it on a machine that has nothing else to do.
"""

import subprocess
import sys
from collections.abc import Iterator

from turns import compared, in_turns, made_with, write_table

TURNS = 9
TIMED = "import time; start = time.perf_counter()\n{}\nprint(time.perf_counter() - start)"
IMPORTS = "from gsa_utils import GlobalSpatialAttention, attend, build_backbone, fit, pixel_features\nimport torch\n"
FIRST_STEP = """
model = build_backbone("resnet", 1, 2, 28)
{attended}
optimiser = torch.optim.Adam(model.parameters())
torch.nn.functional.cross_entropy(model(torch.rand(32, 1, 28, 28)), torch.randint(2, (32,))).backward()
optimiser.step()
"""
OURS = "model = attend(model, GlobalSpatialAttention(torch.randn(1, 64, 28, 28)))"
NEEDED = "import torch, torchvision, accelerate, scipy, sklearn.metrics"
PROGRAMS = {  # name -> (program, what it is compared with)
    "import what it stands on": (TIMED.format(NEEDED), "import what it stands on"),
    "import of gsa_utils": (TIMED.format(IMPORTS), "import what it stands on"),
    "first step, no attention": (IMPORTS + TIMED.format(FIRST_STEP.format(attended="")), "first step, no attention"),
    "first step, ours": (IMPORTS + TIMED.format(FIRST_STEP.format(attended=OURS)), "first step, no attention"),
}


def timed(program: str) -> float:
    return float(subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout)


def measure() -> Iterator[dict[str, object]]:
    seconds = {name: [] for name in PROGRAMS}
    for name in in_turns(PROGRAMS, TURNS):
        seconds[name].append(timed(PROGRAMS[name][0]))
    for name, (_, base) in PROGRAMS.items():
        row = {"what": name, "against": base} | compared(seconds[name], seconds[base])
        yield row | made_with(TURNS, "torchvision", "accelerate", "scikit-learn")


if __name__ == "__main__":
    write_table("start_up.csv", measure())
