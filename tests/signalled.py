"""Run a job to which something happens: ``python signalled.py FOLDER MISFORTUNE``."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from napari_graphflow.jobs.job import Job
from napari_graphflow.system.events import Alive
from napari_graphflow.training import process

TERM, INT = signal.SIGTERM, signal.SIGINT


def send(*numbers: int) -> None:
    for number in numbers:
        os.kill(os.getpid(), number)


def cancelled_then_terminated(job: Job, times: int) -> None:
    job.request("cancel")
    send(*[TERM] * times)


def lose_subprocess() -> None:
    send(TERM)
    raise RuntimeError("A worker was killed by signal: Terminated.")


MISFORTUNES = {
    "SIGTERM": lambda job: send(TERM),
    "SIGTERM twice": lambda job: send(TERM, TERM),
    "cancel, SIGTERM": lambda job: cancelled_then_terminated(job, 1),
    "cancel, SIGTERM twice": lambda job: cancelled_then_terminated(job, 2),
    "SIGINT": lambda job: send(INT),
    "SIGTERM, subprocess lost": lambda job: lose_subprocess(),
}


def events(job: Job, misfortune: str) -> Iterator[Alive]:
    try:
        MISFORTUNES[misfortune](job)
        while True:
            yield Alive()
    finally:
        (job.checkpoints / "last").touch()


if __name__ == "__main__":
    given, name = Job(Path(sys.argv[1])), sys.argv[2]
    process._events = lambda job: events(job, name)
    process.start_keeper = lambda root: (root / "continued").touch()
    sys.exit(process.main(given.folder))
