"""Write autosaved masks, and find them after a crash.

One folder per process, one file per mask: a gzip stream of one JSON line and the array in NumPy
format. Files are replaced atomically, so that a crash leaves the last complete one.
"""

import gzip
import json
import os
import time
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_graphflow.errors import UserError
from napari_graphflow.system.files import parse_json, written_aside
from napari_graphflow.system.folders import data_root
from napari_graphflow.system.processes import process_start
from napari_graphflow.system.regular_file import read_regular

ENDING = ".mask.gz"
_OWNER = "session.json"
#: Maximum length of the JSON line in bytes.
_LONGEST = 1 << 20


@dataclass(frozen=True)
class SavedMask:
    """An autosaved mask.

    Attributes
    ----------
    path
        The file.
    about
        ``name``, ``saved`` (Unix seconds) and what is needed to restore the layer.
    """

    path: Path
    about: dict[str, Any]

    def title(self) -> str:
        """Return a line such as ``liver of brain_002, 14:05 on 2024-02-29``."""
        try:
            when = time.localtime(float(self.about.get("saved", 0)))
        except (TypeError, ValueError, OverflowError, OSError):
            when = time.localtime(0)
        case = f" of {self.about['case']}" if self.about.get("case") else ""
        return f"{self.about.get('name', 'mask')}{case}, {time.strftime('%H:%M on %Y-%m-%d', when)}"


def new_session() -> Path:
    """Create the folder in which this process autosaves masks."""
    pid = os.getpid()
    root = data_root() / "autosave"
    folder = root / f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{pid}-{time.time_ns() % 1000}"
    folder.mkdir(parents=True, exist_ok=True)
    owner = {"pid": pid, "start": process_start(pid)}
    (folder / _OWNER).write_text(json.dumps(owner), "utf-8")
    return folder


def write_mask(path: Path, array: ArrayLike, about: dict[str, Any]) -> None:
    """Write a mask; delete its file if it is empty.

    Raises
    ------
    OSError
        If the file cannot be written; the previous file is then kept.
    """
    array = np.asarray(array)
    if not array.any():
        path.unlink(missing_ok=True)
        return
    with written_aside(path) as aside, gzip.open(aside, "wb", compresslevel=1) as file:
        file.write(json.dumps(about | {"saved": time.time()}).encode() + b"\n")
        np.lib.format.write_array(file, array, allow_pickle=False)


def unsaved_masks() -> list[SavedMask]:
    """Return the masks of processes that no longer run, the oldest first."""
    found = []
    for folder in sorted((data_root() / "autosave").glob("*/")):
        if _is_owned(folder):
            continue
        masks = [_read_about(path) for path in sorted(folder.glob(f"*{ENDING}"))]
        if not masks:
            _remove(folder)
        found += masks
    return found


def read_mask(mask: SavedMask) -> NDArray[Any]:
    """Read the voxels of an autosaved mask.

    Raises
    ------
    UserError
        If the file is damaged.
    """
    try:
        with gzip.open(mask.path, "rb") as file:
            file.readline(_LONGEST)
            array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    except (OSError, EOFError, ValueError, TypeError, zlib.error, SyntaxError, MemoryError):
        raise UserError(
            f"The autosave of {mask.about.get('name')} is damaged.",
            "Open the last saved version of the mask.",
        ) from None
    return array


def delete_mask(mask: SavedMask) -> None:
    """Delete an autosaved mask, and its folder if no other mask is left."""
    mask.path.unlink(missing_ok=True)
    if not list(mask.path.parent.glob(f"*{ENDING}")):
        _remove(mask.path.parent)


def _is_owned(folder: Path) -> bool:
    try:
        owner = parse_json(read_regular(folder / _OWNER))
        return bool(owner["start"]) and process_start(int(owner["pid"])) == owner["start"]
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _read_about(path: Path) -> SavedMask:
    """Return a mask; one that cannot be read is listed as damaged."""
    about = None
    unreadable = (OSError, EOFError, ValueError, zlib.error)
    with suppress(*unreadable), gzip.open(path, "rb") as file:
        about = parse_json(file.readline(_LONGEST))
    if isinstance(about, dict):
        return SavedMask(path, about)
    return SavedMask(path, {"name": f"Damaged autosave {path.name}", "saved": _modified(path)})


def _modified(path: Path) -> float:
    with suppress(OSError):
        return path.stat().st_mtime
    return 0.0


def _remove(folder: Path) -> None:
    with suppress(OSError):
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
