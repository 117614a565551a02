"""Slurm, through submitit."""

import os
import subprocess
import time
from contextlib import suppress
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
from napari_graphflow.system.files import parse_json
from napari_graphflow.system.folders import data_root
from napari_graphflow.system.regular_file import read_regular

#: States of squeue in which a job has no processes and gets none.
ENDED = frozenset((
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY",
    "PREEMPTED", "TIMEOUT",
))  # fmt: skip
#: Seconds to wait for an answer of Slurm's controller.
ANSWER = 15.0


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
        if job.status().state == "queued" and self._dropped(job):
            self._wait_for_status(job)
            if job.status().state == "queued":
                give_up(job, ended_early("Slurm ended the job before it started."))
        return job.status()

    def cancel(self, job: Job, timeout: float = 10.0) -> Status:
        was_active = job.status().active
        if ends_on_its_own(job, timeout) and was_active:
            return job.status()
        handle = self._handle(job)
        if handle is None or stopped(lambda: self._stop(job), lambda: self._done(job)):
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

    def _done(self, job: Job) -> bool:
        """Return whether Slurm has accepted a job, and it has ended.

        submitit asks Slurm's accounting, which small clusters do without; the controller knows
        every job that has not ended.
        """
        handle = self._handle(job)
        if handle is None:
            return False
        if self._cluster == "local":
            return bool(handle.done())
        return all(state in ENDED for state, _ in known_to_slurm(handle.job_id))

    def _dropped(self, job: Job) -> bool:
        with suppress(OSError, subprocess.SubprocessError):  # the controller is busy
            return self._done(job)
        return False

    def _stop(self, job: Job) -> None:
        """Stop a job if Slurm started it from its folder; anybody may have written its number."""
        handle = self._handle(job)
        if self._cluster == "slurm":
            for state, script in known_to_slurm(handle.job_id):
                if state not in ENDED and job.slurm.resolve() not in script.resolve().parents:
                    raise PermissionError(f"Job {handle.job_id} of Slurm is another one.")
        handle.cancel()

    def _parameters(self) -> dict[str, Any]:
        path = data_root() / "slurm.json"
        if not path.is_file():
            return {"timeout_min": 24 * 60}
        try:
            return dict(parse_json(read_regular(path)))
        except (ValueError, TypeError):
            raise UserError(
                f"{path} is not a JSON object.", 'Write for example {"timeout_min": 600}.'
            ) from None

    @staticmethod
    def _wait_for_status(job: Job) -> None:
        end = time.monotonic() + 2.0
        while job.status().state == "queued" and time.monotonic() < end:
            time.sleep(POLL)


def known_to_slurm(number: str) -> list[tuple[str, Path]]:
    """Return the state and the script of a job; nothing if Slurm's controller does not know it.

    Raises
    ------
    OSError, subprocess.SubprocessError
        If the controller does not respond.
    """
    command = ["squeue", "--noheader", "--states=all", "--format=%T %o", f"--jobs={number}"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER, check=False)
    if "Invalid job id" in answer.stderr:
        return []
    answer.check_returncode()
    lines = (line.partition(" ") for line in answer.stdout.splitlines())
    return [(state, Path(script)) for state, _, script in lines]
