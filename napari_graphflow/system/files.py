"""Locks, and replacing a file as a whole."""

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

#: By lock file, whose turn it is among the threads of this process.
_turns: dict[Path, threading.Lock] = {}


@contextmanager
def locked(path: Path, patience: float = 0.0) -> Iterator[bool]:
    """Hold the lock on a file, which is made where it is missing, until the process ends at most.

    Yields
    ------
    free
        Whether nobody else, a thread of this process included, held it for `patience` seconds;
        True as well on file systems that know no locks.
    """
    # A lock of fcntl keeps out other processes only, and closing any descriptor of its file lets
    # it go. So only the thread whose turn it is in this process may open the file.
    turn = _turns.setdefault(path.parent.resolve() / path.name, threading.Lock())
    end = time.monotonic() + patience
    if not turn.acquire(timeout=patience):
        yield False
        return
    try:
        with path.open("ab") as file:
            while not (free := _try_lock(file)) and time.monotonic() < end:
                time.sleep(0.02)
            yield free
    finally:
        turn.release()


def _try_lock(file: IO[bytes]) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            # Unlike flock not inherited by forked children, who may outlive a killed process.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return True
    return True


def replace_file(path: Path, data: bytes) -> None:
    """Write a file aside, down to the disk, and move it into place: never seen half."""
    aside = path.with_name(f".{path.name}.part")
    try:
        with aside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        for attempt in range(20):
            try:
                aside.replace(path)
                return
            except PermissionError:  # Windows, while somebody reads the old one
                if attempt == 19:
                    raise
                time.sleep(0.01)
    finally:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
