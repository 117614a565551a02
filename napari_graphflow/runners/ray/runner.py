"""Ray Jobs, with the job's folder on a shared file system or packed and uploaded."""

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
from napari_graphflow.jobs.status import START_TIMEOUT, Status
from napari_graphflow.runners.handover import (
    STOPPING,
    ended_early,
    ends_on_its_own,
    engine,
    first_line,
    give_up,
    hand_over,
    job_command,
    own_log,
    read_note,
    settled,
    stopped,
    unconfirmed,
    write_note,
)
from napari_graphflow.system.failures import Failure, explain

ADDRESS = "http://127.0.0.1:8265"
CLIENT_PORT = 10001
#: Without the addresses, Ray opens its ports to the whole network, and whoever reaches them may run
#: code on the cluster.
START = "ray start --head --node-ip-address=127.0.0.1 --dashboard-host=127.0.0.1"
REMOTE = "napari_graphflow.runners.ray.node"
TRANSFER = "napari_graphflow.runners.ray.transfer"
#: Seconds that a packed job may take to end and to be downloaded.
DOWNLOAD_TIMEOUT = 60.0


class Ray:
    """Ray Jobs on the cluster at ``$RAY_ADDRESS``, by default the one on this computer.

    Parameters
    ----------
    address
        Address of the cluster's dashboard.
    workers
        Number of processes that share each batch, each on a CPU or GPU of the cluster.
    """

    def __init__(self, address: str = "", workers: int = 1) -> None:
        self.address = address or os.environ.get("RAY_ADDRESS") or ADDRESS
        self.workers = workers

    @property
    def addresses(self) -> tuple[str, ...]:
        """Addresses that are called for a job."""
        return (self.address,)

    @cached_property
    def client(self) -> Any:
        """Client of the cluster; created on demand, since reading the folder needs no cluster."""
        sdk = engine("ray.job_submission", "ray")
        try:
            return sdk.JobSubmissionClient(self.address)
        except (OSError, RuntimeError):
            raise UserError(
                f"No Ray cluster responds at {self.address}.",
                f"Start one with: {START}, or set RAY_ADDRESS.",
            ) from None

    def connect(self) -> Self:
        """Connect now; `UserError` if Ray is not installed or not responding."""
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
            name = self.submit_command(job, command, {"env_vars": variables})
        except UserError as error:
            give_up(job, explain(error))
            raise
        write_note(job, **note, id=name)

    def submit_command(
        self, job: Job, command: list[str], environment: dict[str, Any], **more: Any
    ) -> str:
        """Submit a command that runs a job, and return its Ray id."""
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
            raise UserError(f"Ray rejected the job {job.title}.", first_line(error)) from None

    def poll(self, job: Job) -> Status:
        status = job.status()
        handed_over = status.state == "queued" and status.process.runner
        if handed_over and (name := read_note(job).get("id")):
            info = self.client.get_job_info(name)
            if info.status.is_terminal() and job.status().state == "queued":
                give_up(job, ended_early(f"Ray ended the job before it started: {info.message}"))
        return job.status()

    def cancel(self, job: Job, timeout: float = 10.0) -> Status:
        was_active = job.status().active
        if ends_on_its_own(job, timeout) and was_active:
            return job.status()
        return settled(job, self._stop(read_note(job).get("id")))

    def _stop(self, name: str | None) -> Failure | None:
        """Stop a job of the cluster; return a failure if the cluster does not confirm it."""
        if name is None or stopped(
            lambda: self.client.stop_job(name),
            lambda: bool(self.client.get_job_status(name).is_terminal()),
        ):
            return None
        return unconfirmed("the Ray cluster", f"ray job stop {name}")

    def logs(self, job: Job) -> str:
        name, log = read_note(job).get("id"), ""
        try:
            log = str(self.client.get_job_logs(name)) if name else ""
        except (
            UserError,
            OSError,
            RuntimeError,
        ) as error:  # without the cluster, the folder can still be read
            log = f"{first_line(error)}\n"
        return log + own_log(job)


class PackedRay(Ray):
    """A Ray cluster without access to the local folders; a detached process transfers them.

    Data, teacher and job are uploaded as a package of Ray Jobs. The files of the job are downloaded
    by Ray Client, from ``$GRAPHFLOW_RAY_CLIENT`` or port 10001 of the dashboard's host.
    """

    @property
    def addresses(self) -> tuple[str, ...]:
        return self.address, self._client_address

    @property
    def _client_address(self) -> str:
        host = urlsplit(self.address).hostname
        return os.environ.get("GRAPHFLOW_RAY_CLIENT") or f"ray://{host}:{CLIENT_PORT}"

    def submit(self, job: Job) -> None:
        self.connect()
        previous: dict[str, Any] = {}
        with suppress(FileNotFoundError):
            previous = read_note(job)
        write_note(
            job,
            **previous
            | {
                "runner": "ray-packed",
                "address": self.address,
                "client": previous.get("client", self._client_address),
                "workers": self.workers,
            },
        )
        start(job, [sys.executable, "-m", TRANSFER, str(job.folder)], runner="ray")

    def poll(self, job: Job) -> Status:
        status = job.status()
        if (
            status.state == "queued"
            and time.time() - (status.process.launched or 0) > START_TIMEOUT
        ):
            text = "The process that uploads the job to the Ray cluster stopped unexpectedly."
            give_up(job, ended_early(text))
        return job.status()

    def cancel(self, job: Job, timeout: float = 10.0) -> Status:
        ends_on_its_own(job, max(timeout, DOWNLOAD_TIMEOUT))
        # The transfer process removes the id once the job has ended on the cluster. If it was
        # killed, the job goes on there, whatever its status here is.
        doubt = self._stop(read_note(job).get("id"))
        if job.status().active:
            job.cancel(STOPPING)
        return settled(job, doubt)
