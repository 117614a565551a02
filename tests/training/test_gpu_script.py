"""The script of ``make test-gpu``."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.py"


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
    )


def test_without_a_cuda_device_nothing_is_tested_and_the_exit_code_is_0() -> None:
    done = run(CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 0, done.stderr
    assert "There is no CUDA device here" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    "part",
    [
        "mixed_precision", "kill_and_resume", "out_of_memory", "whole_volume",
        "batches_beside_the_step", "ddp",
    ],
)  # fmt: skip
def test_each_part_also_runs_on_the_cpu(part: str) -> None:
    done = run("--cpu", "--parts", part)
    assert done.returncode == 0, done.stdout + done.stderr
    assert part in done.stdout


@pytest.mark.gpu
@pytest.mark.slow
def test_all_parts_run_on_a_gpu() -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    assert run().returncode == 0
