"""Recently opened dataset and model folders, stored in the data folder."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Literal

from napari_graphflow.system.files import read_memory, replace_file
from napari_graphflow.system.folders import data_root

Kind = Literal["datasets", "models"]
MAX_ENTRIES = 12
MARKS = {"datasets": "dataset.json", "models": "model.json"}


def recent(kind: Kind) -> list[Path]:
    """Return recently opened folders that still exist, the newest first."""
    return [folder for folder in map(Path, _read().get(kind, [])) if _has(folder, MARKS[kind])]


def remember(kind: Kind, folder: Path) -> None:
    """Move a folder to the top of its list."""
    entries = _read()
    text = str(Path(folder).resolve())
    entries[kind] = [text, *(one for one in entries.get(kind, []) if one != text)][:MAX_ENTRIES]
    file = _file()
    with suppress(OSError):  # a full disk or a home that may not be written
        file.parent.mkdir(parents=True, exist_ok=True)
        replace_file(file, json.dumps(entries, indent=1).encode())


def _read() -> dict[str, list[str]]:
    return {
        kind: [one for one in folders if isinstance(one, str)]
        for kind, folders in read_memory(_file()).items()
        if kind in MARKS and isinstance(folders, list)
    }


def _has(folder: Path, name: str) -> bool:
    try:
        return (folder / name).is_file()
    except (OSError, ValueError):  # such as a name that is too long
        return False


def _file() -> Path:
    return data_root() / "recent.json"
