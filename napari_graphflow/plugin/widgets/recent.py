"""Datasets and models that were opened from elsewhere, kept beside the jobs and models."""

import json
from pathlib import Path
from typing import Literal

from napari_graphflow.system.files import replace_file
from napari_graphflow.system.folders import data_root

Kind = Literal["datasets", "models"]


KEPT = 12


MARKS = {"datasets": "dataset.json", "models": "model.json"}


def recent(kind: Kind) -> list[Path]:
    """Folders of a kind that were opened before and are still there, the newest first."""
    found = (Path(folder) for folder in _read().get(kind, []))
    return [folder for folder in found if (folder / MARKS[kind]).is_file()]


def remember(kind: Kind, folder: Path) -> None:
    """Put a folder at the head of its list."""
    kept = _read()
    text = str(Path(folder).resolve())
    kept[kind] = [text, *(one for one in kept.get(kind, []) if one != text)][:KEPT]
    file = _file()
    file.parent.mkdir(parents=True, exist_ok=True)
    replace_file(file, json.dumps(kept, indent=1).encode())


def _read() -> dict[str, list[str]]:
    try:
        kept = json.loads(_file().read_text("utf-8"))
    except (OSError, ValueError):
        # A convenience only: a damaged list starts anew.
        return {}
    return kept if isinstance(kept, dict) else {}


def _file() -> Path:
    return data_root() / "recent.json"
