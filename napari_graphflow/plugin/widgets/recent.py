"""Recently opened dataset and model folders, stored in the data folder."""

import json
from pathlib import Path
from typing import Literal

from napari_graphflow.system.files import replace_file
from napari_graphflow.system.folders import data_root

Kind = Literal["datasets", "models"]
MAX_ENTRIES = 12
MARKS = {"datasets": "dataset.json", "models": "model.json"}


def recent(kind: Kind) -> list[Path]:
    """Return recently opened folders that still exist, the newest first."""
    found = (Path(folder) for folder in _read().get(kind, []))
    return [folder for folder in found if (folder / MARKS[kind]).is_file()]


def remember(kind: Kind, folder: Path) -> None:
    """Move a folder to the top of its list."""
    entries = _read()
    text = str(Path(folder).resolve())
    entries[kind] = [text, *(one for one in entries.get(kind, []) if one != text)][:MAX_ENTRIES]
    file = _file()
    file.parent.mkdir(parents=True, exist_ok=True)
    replace_file(file, json.dumps(entries, indent=1).encode())


def _read() -> dict[str, list[str]]:
    try:
        entries = json.loads(_file().read_text("utf-8"))
    except (OSError, ValueError):
        # Only a convenience: a damaged list is replaced.
        return {}
    return entries if isinstance(entries, dict) else {}


def _file() -> Path:
    return data_root() / "recent.json"
