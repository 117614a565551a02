"""Shared by the runners: the engine's entry in a job's folder, logs, and cancelling."""

import json
import re
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import Any

from napari_graphflow.errors import UserError
from napari_graphflow.jobs.job import Job
from napari_graphflow.jobs.status import Status
from napari_graphflow.system.failures import Failure, in_words
from napari_graphflow.system.files import parse_json, replace_file
from napari_graphflow.system.install import install_hint
from napari_graphflow.system.regular_file import read_regular

POLL = 0.2
#: Seconds to wait for an engine to stop a job.
STOPPING = 20.0


def engine(module: str, extra: str) -> Any:
    """Import a module of an optional dependency; `UserError` if it is missing."""
    try:
        return import_module(module)
    except ModuleNotFoundError:
        raise UserError(
            f"{module.partition('.')[0].capitalize()} is not installed.",
            install_hint(extra),
        ) from None


def job_command(job: Job) -> list[str]:
    """Return the command that runs a job."""
    return [sys.executable, "-m", "napari_graphflow", "jobs", "run", str(job.folder)]


def write_note(job: Job, **what: Any) -> None:
    """Record the engine of the job, and its id there."""
    replace_file(job.runner_note, json.dumps(what, indent=1).encode())


def read_note(job: Job) -> dict[str, Any]:
    """Read the record of `write_note`; `FileNotFoundError` for a job without an engine.

    Raises
    ------
    UserError
        If the record is not one of `write_note`.
    """
    text = read_regular(job.runner_note)
    with suppress(ValueError, KeyError, TypeError, AttributeError):
        found: dict[str, Any] = parse_json(text)
        known = (
            found["cluster"] in ("slurm", "local") and _is_slurm_id(found.get("id", "0"))
            if found["runner"] == "slurm"
            else found["runner"] in ("ray", "ray-packed")
            and all(isinstance(found.get(key, ""), str) for key in ("id", "client"))
            and isinstance(found["address"], str)
            and int(found.get("workers", 1)) >= 1
        )
        if known and all(part not in str(found.get("id", "")) for part in ("/", "\\", "..")):
            return found
    raise UserError(
        f"{job.runner_note} cannot be read.", "Delete it to run the job on this computer."
    )


def _is_slurm_id(text: str) -> bool:
    """Return whether a text is the number of a job; scancel would take others as options."""
    return re.fullmatch(r"[0-9]+(_[0-9]+)?", text) is not None


def hand_over(job: Job, **note: Any) -> None:
    """Set a job to queued for an engine, after removing its previous id there.

    Otherwise `poll` would query the ended run until the engine has returned a new id.
    """
    if job.status().may_become("queued"):  # otherwise the last line raises
        with in_words():
            write_note(job, **note)
    job.hand_over(note["runner"])


def give_up(job: Job, failure: Failure) -> None:
    """Mark a job as failed before it started."""
    with suppress(UserError, ValueError):  # it has started after all
        job.settle("failed", failure)


def ended_early(text: str) -> Failure:
    """Describe a job that its engine ended before it started, and so without a failure."""
    return Failure(code="ended", text=text, remedy="See its log for details.")


def ends_on_its_own(job: Job, timeout: float) -> bool:
    """Request that the job is cancelled, and return whether it ended within `timeout` seconds."""
    steps = job.begin_cancel(float("inf"))
    end = time.monotonic() + timeout
    while next(steps, None) is not None:
        if job.status().state == "queued" or time.monotonic() > end:
            return False
        time.sleep(POLL)
    return True


def stopped(stop: Callable[[], object], has_ended: Callable[[], bool]) -> bool:
    """Tell an engine to stop a job, and return whether it confirms that the job has ended.

    Waits up to `STOPPING` seconds; False if the engine does not respond. A job that ends by itself
    meanwhile can no longer be stopped, which engines report as an error.
    """
    end = time.monotonic() + STOPPING
    refused = _fails(stop)
    while time.monotonic() < end:
        try:
            if has_ended():
                return True
        except Exception:  # engines raise many types if they cannot be reached
            if refused:
                return False
        time.sleep(POLL)
    return False


def _fails(action: Callable[[], object]) -> bool:
    try:
        action()
    except Exception:
        return True
    return False


def unconfirmed(engine: str, command: str) -> Failure:
    """Describe a cancellation that the engine has not confirmed."""
    text = f"Cancelled here, but {engine} has not confirmed it; the job may continue there."
    return Failure(
        code="cancelled", text=text, remedy=f"To stop it, run there: {command}", exit_code=130
    )


def settled(job: Job, doubt: Failure | None = None) -> Status:
    """Return the status of a job that its engine was told to stop.

    It is ``cancelled`` if the job left none.

    Parameters
    ----------
    doubt
        Why it may still run, to be written into its status.
    """
    with suppress(UserError, ValueError):
        if job.status().active:
            job.settle("cancelled", doubt)
        elif doubt is not None and job.saved_status().state == "cancelled":
            with job.writing():
                job.write_status(job.saved_status().model_copy(update={"failure": doubt}))
    return job.status()


def own_log(job: Job) -> str:
    """Return the log of the job."""
    with suppress(FileNotFoundError):
        return read_regular(job.log).decode("utf-8", "replace")
    return ""


def first_line(error: BaseException) -> str:
    """Return the first line of an error message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
