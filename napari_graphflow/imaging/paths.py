"""Paths given by users, and the errors of the operating system in plain words."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from napari_graphflow.errors import UserError
from napari_graphflow.imaging.formats.endings import HEADERS, VOXELS, split_ending, suffix
from napari_graphflow.system.destinations import write_error

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
    from napari_graphflow.imaging.formats.reading import sniff  # slow to import

    return "DICOM" if path.is_dir() else sniff(path)


def companions(path: Path) -> list[Path]:
    """Return the files that may hold the voxels of a header, such as ``x.raw`` of ``x.mhd``."""
    if suffix(path) not in HEADERS or not path.parent.is_dir():
        return []
    stem = f"{split_ending(path.name)[0]}."
    return sorted(one for one in path.parent.iterdir() if one.name.startswith(stem) and one != path)


def written_with(path: Path) -> list[Path]:
    """Return the files that writing an image replaces: itself and the voxels of a header."""
    stem, ending = path.name[: len(path.name) - len(suffix(path))], suffix(path)
    return [path, *(path.with_name(f"{stem}{one}") for one in VOXELS.get(ending, ()))]


def refuse_replacing(outputs: Iterable[Path], inputs: Iterable[Path]) -> None:
    """Refuse to write a file that is read as well, even under another name or by a link.

    Raises
    ------
    UserError
        If an output is an input.
    """
    read = {identity for path in inputs for identity in _identities(path)}
    for path in outputs:
        if not read.isdisjoint(_identities(path)):
            raise UserError(
                f"{path} is one of the files that are read, and must not be replaced.",
                "Choose another output.",
            )


def refuse_overwriting(outputs: Iterable[Path], *, overwrite: bool) -> None:
    """Refuse to replace files that exist; called before a command computes anything.

    Raises
    ------
    UserError
        If an output exists and `overwrite` is not set.
    """
    existing = [] if overwrite else sorted({path for path in outputs if os.path.lexists(path)})
    if existing:
        more = f", and {len(existing) - 1} more," if len(existing) > 1 else ""
        raise UserError(
            f"{existing[0]}{more} already exist{'s' * (not more)}.",
            "Choose another output, or use --overwrite.",
        )


def _identities(path: Path) -> list[Path | tuple[int, int]]:
    """Return the resolved path, and the number of the file if it exists."""
    found: list[Path | tuple[int, int]] = [path.resolve()]
    try:
        status = path.stat()
    except OSError:
        return found
    return [*found, (status.st_dev, status.st_ino)]


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
    except PermissionError as error:
        if writing:
            raise write_error(path, error) from None
        raise UserError(
            f"{path} cannot be read: permission denied.",
            "Choose another location, or change the permissions.",
        ) from None
    except OSError as error:
        if writing:
            raise write_error(path, error) from None
        reason = (error.strerror or "operating system error").lower()
        raise UserError(f"{path.name} cannot be read: {reason}.", "Check the disk.") from None
