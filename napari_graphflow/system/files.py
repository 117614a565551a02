"""Locks, listings, and replacing a file or a folder as a whole."""

import errno
import json
import os
import secrets
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import IO, Any

from napari_graphflow.errors import UserError
from napari_graphflow.system.regular_file import read_regular

#: A lock per lock file among the threads of this process.
_turns: dict[Path, threading.Lock] = {}


@contextmanager
def locked(path: Path, patience: float = 0.0) -> Iterator[bool]:
    """Hold the lock on a file, which is created if missing; released when the process ends.

    Yields
    ------
    free
        Whether the lock was acquired within `patience` seconds; False if another process or thread
        holds it, True on file systems without locks.
    """
    # fcntl locks exclude only other processes, and closing any descriptor of the file releases
    # them. So only one thread of this process at a time may open the file.
    turn = _turns.setdefault(path.parent.resolve() / path.name, threading.Lock())
    end = time.monotonic() + patience
    if not turn.acquire(timeout=patience):
        yield False
        return
    try:
        with _lock_file(path) as file:
            while not (free := file is None or _try_lock(file)) and time.monotonic() < end:
                time.sleep(0.02)
            yield free
    finally:
        turn.release()


def _lock_file(path: Path) -> AbstractContextManager[IO[bytes] | None]:
    """Open a lock file; nothing for a pipe in its place, which would be waited for."""
    waits = getattr(os, "O_NONBLOCK", 0)
    try:
        return open(path, "ab", opener=lambda name, flags: os.open(name, flags | waits, 0o666))
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return nullcontext()


def _try_lock(file: IO[bytes]) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            # Unlike flock, not inherited by forked children, which may outlive a killed process.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return True
    return True


def path_inside(folder: Path, name: str) -> Path:
    """Return the path of a file that another computer or a file names, within a folder.

    Raises
    ------
    UserError
        If the name leads out of the folder, by itself or through a link.
    """
    path = folder / name
    plain = name and not any(part in ("..", "") for part in name.replace("\\", "/").split("/"))
    if not plain or not path.resolve().is_relative_to(folder.resolve()):
        raise UserError(
            f"'{name[:200]}' leads out of the folder {folder}.", "The file was not used."
        )
    return path


def parse_json(data: bytes | str, **options: Any) -> Any:
    """Parse JSON of any Unicode encoding; `ValueError` also for lists within 100,000 lists."""
    try:
        return json.loads(data, **options)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_memory(path: Path) -> dict[str, Any]:
    """Return the JSON object of a file that can be done without; empty if missing or damaged."""
    with suppress(OSError, ValueError):
        if isinstance(found := parse_json(read_regular(path)), dict):
            return found
    return {}


def read_record(path: Path, values: type) -> dict[str, Any]:
    """Return the JSON object of a file that a job cannot do without.

    Raises
    ------
    UserError
        If it cannot be read, or holds no object whose values are of the type `values`.
    """
    with suppress(OSError, ValueError):
        found = parse_json(read_regular(path))
        if isinstance(found, dict) and all(isinstance(one, values) for one in found.values()):
            return found
    raise UserError(f"{path} cannot be read.", "Restore it from a backup, or start a new job.")


def replace_file(path: Path, data: bytes) -> None:
    """Write a file atomically: to a temporary file, synced to disk, then renamed."""
    with written_aside(path) as aside, aside.open("xb") as file:
        file.write(data)


@contextmanager
def written_aside(path: Path, *, sync: bool = True) -> Iterator[Path]:
    """Write a file or folder to a temporary path, and move it to `path` when complete.

    If the block raises, the temporary path is removed and `path` is unchanged.

    Parameters
    ----------
    path
        Final path; an existing file or folder is replaced.
    sync
        Whether to sync a file to disk before it is moved, in case of a power cut. Files in a
        folder are not synced.

    Yields
    ------
    aside
        Temporary path: hidden, and not with the suffix of `path`, so that no listing finds it.
    """
    aside = hidden_beside(path)
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


def hidden_beside(path: Path) -> Path:
    """Return a hidden temporary path in the same folder, which nobody can have created before."""
    # Cut, so that a name of the longest length can be written, too.
    name = os.fsencode(path.name)[:200].decode(errors="ignore")
    return path.with_name(f".{name}.{secrets.token_hex(6)}.part")


def _move_file(aside: Path, path: Path) -> None:
    for attempt in range(20):
        try:
            aside.replace(path)
            return
        except PermissionError:  # Windows, while another process reads the file
            if attempt == 19:
                raise
            time.sleep(0.01)


def _move_folder(aside: Path, path: Path) -> None:
    """Replace a folder; an existing one is moved first, since it cannot be replaced in one step."""
    if not path.exists():
        aside.rename(path)
        return
    old = hidden_beside(path).with_suffix(".old")
    path.rename(old)
    try:
        aside.rename(path)
    except OSError:
        old.rename(path)
        raise
    _remove(old)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        return
    with suppress(OSError):
        path.unlink(missing_ok=True)


#: What operating systems leave behind, in lower case; hidden files begin with a dot.
_LEFT_BEHIND = ("thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "$recycle.bin")


def is_clutter(name: str) -> bool:
    """Whether a name is that of a hidden file or of one that an operating system left behind.

    Such as ``.DS_Store``, ``._scan.nii.gz`` (the resource fork of a Mac) and ``Thumbs.db``.
    """
    return name.startswith(".") or name.casefold() in _LEFT_BEHIND


def listing(folder: Path) -> list[Path]:
    """Return the files and folders in a folder, sorted, without :func:`is_clutter`."""
    return sorted(path for path in folder.iterdir() if not is_clutter(path.name))
