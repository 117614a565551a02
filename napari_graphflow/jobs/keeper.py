"""A small process that lives while jobs wait: ``python -m napari_graphflow.jobs.keeper FOLDER``.

It starts the next job when one ends or is killed with napari closed. It is apart from every job, so
that it outlives a whole family of processes that is killed, and it ends when nothing waits any more
and the jobs that it started have ended: only their parent learns how.
"""

import socket
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from napari_graphflow.errors import UserError
from napari_graphflow.jobs.queue import start_next
from napari_graphflow.jobs.store import list_jobs
from napari_graphflow.system.files import locked

#: Each computer that sees the folder has a keeper of its own.
LOCK = f".keeper-{socket.gethostname()}.lock"


WAITING = "waiting"


#: Seconds between two looks.
EVERY = 2.0


def keep(root: Path) -> None:
    """Start what can start until nothing waits, unless another process does."""
    # Asked once more after the lock was let go: a job that came in between found it taken.
    while WAITING in _states(root).values():
        with locked(root / LOCK) as free:
            if not free:
                return
            _watch(root)


def _watch(root: Path) -> None:
    seen: dict[str, str] = {}
    # Each job that was started here has a thread that waits for its end.
    while WAITING in (now := _states(root)).values() or threading.active_count() > 1:
        # Only where something has changed: asking a driver for its devices may take seconds.
        if now != seen:
            with suppress(UserError, OSError):
                start_next(root)
                seen = now
        time.sleep(EVERY)


def _states(root: Path) -> dict[str, str]:
    statuses = {job.name: job.status() for job in list_jobs(root)}
    return {name: WAITING if s.waiting else s.state for name, s in statuses.items() if s.here}


if __name__ == "__main__":
    with suppress(OSError):  # the folder may be removed at any time
        keep(Path(sys.argv[1]))
