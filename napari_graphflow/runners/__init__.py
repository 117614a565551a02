"""Where a job runs: on this computer, on a Ray cluster, or under Slurm.

A runner starts the same command on the same folder, ``napari-graphflow jobs run FOLDER``. All that
is known of a job comes from its folder; the engine is asked only about jobs that it has not started
yet. The other computers see the folder on a shared file system, or a carrier takes it there and
brings back what is written into it.
"""

from typing import Literal, Protocol

from napari_graphflow.errors import UserError
from napari_graphflow.jobs.job import Job
from napari_graphflow.jobs.queue import submit
from napari_graphflow.jobs.status import Status
from napari_graphflow.runners.handover import own_log, read_note
from napari_graphflow.runners.ray.runner import PackedRay, Ray
from napari_graphflow.runners.slurm import Slurm

RunnerName = Literal["local", "ray", "ray-packed", "slurm"]


class Runner(Protocol):
    """An engine that runs jobs."""

    def submit(self, job: Job) -> None:
        """Hand a new or an ended job over."""

    def poll(self, job: Job) -> Status:
        """The job's state; a job that the engine gave up before it started has failed."""

    def cancel(self, job: Job, timeout: float = 10.0) -> Status:
        """Ask the job to end; after `timeout` seconds let the engine end it."""

    def logs(self, job: Job) -> str:
        """What the job and its engine printed."""


class Local:
    """Processes on this computer, one on each device."""

    def submit(self, job: Job) -> None:
        submit(job)

    def poll(self, job: Job) -> Status:
        return job.status()

    def cancel(self, job: Job, timeout: float = 10.0) -> Status:
        return job.cancel(timeout)

    def logs(self, job: Job) -> str:
        return own_log(job)


def runner(name: RunnerName, workers: int = 1) -> Runner:
    """The runner of a name.

    Parameters
    ----------
    name
        One of `RunnerName`.
    workers
        How many processes share each batch; more than one on Ray only.

    Raises
    ------
    UserError
        If its engine is not installed, or does not answer, or cannot have so many workers.
    """
    if workers < 1:
        raise UserError(f"{workers} workers cannot run a job.", "Ask for one or more.")
    if name in ("ray", "ray-packed"):
        return (Ray if name == "ray" else PackedRay)(workers=workers).connect()
    if workers > 1:
        raise UserError(
            "Several workers are started by Ray only.",
            "Choose the runner ray or ray-packed, or start the job with torchrun.",
        )
    return Local() if name == "local" else Slurm()


def runner_of(job: Job) -> Runner:
    """The runner to which a job was handed over."""
    try:
        noted = read_note(job)
    except FileNotFoundError:
        return Local()
    if noted["runner"] == "slurm":
        return Slurm(noted["cluster"])
    kind = Ray if noted["runner"] == "ray" else PackedRay
    return kind(noted["address"], noted.get("workers", 1))
