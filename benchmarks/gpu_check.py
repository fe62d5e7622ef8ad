"""Does the package compute on this GPU what it computes on a CPU, and what does it cost there?

    python benchmarks/gpu_check.py                       under eight minutes; the tables go into results/gpu/
    python benchmarks/gpu_check.py --only-correctness    a minute, also without a GPU

Needs PyTorch, torchvision, timm and what the package itself imports, but no installation: from a plain checkout, with
the interpreter that has them. What lacks a package is skipped by its name. Exits with 1 if a check failed.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 420  # after which nothing more is begun


def find_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def check_all(device: torch.device) -> int:
    """How many checks failed."""
    from gpu_correctness import CHECKS, Bench, run_check

    # To the last digit that float32 has, and as little left to chance as there can be.
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic = False, True
    bench, failed = Bench(device, "aot_eager" if device.type == "cpu" else "inductor"), 0
    for name in CHECKS:
        verdict, remark, seconds = run_check(name, bench)
        failed += verdict == "FAILED"
        print(f"{verdict:8}{name:38}{seconds:6.1f} s   {remark}", flush=True)
    torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic = True, False  # torch's own settings again
    return failed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cuda", "mps", "cpu"], default=find_device())
    parser.add_argument("--only-correctness", action="store_true", help="measure nothing")
    parser.add_argument("--only-tables", action="store_true", help="check nothing")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "gpu", help="where the tables go")
    parser.add_argument("--commit", help="what the tables name where git can't be asked")
    options = parser.parse_args()
    started, device = time.perf_counter(), torch.device(options.device)
    sys.path.insert(0, str(ROOT))  # the package need not be installed
    if device.type == "cpu":
        os.environ["ACCELERATE_USE_CPU"] = "true"  # also where there is a GPU
    try:
        import gsa_utils.training  # noqa: F401  (all that training needs)
    except ModuleNotFoundError as error:
        print(f"package {error.name} is missing, without which nothing can be checked")
        return 2
    print(f"{device_name(device)}, torch {torch.__version__}, Python {sys.version.split()[0]}", flush=True)
    failed = 0 if options.only_tables else check_all(device)
    if not options.only_tables:
        print(f"{failed} checks failed; {time.perf_counter() - started:.0f} s", flush=True)
    if options.only_correctness:
        return min(failed, 1)
    if device.type == "cpu":
        print("no GPU: nothing is measured (`make bench` measures on a CPU)")
        return min(failed, 1)

    from gpu_tables import write_tables

    write_tables(device, options.out, options.commit, started + SECONDS)
    print(f"all of it: {time.perf_counter() - started:.0f} s")
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
