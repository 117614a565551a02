"""Presenter of *Readers*: who labels, how far two readers agree, in words; without Qt."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

from napari_graphflow.dataset.findings import counted, listed
from napari_graphflow.labelling.agreement import FINISHED, Agreement
from napari_graphflow.plugin.widgets.words import in_words
from napari_graphflow.system.files import read_memory, replace_file
from napari_graphflow.system.folders import data_root

HEADERS = ("Structure", "Dice", "HD95 mm", "Voxels", "Worst slice")


def known_reader() -> str:
    """Return the name under which this user labels; empty for that of the user of the computer."""
    name = read_memory(_file()).get("reader")
    return name if isinstance(name, str) else ""


def remember_reader(name: str) -> None:
    """Keep the name for the next time."""
    _file().parent.mkdir(parents=True, exist_ok=True)
    replace_file(_file(), json.dumps({"reader": name}).encode())


def names(text: str) -> tuple[str, ...]:
    """Return the names in a text with commas, each once."""
    found = (part.strip() for part in text.split(","))
    return tuple(dict.fromkeys(name for name in found if name))


def again_text(cases: Sequence[str]) -> str:
    """Return the text of the button that opens a case to be drawn again."""
    return f"Draw again ({counted(len(cases), 'case')})" if cases else "No case to draw again"


def reread_text(case: str, rows: Sequence[Agreement]) -> str:
    """Return how far a second reading agrees with the accepted mask."""
    known = [one for one in rows if not math.isnan(one.dice)]
    found = ", ".join(f"{in_words(one.structure)} {one.dice:.2f}" for one in known)
    return f"{case} was drawn again. Dice with the accepted mask: {found or 'no structure'}."


def masks_text(case: str, found: Sequence[str]) -> str:
    """Return whose masks of a case can be compared."""
    if not case:
        return "Open a case, or choose one in the list."
    drafts = [name for name in found if name != FINISHED]
    parts = [f"a draft of {listed(drafts)}"] if drafts else []
    parts += ["a finished mask"] if FINISHED in found else []
    text = f"{case} has {listed(parts) if parts else 'no mask yet'}."
    return text if len(found) > 1 else f"{text} Two are needed to compare."


def cells(row: Agreement, shown_slice: int | None) -> tuple[str, str, str, str, str]:
    """Return the texts of a structure; `shown_slice` is its worst slice as the window counts."""
    distance = row.hausdorff_distance_95
    missing = "only one" if math.isinf(distance) else "–"
    return (
        in_words(row.structure),
        "–" if math.isnan(row.dice) else f"{row.dice:.3f}",
        f"{distance:.1f}" if math.isfinite(distance) else missing,
        f"{row.voxels:,}",
        "" if shown_slice is None else str(shown_slice),
    )


def _file() -> Path:
    return data_root() / "labelling.json"
