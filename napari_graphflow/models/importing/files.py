"""Files of strangers: sizes are bounded before anything is allocated."""

import zipfile
from pathlib import Path
from typing import Any

from napari_graphflow.errors import UserError
from napari_graphflow.system.files import parse_json
from napari_graphflow.system.regular_file import read_regular

#: Bytes of the largest checkpoint and of the largest JSON file.
LARGEST, LARGEST_JSON = 8 * 2**30, 64 * 2**20


def refuse_large(path: Path, largest: int = LARGEST) -> None:
    """Refuse a file that is missing, or that is or unpacks to more than any model.

    Raises
    ------
    UserError
        If it is.
    """
    if not path.is_file():
        raise UserError(f"There is no file {path}.", "Check the path.")
    size = max(path.stat().st_size, _unpacked(path))
    if size > largest:
        raise UserError(
            f"{path} has {size / 2**30:.1f} GB, more than any model that can be used.",
            "Check that it is the file of a model.",
        )


def _unpacked(path: Path) -> int:
    """Return the bytes in an archive, such as a checkpoint of PyTorch; 0 for other files."""
    try:
        with zipfile.ZipFile(path) as archive:
            return sum(one.file_size for one in archive.infolist())
    except (OSError, ValueError, zipfile.BadZipFile):
        return 0


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Raises
    ------
    UserError
        If it is missing, too large or damaged.
    """
    refuse_large(path, LARGEST_JSON)
    try:
        found = parse_json(read_regular(path))
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON ({error}).", "Copy the file again.") from None
    if not isinstance(found, dict):
        raise UserError(f"{path} does not hold a JSON object.", "Copy the file again.")
    return found
