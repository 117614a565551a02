"""Paths given by users, and the errors of the operating system in plain words."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from napari_graphflow.errors import UserError
from napari_graphflow.imaging.formats import sniff

Pathlike = str | os.PathLike[str]


def existing_path(path: Pathlike) -> Path:
    """Return the path of an existing file or folder."""
    path = Path(path)
    if not path.exists():
        raise UserError(f"There is no file or folder {path}.", "Check the path.")
    if not (path.is_file() or path.is_dir()):
        # Reading a pipe or a device could block for ever.
        raise UserError(f"{path} is neither a file nor a folder.", "Check the path.")
    return path


def kind_of(path: Path) -> str:
    """Return the format of a file; a folder can only contain DICOM."""
    return "DICOM" if path.is_dir() else sniff(path)


@contextmanager
def user_errors(path: Path, writing: bool = False) -> Iterator[None]:
    """Raise errors of the operating system as a `UserError`."""
    try:
        yield
    except MemoryError:
        raise UserError(
            f"This computer has not enough memory for {path.name}.",
            "Close other programs, or crop the image first.",
        ) from None
    except PermissionError:
        what = f"{path.parent} cannot be written to" if writing else f"{path} cannot be read"
        raise UserError(
            f"{what}: permission denied.", "Choose another location, or change the permissions."
        ) from None
    except OSError as error:
        reason = (error.strerror or "operating system error").lower()
        verb = "written" if writing else "read"
        raise UserError(
            f"{path.name} cannot be {verb}: {reason}.",
            "Free disk space or choose another disk." if writing else "Check the disk.",
        ) from None
