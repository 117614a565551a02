"""What the runners have in common: the note in a job's folder, the log, and the way to an end."""

import json
import sys
import time
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from napari_graphflow.errors import UserError
from napari_graphflow.jobs.job import Job
from napari_graphflow.jobs.status import Status
from napari_graphflow.system.failures import explain_exit, in_words
from napari_graphflow.system.files import replace_file

POLL = 0.2


#: Seconds that an engine may take to stop a job.
STOPPING = 20.0


def engine(module: str, extra: str) -> Any:
    """Import what an extra installs; a `UserError` where it is missing."""
    try:
        return import_module(module)
    except ModuleNotFoundError:
        raise UserError(
            f"{module.partition('.')[0].capitalize()} is not installed.",
            f'Run: pip install "napari-graphflow[{extra}]"',
        ) from None


def job_command(job: Job) -> list[str]:
    """The command that runs a folder."""
    return [sys.executable, "-m", "napari_graphflow", "jobs", "run", str(job.folder)]


def write_note(job: Job, **what: Any) -> None:
    """Note which engine has the job, and under which name."""
    replace_file(job.runner_note, json.dumps(what, indent=1).encode())


def read_note(job: Job) -> dict[str, Any]:
    """What `write_note` wrote; `FileNotFoundError` for a job that no engine has."""
    found: dict[str, Any] = json.loads(job.runner_note.read_text("utf-8"))
    return found


def hand_over(job: Job, **note: Any) -> None:
    """Leave a job to an engine; what the engine called it before is forgotten first.

    Otherwise somebody who looks before the engine has answered would ask for the ended one.
    """
    if job.status().may_become("queued"):  # if not, the last line says so
        with in_words():
            write_note(job, **note)
    job.hand_over(note["runner"])


def give_up(job: Job, text: str) -> None:
    """Write that a job has failed before it began."""
    with suppress(UserError, ValueError):  # it has just begun after all
        job.settle("failed", explain_exit(None, job.log).model_copy(update={"text": text}))


def ends_on_its_own(job: Job, timeout: float) -> bool:
    """Request the cancel, and wait for a job that has begun."""
    steps = job.begin_cancel(float("inf"))
    end = time.monotonic() + timeout
    while next(steps, None) is not None:
        if job.status().state == "queued" or time.monotonic() > end:
            return False
        time.sleep(POLL)
    return True


def settled(job: Job) -> Status:
    """The state of a job that its engine has ended, ``cancelled`` if it could not say so."""
    status = job.status()
    if status.active:
        with suppress(UserError, ValueError):
            job.settle("cancelled")
    return job.status()


def own_log(job: Job) -> str:
    """What the job itself has logged."""
    with suppress(FileNotFoundError):
        return Path(job.log).read_text("utf-8", "replace")
    return ""


def first_line(error: BaseException) -> str:
    """The first line of what an error says."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
