"""Locks, and replacing a file or a folder as a whole."""

import os
import shutil
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
    with written_aside(path) as aside:
        aside.write_bytes(data)


@contextmanager
def written_aside(path: Path, *, sync: bool = True) -> Iterator[Path]:
    """Have a file or a folder written beside its place, and move it there when it is whole.

    Where the block raises, what it wrote is removed and what was at `path` stays.

    Parameters
    ----------
    path
        The place; what is there is replaced.
    sync
        Whether a file goes down to the disk first, for the sake of a power cut. The files of a
        folder are up to those who write them.

    Yields
    ------
    aside
        Where to write; its name ends as `path` does, for libraries that look at endings.
    """
    aside = path.with_name(f".part-{os.getpid()}-{path.name}")
    _remove(aside)
    try:
        yield aside
        if aside.is_dir():
            _move_folder(aside, path)
            return
        if sync:
            with aside.open("rb+") as file:
                os.fsync(file.fileno())
        _move_file(aside, path)
    finally:
        _remove(aside)


def _move_file(aside: Path, path: Path) -> None:
    for attempt in range(20):
        try:
            aside.replace(path)
            return
        except PermissionError:  # Windows, while somebody reads the old one
            if attempt == 19:
                raise
            time.sleep(0.01)


def _move_folder(aside: Path, path: Path) -> None:
    """A folder that is not empty cannot be replaced in one step, so the old one is moved first."""
    if not path.exists():
        aside.rename(path)
        return
    old = path.with_name(f".old-{os.getpid()}-{path.name}")
    path.rename(old)
    try:
        aside.rename(path)
    except OSError:
        old.rename(path)
        raise
    _remove(old)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
        return
    with suppress(OSError):
        path.unlink(missing_ok=True)
