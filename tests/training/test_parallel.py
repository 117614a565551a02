"""Training in several torchrun processes equals one process with the same global batch."""

import multiprocessing
import os
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from napari_graphflow.config.run import DistillationConfig, TrainingConfig
from napari_graphflow.jobs import queue, store
from napari_graphflow.jobs.job import Job
from napari_graphflow.models.saved import load_model
from napari_graphflow.system.events import Metric, Progress, StateChanged
from napari_graphflow.training.parallel import chosen_precision

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="torchrun with gloo, forks")
forkserver: Any = multiprocessing.get_context("forkserver") if sys.platform != "win32" else None
SMALL = {
    "steps": 4, "validate_every": 2, "batch_size": 2, "patch_size": (16,) * 3, "threads": 1,
    "device": "cpu", "network": "unet", "width": 4,
}  # fmt: skip


def compute(folder: Path, rank: int, world: int, port: int) -> None:
    """Run a job as torchrun starts it, with its environment variables."""
    environment = {
        "RANK": rank, "LOCAL_RANK": rank, "GROUP_RANK": 0, "ROLE_RANK": rank, "WORLD_SIZE": world,
        "LOCAL_WORLD_SIZE": world, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port,
        "TORCHELASTIC_RUN_ID": "test",
    }  # fmt: skip
    if world > 1:
        os.environ |= {name: str(value) for name, value in environment.items()}
    from napari_graphflow.training import process

    with Job(folder).log.open("a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    os._exit(process.main(folder))


def run(job: Job, world: int) -> list[int]:
    forkserver.set_forkserver_preload(
        ["napari_graphflow.training.process", "napari_graphflow.training.loop"]
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [
        forkserver.Process(target=compute, args=(job.folder, rank, world, port))
        for rank in range(world)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return [process.exitcode for process in processes]


@torch.no_grad()
def logits(job: Job, image: torch.Tensor) -> torch.Tensor:
    found: torch.Tensor = load_model(job.model).module(image).logits
    return found


def reported(job: Job) -> dict[tuple[str, int], float]:
    return {
        (event.name, event.step): event.value
        for event in job.events()[0]
        if isinstance(event, Metric)
    }


def distilled(dataset: Path, options: dict[str, Any]) -> tuple[Job, Job, Job]:
    """Train a teacher, and distil it with Graph Flow in one process and in two."""
    teacher = store.create("train", TrainingConfig(dataset=dataset, **options))
    assert run(teacher, 1) == [0], teacher.log.read_text()
    settings: dict[str, Any] = options | {
        "teacher": teacher.model, "method": {"name": "graph_flow", "paraphraser_steps": 2},
        "teacher_min_dice": 0,
    }  # fmt: skip
    alone, together = (
        store.create("distill", DistillationConfig(dataset=dataset, **settings)) for _ in range(2)
    )
    assert run(alone, 1) == [0], alone.log.read_text()
    assert run(together, 2) == [0, 0], together.log.read_text()
    return teacher, alone, together


def test_two_processes_give_the_same_model_as_one(blobs: Path) -> None:
    teacher, alone, together = distilled(blobs, SMALL)
    expected, found = reported(alone), reported(together)
    assert found.keys() == expected.keys()
    for key in expected:
        # A gradient jumps where rounding decides which of two equal voxels is a maximum.
        rel = 1e-2 if key[0].startswith("gradient/") else 1e-3
        assert found[key] == pytest.approx(expected[key], rel=rel, abs=1e-4), key
    # Outputs, not weights: a bias before a normalisation has no effect, and its gradient is only
    # rounding error, which Adam scales up to full steps.
    image = torch.randn(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(logits(together, image), logits(alone, image), rtol=1e-3, atol=1e-3)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(logits(teacher, image), logits(alone, image))
    assert not together.cache.exists()
    states = [event.state for event in together.events()[0] if isinstance(event, StateChanged)]
    assert states == ["running", "done"], "only one process writes"


@pytest.mark.slow
def test_two_processes_give_the_same_model_in_mixed_precision(blobs: Path) -> None:
    """The teacher is not wrapped in DDP, so its outputs must be converted from half precision."""
    flat = SMALL | {"dims": 2, "patch_size": (16, 16), "steps": 2, "precision": "bf16-mixed"}
    _, alone, together = distilled(blobs, flat)
    first = [event for event in reported(alone).items() if event[0][1] == 1]
    assert any("loss/vertices" in name for (name, _), _ in first)
    for key, value in first:
        assert reported(together)[key] == pytest.approx(value, rel=5e-2, abs=1e-2), key


def test_a_batch_size_that_is_not_a_multiple_of_the_processes_is_refused(blobs: Path) -> None:
    odd = store.create("train", TrainingConfig(dataset=blobs, **(SMALL | {"batch_size": 3})))
    run(odd, 2)
    assert odd.status().state == "failed"
    assert "cannot be divided evenly among 2 processes" in odd.status().failure.text


@pytest.mark.slow
def test_pausing_a_torchrun_job_ends_all_its_processes(blobs: Path) -> None:
    long = SMALL | {"steps": 1_000_000, "validate_every": 1_000_000}
    job = store.create("train", TrainingConfig(dataset=blobs, **long))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node=2", "-m", "napari_graphflow", "jobs", "run"]
    queue.start(job, [*command, str(job.folder)])
    for event in job.follow():
        if isinstance(event, Progress) and event.total == 1_000_000 and event.step:
            break
    job.pause()
    assert job.wait(300).state == "paused", job.log.read_text()


@pytest.mark.parametrize(
    ("asked", "device", "has_bf16", "expected"),
    [
        ("auto", "cpu", True, "32-true"),
        ("auto", "mps", True, "32-true"),
        ("auto", "cuda", True, "bf16-mixed"),
        ("auto", "cuda", False, "16-mixed"),
        ("32-true", "cuda", True, "32-true"),
    ],
)
def test_the_default_precision_is_mixed_on_cuda_only(
    asked, device, has_bf16, expected, monkeypatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: has_bf16)
    assert chosen_precision(asked, torch.device(device)) == expected
