"""Runners: run a job on this computer, on a Ray cluster, or under Slurm.

Every runner executes ``napari-graphflow jobs run FOLDER``. The state of a job is read from its
folder; the engine is queried only about jobs that it has not started yet. Other computers access
the folder on a shared file system, or a transfer process uploads it and downloads its files.
"""

from typing import Literal, Protocol

from napari_graphflow.errors import UserError
from napari_graphflow.jobs.job import Job
from napari_graphflow.jobs.queue import submit
from napari_graphflow.jobs.status import Status
from napari_graphflow.jobs.trust import accept, require_known_addresses
from napari_graphflow.runners.handover import own_log, read_note
from napari_graphflow.runners.ray.runner import PackedRay, Ray
from napari_graphflow.runners.slurm import Slurm

RunnerName = Literal["local", "ray", "ray-packed", "slurm"]


class Runner(Protocol):
    """An engine that runs jobs."""

    def submit(self, job: Job) -> None:
        """Submit a new or unfinished job."""

    def poll(self, job: Job) -> Status:
        """Return the job's state; failed if the engine dropped the job before it started."""

    def cancel(self, job: Job, timeout: float = 10.0) -> Status:
        """Cancel the job; after `timeout` seconds stop it through the engine."""

    def logs(self, job: Job) -> str:
        """Return the logs of the job and its engine."""


class Local:
    """Processes on this computer, one per device."""

    def submit(self, job: Job) -> None:
        submit(job)

    def poll(self, job: Job) -> Status:
        return job.status()

    def cancel(self, job: Job, timeout: float = 10.0) -> Status:
        return job.cancel(timeout)

    def logs(self, job: Job) -> str:
        return own_log(job)


def runner(name: RunnerName, workers: int = 1) -> Runner:
    """Return a runner by name.

    Parameters
    ----------
    name
        One of `RunnerName`.
    workers
        Number of processes that share each batch; more than one requires Ray.

    Raises
    ------
    UserError
        If the engine is not installed or not responding, or `workers` is not supported.
    """
    if workers < 1:
        raise UserError(f"A job cannot run with {workers} workers.", "Choose at least one.")
    if name in ("ray", "ray-packed"):
        chosen = (Ray if name == "ray" else PackedRay)(workers=workers).connect()
        accept("addresses", *chosen.addresses)
        return chosen
    if workers > 1:
        raise UserError(
            "Several workers require a Ray cluster.",
            "Choose the runner ray or ray-packed, or start the job with torchrun.",
        )
    return Local() if name == "local" else Slurm()


def runner_of(job: Job) -> Runner:
    """Return the runner to which a job was submitted.

    Raises
    ------
    UserError
        If its record cannot be read, or names a cluster that this user has not used or accepted;
        anybody with access to the folder may have written it.
    """
    try:
        noted = read_note(job)
    except FileNotFoundError:
        return Local()
    if noted["runner"] == "slurm":
        return Slurm(noted["cluster"])
    require_known_addresses(job, noted["address"], noted.get("client", ""))
    kind = Ray if noted["runner"] == "ray" else PackedRay
    return kind(noted["address"], noted.get("workers", 1))
