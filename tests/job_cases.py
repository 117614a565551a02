"""New jobs, and states as written by other processes."""

from pathlib import Path
from typing import Any

from napari_graphflow.config.run import TrainingConfig
from napari_graphflow.jobs.job import Job
from napari_graphflow.jobs.status import Status
from napari_graphflow.jobs.store import create


def new_job(dataset: Path, name: str = "", status: Status | None = None, **settings: Any) -> Job:
    config = TrainingConfig(**({"dataset": dataset, "device": "cpu", "name": name} | settings))
    job = create("train", config)
    if status is not None:
        put(job, status)
    return job


def put(job: Job, status: Status) -> None:
    """Write a status as another process would."""
    with job.writing():
        job.write_status(status)
