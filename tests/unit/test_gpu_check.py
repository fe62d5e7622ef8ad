"""The checks that a person with a GPU runs (`make gpu-check`), run on the CPU."""

import gpu_correctness
import pytest
import torch
from gpu_correctness import CHECKS, Bench, run_check

NOT_HERE = {"pixel features on two gpus": "a second GPU is missing"}
NOT_HERE |= {"waits for the device": "only CUDA counts how often it is waited for"}


@pytest.mark.parametrize("name", CHECKS)
@pytest.mark.usefixtures("unchecked")  # torch can not look into the checks of types
def test_a_check_of_a_device_holds_on_the_cpu(name, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    verdict, remark, _ = run_check(name, Bench(torch.device("cpu"), backend="aot_eager"))
    assert (verdict, remark) == (("skipped", NOT_HERE[name]) if name in NOT_HERE else ("ok", remark))


@pytest.mark.parametrize(
    ("error", "verdict", "remark"),
    [
        (
            ModuleNotFoundError("No module named 'captum.attr'", name="captum.attr"),
            "skipped",
            "package captum is missing",
        ),
        (ModuleNotFoundError("No module named 'gsa_utils.x'", name="gsa_utils.x"), "FAILED", "No module named"),
        (RuntimeError("two\nlines"), "FAILED", "RuntimeError: two lines"),
    ],
)
def test_a_check_that_raises_is_a_verdict_and_not_the_end(error, verdict, remark, monkeypatch):
    def broken(bench):
        raise error

    monkeypatch.setitem(gpu_correctness.CHECKS, "broken", broken)
    found = run_check("broken", Bench(torch.device("cpu")))
    assert found[0] == verdict
    assert remark in found[1]


@pytest.mark.parametrize("factor", [1.001, float("nan")])
def test_a_number_that_is_off_is_not_taken_for_agreement(factor):
    numbers = torch.tensor([1.0, -2.0])
    bench = Bench(torch.device("cpu"))
    bench.agree("numbers", numbers, numbers.double(), 0)
    for found, expected in ((numbers * factor, numbers), (numbers, 0 * numbers), (numbers, numbers[:1])):
        with pytest.raises(AssertionError, match="numbers: "):
            bench.agree("numbers", found, expected, 1e-4)
