"""Errors of the DICOM libraries as a `UserError`."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from napari_graphflow.errors import UserError
from napari_graphflow.imaging.formats.voxels import EXPORT_AGAIN, silenced


@contextmanager
def invalid_object(name: str, kind: str) -> Iterator[None]:
    """Raise errors of highdicom and pydicom as a `UserError`, and silence their warnings.

    Parameters
    ----------
    name, kind
        Name of the file and what it should be, for the message.
    """
    try:
        with silenced("highdicom"), silenced("pydicom"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (UserError, OSError, MemoryError):
        raise
    except Exception as error:  # each invalid attribute raises its own
        message = (str(error).splitlines() or ["no message"])[0].rstrip(".")
        raise UserError(f"{name} is not a valid {kind}: {message}.", EXPORT_AGAIN) from None
