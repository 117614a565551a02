"""Small jobs for the tests of runners, and their results."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from waiting import until as wait_until

from napari_graphflow.config.run import TrainingConfig
from napari_graphflow.jobs.job import Job
from napari_graphflow.models.saved import load_model
from napari_graphflow.system.events import Event, Metric

has_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs ray")
has_submitit = pytest.mark.skipif(
    importlib.util.find_spec("submitit") is None or sys.platform == "win32",
    reason="needs submitit",
)
#: Seconds; on a busy computer Ray alone takes minutes to start.
PATIENCE = 1200.0
SMALL = {
    "steps": 4, "validate_every": 2, "batch_size": 1, "patch_size": (16,) * 3, "threads": 1,
    "device": "cpu",
}  # fmt: skip


def training(dataset: Path, **changes: Any) -> TrainingConfig:
    return TrainingConfig(dataset=dataset, network="unet", width=4, **(SMALL | changes))


def until(condition: Callable[[], Any]) -> None:
    wait_until(condition, PATIENCE, pause=0.2)


def history(job: Job) -> list[Event]:
    events, offset = [], 0
    while (found := job.events(offset))[0]:
        events, offset = events + found[0], found[1]
    return events


@torch.no_grad()
def logits(job: Job, images: torch.Tensor) -> torch.Tensor:
    found: torch.Tensor = load_model(job.model).module(images).logits
    return found


def metrics(job: Job) -> dict[tuple[str, int], float | None]:
    return {(e.name, e.step): e.value for e in history(job) if isinstance(e, Metric)}
