"""Faults that the tests of survival inject into a job's process."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from napari_graphflow.jobs.job import Job
from napari_graphflow.jobs.paths import JobPaths
from napari_graphflow.system.events import Event

Death = tuple[str, int]


def live(folder: Path, death: Death | None, misfortune: Callable[[], None] | None) -> None:
    """Run a job until it ends or is killed."""
    from napari_graphflow.training import process

    job = Job(folder)
    with job.log.open("a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    events = process._events(job)
    if misfortune is not None:
        misfortune()
    kind, count = death or ("", 0)
    if kind in ("event", "checkpoint"):
        events = _dying(events, count, "" if kind == "event" else kind)
    elif kind == "milliseconds":
        threading.Timer(count / 1000, _die).start()
    elif kind == "rename":
        sys.addaudithook(_DieAtRename(count))
    elif kind == "write":
        threading.Thread(target=_die_while_writing, args=(folder, count), daemon=True).start()
    os._exit(process.run(folder, events))


def _die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _dying(events: Iterator[Event], count: int, kind: str) -> Iterator[Event]:
    """Kill the process instead of yielding the n-th event, or the n-th of a kind."""
    for event in events:
        count -= kind in ("", event.event)
        if count < 0:
            _die()
        yield event


class _DieAtRename:
    """Kill the process before the n-th rename of a checkpoint; each but the first has two."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "os.rename" and Path(arguments[0]).suffix == ".pt":
            self.count -= 1
            if self.count < 0:
                _die()


def _die_while_writing(folder: Path, count: int) -> None:
    aside, last = JobPaths(folder).checkpoints / ".last.pt", None
    while True:
        try:
            found = aside.stat().st_ino
        except FileNotFoundError:
            time.sleep(0)
            continue
        count -= found != last
        last = found
        if count < 0:
            _die()


def small_files() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))


def little_memory() -> None:
    """Limit the memory of this process to less than a large batch needs."""
    import resource

    import psutil

    limit = psutil.Process().memory_info().vms + (900 << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def wrong_clock() -> None:
    """Set the clock alternately a day ahead and a day behind."""
    true, begun = time.time, time.monotonic()
    time.time = lambda: true() + (86400 if (time.monotonic() - begun) % 1 < 0.5 else -86400)
