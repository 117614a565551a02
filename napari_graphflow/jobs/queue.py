"""The queue: one job per device, and the next job starts when one ends.

There is no daemon. The process that sees a job end starts the next one, under a lock file. While
napari is closed this is the keeper, which runs only while a job waits or one that it started runs.
Each computer with access to the folder has its own queue; jobs of an engine are not queued here.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from napari_graphflow.errors import UserError
from napari_graphflow.jobs.job import Job
from napari_graphflow.jobs.status import Process, Status
from napari_graphflow.jobs.store import list_jobs
from napari_graphflow.jobs.trust import require_trusted
from napari_graphflow.system.devices import Device, available_device, devices
from napari_graphflow.system.failures import explain_job, in_words
from napari_graphflow.system.files import locked
from napari_graphflow.system.processes import start_detached

LOCK = ".queue.lock"
#: Seconds to wait while another process starts a job.
LOCK_TIMEOUT = 30.0


def start(
    job: Job, command: Sequence[str] | None = None, device: str = "", runner: str = ""
) -> Job:
    """Start a job, or resume it from its last checkpoint, in a process that outlives this one.

    Does not wait for a free device; see `submit`.

    Parameters
    ----------
    job
        A new, queued or unfinished job.
    command
        Command to run instead, such as a launcher for several GPUs.
    device
        Device to use instead of that in the settings.
    runner
        Engine on which the command runs the job, if not this computer.

    Raises
    ------
    UserError
        If the job is active or done.
    """
    launched = time.time()
    process = Process(
        rank=launched,
        launched=launched,
        device=device,
        runner=runner,
        log_from=job.log.stat().st_size if job.log.exists() else 0,
    )
    if not job.status().waiting:
        job.enqueue(process)
    else:
        with job.writing():
            status = job.status()
            if not status.waiting:
                job.require(status, "queued", "started")
            job.write_status(status.model_copy(update={"process": process}))
    # The lock is released, for the process that is started now.
    if command is None:
        command = [sys.executable, "-m", "napari_graphflow", "jobs", "run", str(job.folder)]
    try:
        child = start_detached(command, job.folder, job.log)
    except OSError as error:
        why = explain_job(error, job.log)
        job.settle("failed", why)
        raise why.as_error() from None
    job.adopt(child, launched)
    # Reaped as soon as it ends.
    threading.Thread(target=_reap, args=(job, child, launched), daemon=True).start()
    return job


def submit(job: Job) -> Job:
    """Append a new or unfinished job to the queue; it starts at once if its device is free.

    Raises
    ------
    UserError
        If the job is active or done.
    """
    job.enqueue(Process(rank=time.time()))
    start_next(job.folder.parent)
    start_keeper(job.folder.parent)
    return job


def waiting(root: Path) -> list[Job]:
    """Return the jobs that wait for a device of this computer, the next one first."""
    found = ((job.status(), job) for job in list_jobs(root))
    ranked = sorted((s.process.rank, job) for s, job in found if s.waiting and s.here)
    return [job for _, job in ranked]


def move(job: Job, places: int) -> None:
    """Move a waiting job up (-1) or down (1) in its queue, at most to its end.

    Raises
    ------
    UserError
        If the job is not waiting.
    """
    with _queue(job.folder.parent):
        order = waiting(job.folder.parent)
        if job not in order:
            raise UserError(
                f"The job {job.title} is {job.status().state} and not waiting.",
                "Only jobs that wait for a device can be moved.",
            )
        ranks = [one.status().process.rank for one in order]
        index = order.index(job)
        order.insert(min(max(index + places, 0), len(order) - 1), order.pop(index))
        for one, rank in zip(order, ranks, strict=True):
            if one.status().process.rank != rank:
                with one.writing():
                    one.write_status(one.status().with_process(rank=rank))


def start_next(root: Path) -> list[Job]:
    """Start waiting jobs whose device is free, in the order of the queue.

    An unfinished job with a file ``control/resume`` is queued first. Only jobs that were queued or
    ran on this computer are considered.

    Returns
    -------
    started
        The jobs that were started by this call.
    """
    started: list[Job] = []
    with _queue(root):
        statuses = {job: s for job in list_jobs(root) if (s := job.status()).here}
        for job, status in statuses.items():
            if status.resumable and not status.process.runner and "resume" in job.requests():
                with suppress(UserError):
                    statuses[job] = job.enqueue(Process(rank=time.time()))
        order = sorted((s.process.rank, job) for job, s in statuses.items() if s.waiting)
        order = [(rank, job) for rank, job in order if _is_trusted(job)]
        if not order:
            return []
        present = devices()
        busy = {_device(job, status, present) for job, status in statuses.items()}
        for _, job in order:
            # A job that cannot start has failed in its own folder; continue with the next one.
            with suppress(UserError):
                name = available_device(job.config.device, present, busy)
                if name is not None and job.status().waiting:
                    started.append(start(job, device=name))
            busy.add(_device(job, job.status(), present))  # also if another process started it
    return started


def _is_trusted(job: Job) -> bool:
    """Whether a waiting job may start: its status may have been written by anybody."""
    with suppress(UserError):
        require_trusted(job)
        return True
    return False


def start_keeper(root: Path) -> None:
    """Start the keeper of a folder if jobs wait; a second keeper ends at once."""
    if not waiting(root):
        return
    command = [sys.executable, "-m", "napari_graphflow.jobs.keeper", str(root)]
    with suppress(OSError):  # without a keeper the queue stops only if a job is killed
        keeper = start_detached(command, root, Path(os.devnull))
        threading.Thread(target=keeper.wait, daemon=True).start()  # reaped when it ends


def _reap(job: Job, child: "subprocess.Popen[bytes]", launched: float) -> None:
    code = child.wait()
    with suppress(UserError, OSError, ValueError):
        job.record_exit(launched)
    # A job starts the next one when it ends, unless it was killed.
    if code != 0:
        with suppress(UserError, OSError):
            start_next(job.folder.parent)


def _device(job: Job, status: Status, present: list[Device]) -> str:
    """Return the device that a job of this computer uses; empty if none."""
    if status.active and not status.waiting and not status.process.runner:
        with suppress(UserError):
            return (
                status.process.device or available_device(job.config.device, present, set()) or ""
            )
    return ""


@contextmanager
def _queue(root: Path) -> Iterator[None]:
    with in_words(), locked(root / LOCK, LOCK_TIMEOUT) as free:
        if not free:
            raise UserError("The queue of jobs is locked by another process.", "Try again.")
        yield
