"""Runners with their real engines: a local Ray cluster, and what stands in for Slurm."""

import importlib.util
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from napari_graphflow import jobs
from napari_graphflow.config import DistillationConfig, TrainingConfig
from napari_graphflow.errors import UserError
from napari_graphflow.jobs import Job
from napari_graphflow.runners import Local, Ray, Runner, Slurm, runner_of

has_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs ray")
has_submitit = pytest.mark.skipif(
    importlib.util.find_spec("submitit") is None or sys.platform == "win32",
    reason="needs submitit",
)
SMALL = {
    "steps": 4, "validate_every": 2, "batch_size": 1, "patch_size": (16,) * 3, "threads": 1,
    "device": "cpu",
}  # fmt: skip


def training(dataset: Path, **changes: Any) -> TrainingConfig:
    return TrainingConfig(dataset=dataset, network="unet", width=4, **(SMALL | changes))


def until(condition: Callable[[], Any], seconds: float = 300.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.2)


@pytest.fixture(scope="module")
def ray_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Ray cluster of one computer, started and ended here."""
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        port, dashboard = one.getsockname()[1], other.getsockname()[1]
    # Beside the interpreter, also where its environment is not activated.
    program = [sys.executable, "-m", "ray.scripts.scripts"]
    environment = os.environ | {"RAY_USAGE_STATS_ENABLED": "0"}
    head = subprocess.Popen(
        [*program, "start", "--head", "--block", "--num-cpus=2", "--disable-usage-stats",
         "--node-ip-address=127.0.0.1", f"--port={port}", "--include-dashboard=true",
         "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}",
         "--object-store-memory=100000000"],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    address = f"http://127.0.0.1:{dashboard}"
    end = time.monotonic() + 180
    while True:
        try:
            Ray(address)
            break
        except UserError:
            assert head.poll() is None, "ray ended"
            assert time.monotonic() < end, "ray does not answer"
            time.sleep(1)
    yield address
    from napari_graphflow.system import end_process_tree

    end_process_tree(head.pid, kill=False)
    try:
        head.wait(60)
    except subprocess.TimeoutExpired:
        end_process_tree(head.pid, kill=True)


@pytest.mark.slow
@has_ray
@pytest.mark.filterwarnings("ignore")
def test_ray_runs_a_distillation_and_cancels_another(ray_address: str, blobs: Path) -> None:
    ray = Ray(ray_address)
    teacher = jobs.create("train", training(blobs))
    ray.submit(teacher)
    until(lambda: not ray.poll(teacher).active)
    assert teacher.status().state == "done", ray.logs(teacher)
    config = DistillationConfig(
        dataset=blobs, teacher=teacher.folder / "artifacts" / "model", method="logits",
        network="enet", width=8, **SMALL,
    )  # fmt: skip
    student = jobs.create("distill", config)
    ray.submit(student)
    assert student.status().runner == "ray"
    until(lambda: not ray.poll(student).active)
    assert student.status().state == "done", ray.logs(student)
    assert (student.folder / "artifacts" / "model" / "model.json").is_file()

    long = jobs.create("train", training(blobs, steps=1_000_000, validate_every=1_000_000))
    ray.submit(long)
    until(lambda: ray.poll(long).step > 2)
    again = runner_of(long)
    assert isinstance(again, Ray)
    assert again.cancel(long).state == "cancelled"

    waiting = [jobs.create("train", training(blobs, steps=1_000_000)) for _ in range(4)]
    for job in waiting:
        ray.submit(job)
    assert ray.cancel(waiting[-1], timeout=0.5).state == "cancelled"
    for job in waiting[:-1]:
        assert ray.cancel(job).state == "cancelled"


@has_ray
@pytest.mark.filterwarnings("ignore")
def test_a_ray_that_is_not_there_is_told(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(UserError, match="No Ray cluster answers"):
        Ray(address)


@pytest.mark.slow
@has_submitit
@pytest.mark.filterwarnings("ignore")
def test_submitit_runs_a_job_and_cancels_another(blobs: Path) -> None:
    slurm: Runner = Slurm("local")
    job = jobs.create("train", training(blobs))
    slurm.submit(job)
    until(lambda: not slurm.poll(job).active)
    assert job.status().state == "done", slurm.logs(job)
    long = jobs.create("train", training(blobs, steps=1_000_000, validate_every=1_000_000))
    slurm.submit(long)
    until(lambda: slurm.poll(long).step > 2)
    assert isinstance(runner_of(long), Slurm)
    assert runner_of(long).cancel(long).state == "cancelled"


@has_submitit
def test_slurm_that_is_not_there_is_told(blobs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    job = jobs.create("train", training(blobs))
    with pytest.raises(UserError, match=r"Slurm"):
        Slurm("slurm").submit(job)
    assert job.status().state in ("created", "failed")


def test_a_job_that_was_never_handed_over_is_local(tmp_path: Path) -> None:
    job: Job = jobs.create("train", training(tmp_path))
    assert isinstance(runner_of(job), Local)
    assert runner_of(job).logs(job) == ""
    assert runner_of(job).cancel(job).state == "cancelled"
