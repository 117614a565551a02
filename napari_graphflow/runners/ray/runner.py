"""Ray Jobs: the folder on a file system that the cluster sees, or packed and fetched back."""

import os
import shlex
import sys
import time
from contextlib import suppress
from functools import cached_property
from typing import Any, Self
from urllib.parse import urlsplit

from napari_graphflow.errors import UserError
from napari_graphflow.jobs.job import Job
from napari_graphflow.jobs.queue import start
from napari_graphflow.jobs.status import TAKE_OFF, Status
from napari_graphflow.runners.handover import (
    POLL,
    STOPPING,
    ends_on_its_own,
    engine,
    first_line,
    give_up,
    hand_over,
    job_command,
    own_log,
    read_note,
    settled,
    write_note,
)

ADDRESS = "http://127.0.0.1:8265"


CLIENT_PORT = 10001


REMOTE = "napari_graphflow.runners.ray.node"


CARRIER = "napari_graphflow.runners.ray.transfer"


#: Seconds that a carried job may take to end, with its last files on the way back.
WAY_BACK = 60.0


class Ray:
    """Ray Jobs on the cluster at ``$RAY_ADDRESS``, by default the one on this computer.

    Parameters
    ----------
    address
        Of the cluster's dashboard.
    workers
        How many processes share each batch, on as many processors or GPUs of the cluster.
    """

    def __init__(self, address: str = "", workers: int = 1) -> None:
        self.address = address or os.environ.get("RAY_ADDRESS") or ADDRESS
        self.workers = workers

    @cached_property
    def client(self) -> Any:
        """The connection; made late, for what the folder tells needs no cluster."""
        sdk = engine("ray.job_submission", "ray")
        try:
            return sdk.JobSubmissionClient(self.address)
        except (OSError, RuntimeError):
            raise UserError(
                f"No Ray cluster answers at {self.address}.",
                "Start one with: ray start --head, or set RAY_ADDRESS.",
            ) from None

    def connect(self) -> Self:
        """Connect now; a `UserError` where Ray is missing or does not answer."""
        _ = self.client
        return self

    def submit(self, job: Job) -> None:
        self.connect()
        note = {"runner": "ray", "address": self.address, "workers": self.workers}
        hand_over(job, **note)
        command = job_command(job)
        if self.workers > 1:
            command = [sys.executable, "-m", REMOTE, str(job.folder), str(self.workers)]
        variables = {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
        try:
            name = self.hand_in(job, command, {"env_vars": variables})
        except UserError as error:
            give_up(job, str(error))
            raise
        write_note(job, **note, id=name)

    def hand_in(
        self, job: Job, command: list[str], environment: dict[str, Any], **more: Any
    ) -> str:
        """Give Ray a command that runs a job; returns Ray's name for it."""
        gpu = {"entrypoint_num_gpus": 1} if job.config.device.startswith("cuda") else {}
        try:
            return str(
                self.client.submit_job(
                    entrypoint=shlex.join(command),
                    runtime_env=environment,
                    metadata={"graphflow": job.name},
                    entrypoint_num_cpus=1,
                    **gpu,
                    **more,
                )
            )
        except (OSError, RuntimeError) as error:
            raise UserError(f"Ray did not take the job {job.title}.", first_line(error)) from None

    def poll(self, job: Job) -> Status:
        status = job.status()
        handed_over = status.state == "queued" and status.process.runner
        if handed_over and (name := read_note(job).get("id")):
            info = self.client.get_job_info(name)
            if info.status.is_terminal() and job.status().state == "queued":
                give_up(job, f"Ray ended the job before it began: {info.message}")
        return job.status()

    def cancel(self, job: Job, timeout: float = 10.0) -> Status:
        if not ends_on_its_own(job, timeout) and (name := read_note(job).get("id")):
            self.client.stop_job(name)
            end = time.monotonic() + STOPPING
            while not self.client.get_job_status(name).is_terminal() and time.monotonic() < end:
                time.sleep(POLL)
        return settled(job)

    def logs(self, job: Job) -> str:
        name, said = read_note(job).get("id"), ""
        try:
            said = str(self.client.get_job_logs(name)) if name else ""
        except (UserError, OSError, RuntimeError) as error:  # the cluster is away, the folder not
            said = f"{first_line(error)}\n"
        return said + own_log(job)


class PackedRay(Ray):
    """A cluster that does not see our folders: a detached process of ours carries them.

    Data, teacher and job go there as a package of Ray Jobs. What the job writes comes back by Ray
    Client, at ``$GRAPHFLOW_RAY_CLIENT`` or the port 10001 beside the dashboard.
    """

    def submit(self, job: Job) -> None:
        self.connect()
        kept: dict[str, Any] = {}
        with suppress(FileNotFoundError):
            kept = read_note(job)
        host = urlsplit(self.address).hostname
        client = os.environ.get("GRAPHFLOW_RAY_CLIENT") or f"ray://{host}:{CLIENT_PORT}"
        write_note(
            job,
            **kept
            | {
                "runner": "ray-packed",
                "address": self.address,
                "client": kept.get("client", client),
                "workers": self.workers,
            },
        )
        start(job, [sys.executable, "-m", CARRIER, str(job.folder)], runner="ray")

    def poll(self, job: Job) -> Status:
        status = job.status()
        if status.state == "queued" and time.time() - (status.process.launched or 0) > TAKE_OFF:
            give_up(job, "The process that carries the job to the Ray cluster ended too early.")
        return job.status()

    def cancel(self, job: Job, timeout: float = 10.0) -> Status:
        if ends_on_its_own(job, max(timeout, WAY_BACK)):
            return job.status()
        # It has ended by now, or Ray never had it, or the cluster is away.
        with suppress(UserError, OSError, RuntimeError, KeyError):
            self.client.stop_job(read_note(job)["id"])
        return job.cancel(STOPPING)
