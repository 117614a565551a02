"""The queue: one job on each device, the next starts when one ends.

There is no daemon. Whoever sees a job end starts the next one under a lock file. With napari closed
that is a keeper, which lives only while a job waits or one that it started runs. Each computer that
sees the folder has a queue of its own; what was given to an engine is in none.
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
from napari_graphflow.system.devices import Device, devices, place
from napari_graphflow.system.failures import explain, in_words
from napari_graphflow.system.files import locked
from napari_graphflow.system.processes import start_detached

LOCK = ".queue.lock"


#: Seconds to wait for another process that is just starting a job.
PATIENCE = 30.0


def start(
    job: Job, command: Sequence[str] | None = None, device: str = "", runner: str = ""
) -> Job:
    """Start a job, or resume it from its last checkpoint, as a process that outlives ours.

    It does not wait for a device to become free; see `submit` for that.

    Parameters
    ----------
    job
        A new one, one that waits, or one that ended before it was done.
    command
        Another way to run the folder, such as a launcher for several GPUs.
    device
        Where to compute, instead of what the settings say.
    runner
        The engine on which the command lets it run, where that is not this computer.

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
    # The lock is free again: the process that we start now takes it.
    if command is None:
        command = [sys.executable, "-m", "napari_graphflow", "jobs", "run", str(job.folder)]
    try:
        child = start_detached(command, job.folder, job.log)
    except OSError as error:
        why = explain(error, job.log)
        job.settle("failed", why)
        raise why.as_error() from None
    job.adopt(child, launched)
    # Reaped as soon as it ends, whether or not anybody looks at the job.
    threading.Thread(target=_reap, args=(job, child, launched), daemon=True).start()
    return job


def submit(job: Job) -> Job:
    """Put a new or an ended job at the end of its queue; it starts at once if its device is free.

    Raises
    ------
    UserError
        If the job is active or done.
    """
    job.enqueue(Process(rank=time.time()))
    start_next(job.folder.parent)
    keep_going(job.folder.parent)
    return job


def waiting(root: Path) -> list[Job]:
    """The jobs of a folder that wait for a device of this computer, the next one first."""
    found = ((job.status(), job) for job in list_jobs(root))
    ranked = sorted((s.process.rank, job) for s, job in found if s.waiting and s.here)
    return [job for _, job in ranked]


def move(job: Job, places: int) -> None:
    """Move a waiting job up (-1) or down (1) in its queue, as far as it goes.

    Raises
    ------
    UserError
        If the job does not wait.
    """
    with _queue(job.folder.parent):
        order = waiting(job.folder.parent)
        if job not in order:
            raise UserError(
                f"The job {job.title} is {job.status().state} and not waiting.",
                "Only a job that waits for a device can be moved.",
            )
        ranks = [one.status().process.rank for one in order]
        index = order.index(job)
        order.insert(min(max(index + places, 0), len(order) - 1), order.pop(index))
        for one, rank in zip(order, ranks, strict=True):
            if one.status().process.rank != rank:
                with one.writing():
                    one.write_status(one.status().with_process(rank=rank))


def start_next(root: Path) -> list[Job]:
    """Start what can start: waiting jobs whose device is free, the first one first.

    A file ``control/resume`` in a job that ended before it was done puts it in the queue. Only jobs
    that were queued or ran on this computer count.

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
        if not order:
            return []
        there = devices()
        busy = {_device(job, status, there) for job, status in statuses.items()}
        for _, job in order:
            # A job that cannot start says so in its own folder, and the next one has its turn.
            with suppress(UserError):
                name = place(job.config.device, there, busy)
                if name is not None and job.status().waiting:
                    started.append(start(job, device=name))
            busy.add(_device(job, job.status(), there))  # whoever has started it
    return started


def keep_going(root: Path) -> None:
    """Let a folder in which jobs wait have its keeper; the second one ends at once."""
    if not waiting(root):
        return
    command = [sys.executable, "-m", "napari_graphflow.jobs.keeper", str(root)]
    with suppress(OSError):  # without one the queue goes on all the same, where no job is killed
        keeper = start_detached(command, root, Path(os.devnull))
        threading.Thread(target=keeper.wait, daemon=True).start()  # reaped when it ends


def _reap(job: Job, child: "subprocess.Popen[bytes]", launched: float) -> None:
    code = child.wait()
    with suppress(UserError, OSError, ValueError):
        job.attest(launched)
    # A job that ends sees to it that the next one starts; one that was killed could not.
    if code != 0:
        with suppress(UserError, OSError):
            start_next(job.folder.parent)


def _device(job: Job, status: Status, there: list[Device]) -> str:
    """The device that a job of this computer occupies; empty if none."""
    if status.active and not status.waiting and not status.process.runner:
        with suppress(UserError):
            return status.process.device or place(job.config.device, there, set()) or ""
    return ""


@contextmanager
def _queue(root: Path) -> Iterator[None]:
    with in_words(), locked(root / LOCK, PATIENCE) as free:
        if not free:
            raise UserError("Another process holds the queue of jobs.", "Try again.")
        yield
