"""Who has a case open: a note with a name and a heartbeat, one per case.

The note tells people, on this and on other computers, to leave a case alone. The guard of the
same case is an ordinary file lock that is held for the moment of a write.
"""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from napari_graphflow.config.settings import Frozen
from napari_graphflow.errors import UserError
from napari_graphflow.system.files import locked, replace_file
from napari_graphflow.system.processes import process_start
from napari_graphflow.system.regular_file import read_regular

#: Seconds between heartbeats, and without one until a case of another computer counts as closed.
HEARTBEAT = 15.0
SILENT = 90.0
#: Seconds to wait for another process that writes the same case.
PATIENCE = 20.0


class Holder(Frozen):
    """Who has a case open.

    Parameters
    ----------
    reader
        Name of the reader.
    token
        Identifies the window.
    host, pid, started
        Its process, see :func:`napari_graphflow.system.processes.process_start`.
    beat
        Unix time of the last heartbeat.
    """

    reader: str
    token: str
    host: str
    pid: int
    started: str
    beat: float

    @property
    def alive(self) -> bool:
        """Whether the window still exists, as far as can be known here."""
        if self.host == socket.gethostname():
            return process_start(self.pid) == self.started
        return time.time() - self.beat < SILENT


def holder(lock: Path) -> Holder | None:
    """Return who has a case open; None if nobody, or if they are gone."""
    try:
        found = Holder.model_validate_json(read_regular(lock))
    except (OSError, ValidationError):  # nobody, or a damaged note
        return None
    return found if found.alive else None


def hold(lock: Path, guard: Path, reader: str, token: str, *, take_over: bool = False) -> None:
    """Note that a window has a case open; repeated calls are heartbeats.

    Parameters
    ----------
    lock, guard
        The note, and the file that is locked meanwhile.
    reader, token
        Name of the reader, and what identifies the window.
    take_over
        Whether to take the case from another window.

    Raises
    ------
    UserError
        If another window has the case open.
    """
    with guarded(guard):
        if not take_over:
            refuse_others(lock, token)
        pid = os.getpid()
        note = Holder(
            reader=reader,
            token=token,
            host=socket.gethostname(),
            pid=pid,
            started=process_start(pid),
            beat=time.time(),
        )
        replace_file(lock, note.model_dump_json().encode())


def release(lock: Path, guard: Path, token: str) -> None:
    """Remove the note of a window, if it is still its own."""
    with guarded(guard):
        try:
            found = Holder.model_validate_json(read_regular(lock))
        except (OSError, ValidationError):
            return
        if found.token == token:
            lock.unlink(missing_ok=True)


def refuse_others(lock: Path, token: str) -> None:
    """Raise a `UserError` if another window has the case open."""
    found = holder(lock)
    if found is None or found.token == token:
        return
    minutes = max(0, round((time.time() - found.beat) / 60))
    ago = "now" if not minutes else f"{minutes} min ago"
    raise UserError(
        f"The case {lock.stem} is open in another window by {found.reader} on {found.host} "
        f"(last sign of life: {ago}).",
        "Close it there, or take it over.",
    )


@contextmanager
def guarded(guard: Path) -> Iterator[None]:
    """Hold the guard of a case for the moment of a write."""
    with locked(guard, PATIENCE) as free:
        if not free:
            raise UserError(
                f"The case {guard.name[1:].removesuffix('.guard')} is being written by another "
                "window.",
                "Try again in a moment.",
            )
        yield
