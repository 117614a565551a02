"""The keeper serves the queue: ``python -m napari_graphflow.jobs.keeper FOLDER``.

This process runs while jobs wait. It starts the next job when one ends or is killed while napari is
closed. It is separate from all jobs, so that it survives if a process tree is killed. It ends when
no job waits and the jobs that it started have ended, because only their parent can read their exit
codes.
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

#: One keeper per computer with access to the folder.
LOCK = f".keeper-{socket.gethostname()}.lock"
WAITING = "waiting"
#: Seconds between checks.
POLL_INTERVAL = 2.0


def keep(root: Path) -> None:
    """Start jobs until none waits, unless another keeper is running."""
    # Check again after releasing the lock, for a job that was queued in the meantime.
    while WAITING in _states(root).values():
        with locked(root / LOCK) as free:
            if not free:
                return
            _watch(root)


def _watch(root: Path) -> None:
    seen: dict[str, str] = {}
    # Each job started here has a thread that waits for its end.
    while WAITING in (now := _states(root)).values() or threading.active_count() > 1:
        # Only after a change: querying the devices of a driver may take seconds.
        if now != seen:
            with suppress(UserError, OSError):
                start_next(root)
                seen = now
        time.sleep(POLL_INTERVAL)


def _states(root: Path) -> dict[str, str]:
    statuses = {job.name: job.status() for job in list_jobs(root)}
    return {name: WAITING if s.waiting else s.state for name, s in statuses.items() if s.here}


if __name__ == "__main__":
    with suppress(OSError):  # the folder may be removed at any time
        keep(Path(sys.argv[1]))
