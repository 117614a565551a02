"""Slurm, through submitit."""

import json
import os
import time
from pathlib import Path
from typing import Any

from napari_graphflow.errors import UserError
from napari_graphflow.jobs.job import Job
from napari_graphflow.jobs.status import Status
from napari_graphflow.runners.handover import (
    POLL,
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
from napari_graphflow.system.failures import explain
from napari_graphflow.system.folders import data_root


class Slurm:
    """Slurm, through submitit; its parameters are read from ``slurm.json`` next to the jobs folder.

    Parameters
    ----------
    cluster
        ``slurm``, or ``local`` for local processes of submitit in its place.
    """

    def __init__(self, cluster: str = "") -> None:
        self._submitit = engine("submitit", "slurm")
        self._cluster = cluster or os.environ.get("GRAPHFLOW_SLURM_CLUSTER", "slurm")
        self._handles: dict[Path, Any] = {}

    def submit(self, job: Job) -> None:
        parameters = self._parameters()
        try:
            executor = self._submitit.AutoExecutor(job.slurm, cluster=self._cluster)
            executor.update_parameters(name=job.name[:60], **parameters)
        except (RuntimeError, TypeError, NameError) as error:
            raise UserError("Slurm is not available.", first_line(error)) from None
        hand_over(job, runner="slurm", cluster=self._cluster)
        self._handles.pop(job.folder, None)
        command = self._submitit.helpers.CommandFunction(job_command(job), verbose=False)
        try:
            handle = executor.submit(command)
        except Exception as error:  # submitit raises many types for errors of sbatch
            rejected = UserError(f"Slurm rejected the job {job.title}.", first_line(error))
            give_up(job, explain(rejected))
            raise rejected from None
        self._handles[job.folder] = handle
        write_note(job, runner="slurm", id=handle.job_id, cluster=self._cluster)

    def poll(self, job: Job) -> Status:
        if job.status().state == "queued" and (handle := self._handle(job)) and handle.done():
            self._wait_for_status(job)
            if job.status().state == "queued":
                give_up(job, ended_early("Slurm ended the job before it started."))
        return job.status()

    def cancel(self, job: Job, timeout: float = 10.0) -> Status:
        was_active = job.status().active
        if ends_on_its_own(job, timeout) and was_active:
            return job.status()
        handle = self._handle(job)
        if handle is None or stopped(handle.cancel, handle.done):
            return settled(job)
        return settled(job, unconfirmed("Slurm", f"scancel {handle.job_id}"))

    def logs(self, job: Job) -> str:
        handle = self._handle(job)
        output = (handle.stdout() or "") + (handle.stderr() or "") if handle else ""
        return output + own_log(job)

    def _handle(self, job: Job) -> Any:
        """Return the submitit job; None until Slurm has accepted it."""
        if job.folder in self._handles:  # local processes are known only to their parent
            return self._handles[job.folder]
        noted = read_note(job)
        if "id" not in noted:
            return None
        kinds = {"local": self._submitit.LocalJob, "slurm": self._submitit.SlurmJob}
        return kinds[noted["cluster"]](job.slurm, noted["id"])

    def _parameters(self) -> dict[str, Any]:
        path = data_root() / "slurm.json"
        if not path.is_file():
            return {"timeout_min": 24 * 60}
        try:
            return dict(json.loads(path.read_text("utf-8")))
        except (ValueError, TypeError):
            raise UserError(
                f"{path} is not a JSON object.", 'Write for example {"timeout_min": 600}.'
            ) from None

    @staticmethod
    def _wait_for_status(job: Job) -> None:
        end = time.monotonic() + 2.0
        while job.status().state == "queued" and time.monotonic() < end:
            time.sleep(POLL)
