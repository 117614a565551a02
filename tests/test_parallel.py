"""Several processes under torchrun: what one process with the same global batch would learn."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from napari_graphflow import jobs
from napari_graphflow.config import DistillationConfig, TrainingConfig
from napari_graphflow.jobs import Job

SMALL = {
    "steps": 4, "validate_every": 2, "batch_size": 2, "patch_size": (16,) * 3, "threads": 1,
    "device": "cpu", "network": "unet", "width": 4,
}  # fmt: skip


def run(job: Job, processes: int) -> dict[str, torch.Tensor]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc-per-node={processes}", "-m", "napari_graphflow"]
    job.start([*command, "jobs", "run", str(job.folder)] if processes > 1 else None)
    assert job.wait(500).state == "done", job.log.read_text()
    return load_file(job.folder / "artifacts" / "model" / "weights.safetensors")


def losses(job: Job) -> list[float]:
    return [
        event["value"] for event in job.events()[0]
        if event["event"] == "metric" and event["name"] == "loss/total"
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="torchrun with gloo")
def test_two_processes_learn_what_one_does(blobs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "OMP_NUM_THREADS", "1")
    teacher = jobs.create("train", TrainingConfig(dataset=blobs, **SMALL))
    run(teacher, 1)
    model = teacher.folder / "artifacts" / "model"
    settings: dict[str, Any] = SMALL | {"method": "logits", "teacher": model}
    alone, together = (
        jobs.create("distill", DistillationConfig(dataset=blobs, **settings)) for _ in range(2)
    )
    wanted, found = run(alone, 1), run(together, 2)
    torch.testing.assert_close(
        torch.tensor(losses(together)), torch.tensor(losses(alone)), rtol=1e-4, atol=1e-5
    )
    for name, weight in wanted.items():
        torch.testing.assert_close(found[name], weight, rtol=1e-3, atol=1e-4, msg=name)
    assert [e["state"] for e in together.events()[0] if e["event"] == "state"] == [
        "queued", "running", "done",
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="torchrun with gloo")
def test_two_processes_pause_together_and_an_odd_batch_is_refused(blobs: Path) -> None:
    long = SMALL | {"steps": 1_000_000, "validate_every": 1_000_000}
    job = jobs.create("train", TrainingConfig(dataset=blobs, **long))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node=2", "-m", "napari_graphflow", "jobs", "run"]
    job.start([*command, str(job.folder)])
    for event in job.follow():
        if event["event"] == "progress" and event["total"] == 1_000_000:
            break
    job.pause()
    assert job.wait(300).state == "paused", job.log.read_text()

    odd = jobs.create("train", TrainingConfig(dataset=blobs, **(SMALL | {"batch_size": 3})))
    odd.start([*command, str(odd.folder)])
    status = odd.wait(300)
    assert status.state == "failed"
    assert "cannot be shared evenly by 2 processes" in status.text
