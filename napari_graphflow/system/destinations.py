"""Where results go: tested before the work, and what happens if they cannot be written at the end.

What was computed is kept elsewhere (`write_or_keep`, `copy_or_name`). Copies and conversions, whose
source still exists, are written as a whole or not at all, and the error says so
(`saying_what_stands`).
"""

import errno
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from napari_graphflow.errors import UserError
from napari_graphflow.system.failures import DENIED, DISK_FULL, DRIVE_GONE
from napari_graphflow.system.files import hidden_beside, written_aside
from napari_graphflow.system.folders import data_root

Written = TypeVar("Written")

#: Bytes written by the test: a full disk may still take a few.
_TEST_BYTES = 1 << 16
_LONGEST_NAME, _LONGEST_PATH = 255, 4096


def require_writable(paths: Iterable[Path]) -> None:
    """Test that files or folders can be created or replaced, and leave nothing behind.

    Called before the work whose results they are.

    Raises
    ------
    UserError
        If a parent is a file, a name is too long, the disk is full, or it cannot be written to.
    """
    tested: set[Path] = set()
    for path in map(Path.absolute, paths):
        folder = _nearest(path)
        if folder not in tested:
            tested.add(folder)
            try:
                _write_and_remove(folder)
            except OSError as error:
                raise write_error(path, error) from None


def write_or_keep(path: Path, write: Callable[[Path], Written]) -> Written:
    """Write results to a path; if that fails, keep them in a folder of this user.

    Parameters
    ----------
    path
        Where they belong.
    write
        Writes them to the path that it gets, or to files that begin like it.

    Raises
    ------
    UserError
        If they could not be written to `path`: names the cause and where they are instead.
    """
    try:
        return write(path)
    except (OSError, UserError) as error:
        failed = error if isinstance(error, UserError) else write_error(path, error)
    for place in (_own_folder, _temporary_folder):
        folder = None
        try:
            parent = place()
            parent.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(prefix=time.strftime("%Y%m%d-%H%M%S-"), dir=parent))
            write(folder / path.name)
        except (OSError, UserError):
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)
            continue
        raise UserError(failed.text, f"The results were kept in {folder} instead.")
    raise failed


def copy_or_name(source: Path, out: Path, what: str) -> None:
    """Copy a folder of results; if that fails, name where they are.

    Parameters
    ----------
    what
        Name of the results, as the subject of a sentence in the singular.

    Raises
    ------
    UserError
        If they could not be copied; nothing is left at `out`.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with written_aside(out) as aside:
            shutil.copytree(source, aside)
    except (shutil.Error, OSError) as error:
        failed = write_error(out, _first(error))
        raise UserError(failed.text, f"{what} is in {source}; copy it from there.") from None


@contextmanager
def saying_what_stands(path: Path, stands: str) -> Iterator[None]:
    """Report that a copy or conversion could not be written, and what stands nevertheless.

    Parameters
    ----------
    path
        What is written, with `written_aside`.
    stands
        A sentence, such as "Nothing was written, and the images are unchanged."

    Raises
    ------
    UserError
        In place of an `OSError` of writing.
    """
    try:
        yield
    except OSError as error:
        names = [one for one in (error.filename, error.filename2) if isinstance(one, str)]
        below = any(Path(one).absolute().is_relative_to(path.parent.absolute()) for one in names)
        if names and not below and error.errno not in DISK_FULL:
            raise  # of reading
        failed = write_error(path, error)
    except WriteError as error:
        failed = WriteError(path, error.cause, error.remedy)
    else:
        return
    raise UserError(failed.text, f"{stands} {failed.remedy}")


def _first(error: OSError) -> OSError:
    """Return the error of the first file that `shutil.copytree` could not copy."""
    if error.errno is not None or not isinstance(error, shutil.Error):
        return error
    text = str(error.args[0][0][2]) if error.args and error.args[0] else ""
    found = re.match(r"\[Errno (\d+)\]", text)
    return OSError(int(found[1]), os.strerror(int(found[1]))) if found else error


def _own_folder() -> Path:
    return data_root() / "unsaved"


def _temporary_folder() -> Path:
    return Path(tempfile.gettempdir())


class WriteError(UserError):
    """A path cannot be written, for a cause that ends its sentence."""

    def __init__(self, path: Path, cause: str, remedy: str) -> None:
        self.cause = cause
        name = str(path) if len(path.name) <= _LONGEST_NAME else f"{path.name[:40]}..."
        super().__init__(f"{name} cannot be written: {cause}.", remedy)


def write_error(path: Path, error: OSError) -> WriteError:
    """Describe why a path cannot be written, in one sentence."""
    number = error.errno
    if number in DISK_FULL:
        cause, remedy = "the disk is full", "Free some space, or choose another folder."
    elif number == errno.ENAMETOOLONG:
        cause, remedy = "the name is too long", "Choose a shorter name."
    elif number in (errno.ENOTDIR, errno.EEXIST):
        cause, remedy = f"{_file_among(path)} is a file, not a folder", "Choose another folder."
    elif number == errno.EISDIR:
        cause, remedy = "it is a folder", "Choose another name."
    elif number == errno.EROFS:
        cause, remedy = "the folder is read-only", "Choose another folder."
    elif number in DENIED:
        cause = f"permission denied in {_existing(path)}"
        remedy = "Choose another folder, or change the permissions."
    elif number in DRIVE_GONE or number == errno.ENOENT:
        cause, remedy = "its folder or drive is gone", "Reconnect it, or choose another folder."
    else:
        cause, remedy = (error.strerror or "system error").lower(), "Choose another folder."
    return WriteError(path, cause, remedy)


def _nearest(path: Path) -> Path:
    """Return the nearest folder that exists; raise a `UserError` if a path is impossible."""
    long = len(os.fsencode(path)) >= _LONGEST_PATH
    if long or any(len(os.fsencode(part)) > _LONGEST_NAME for part in path.parts):
        raise write_error(path, OSError(errno.ENAMETOOLONG, ""))
    folder = _existing(path)
    if not folder.is_dir():
        raise write_error(path, OSError(errno.ENOTDIR, ""))
    return folder


def _existing(path: Path) -> Path:
    """Return the nearest parent that exists, which may be a file."""
    with suppress(OSError):
        return next(parent for parent in path.absolute().parents if os.path.lexists(parent))
    return path.parent


def _file_among(path: Path) -> Path:
    """Return the parent of a path that is a file, or the path."""
    parent = _existing(path)
    return path if parent.is_dir() else parent


def _write_and_remove(folder: Path) -> None:
    test = hidden_beside(folder / "test")
    try:
        with test.open("xb") as file:
            file.write(bytes(_TEST_BYTES))
            file.flush()
            os.fsync(file.fileno())
    finally:
        with suppress(OSError):
            test.unlink(missing_ok=True)
