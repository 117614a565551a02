"""Presenter of the dialog that makes a dataset from folders; without Qt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from napari_graphflow.dataset.case import SPLITS
from napari_graphflow.dataset.findings import counted, listed, some_of
from napari_graphflow.dataset.import_preview import ImportPreview
from napari_graphflow.errors import UserError
from napari_graphflow.plugin.viewer.layers import COLOURS

_SPLITS = {"train": "training", "val": "validation", "test": "test"}
_LEFT_OUT = {
    "left_out": "images that are in no split",
    "masks_without_image": "masks without an image",
    "not_used": "other files",
}
PAIRS = ("Case", "Image", "Mask", "Used for")
FINDINGS = ("", "Case", "What was found", "What to do")
SEVERITIES = {"error": "✕ error", "warning": "⚠ warning", "info": "· note"}


@dataclass(frozen=True)
class Structure:
    """A row of the table of structures: its name, its value in the masks and its colour."""

    name: str
    value: int
    colour: str


def pairs(preview: ImportPreview) -> list[tuple[str, str, str, str]]:
    """Return a row of texts for each case: its image, its mask and what it is used for."""
    return [
        (
            one.name,
            one.images[0].name + (f" + {len(one.images) - 1}" if len(one.images) > 1 else ""),
            "no mask" if one.mask is None else one.mask.name,
            _SPLITS[one.split] if one.mask is not None or one.split != "train" else "unlabelled",
        )
        for one in preview.sources
    ]


def summary(preview: ImportPreview) -> str:
    """Return how many cases there are, and what they are used for, in words."""
    sources = preview.sources
    labelled = [one for one in sources if one.mask is not None]
    without = len(sources) - len(labelled)
    parts = [f"{counted(len(sources), 'case')}: {len(labelled)} with a mask, {without} without."]
    numbers = {split: sum(one.split == split for one in labelled) for split in SPLITS}
    used = [f"{count} for {_SPLITS[split]}" for split, count in numbers.items() if count]
    if used:
        parts.append(
            f"Of those with a mask, {listed(used)}; all scans of a patient are used for the same. "
            "The others wait to be labelled."
        )
    else:
        parts.append("All wait to be labelled.")
    parts += [
        f"{len(names)} {_LEFT_OUT.get(reason, reason)} will be left out: {some_of(names)}."
        for reason, names in preview.record.items()
        if names
    ]
    return " ".join(parts)


def structures(preview: ImportPreview) -> list[Structure]:
    """Return the structures in the masks; one to begin with if there are no masks."""
    found = {name: value for name, value in preview.classes.items() if name != "background"}
    found = found or {"structure": 1}
    return [
        Structure(name, value, "" if name == "ignore" else colour(number))
        for number, (name, value) in enumerate(found.items())
    ]


def with_meaning(rows: Sequence[Structure], value: int, *, ignored: bool) -> list[Structure]:
    """Return the structures with a value that marks voxels without annotation, or a structure."""
    found = []
    for number, one in enumerate(rows):
        if one.value == value and ignored != (one.name == "ignore"):
            name = "ignore" if ignored else f"structure {value}"
            one = Structure(name, value, "" if ignored else colour(number))  # noqa: PLW2901
        found.append(one)
    return found


def another(known: Sequence[Structure]) -> Structure:
    """Return a further structure with a free value."""
    value = max((one.value for one in known), default=0) + 1
    return Structure(f"structure {value}", value, colour(len(known)))


def colour(number: int) -> str:
    """Return the colour of the structure at a place of the table."""
    return COLOURS[number % len(COLOURS)]


def classes(rows: Sequence[Structure], background: int = 0) -> dict[str, int]:
    """Return the classes for the import.

    Raises
    ------
    UserError
        If a name is missing, or occurs twice.
    """
    names = [one.name.strip() for one in rows]
    if not rows or not all(names):
        raise UserError("A structure has no name.", "Name every structure.")
    twice = sorted({name for name in names if names.count(name) > 1} | {"background"} & set(names))
    if twice:
        raise UserError(f"Two structures are called {twice[0]}.", "Give each its own name.")
    return {"background": background} | dict(zip(names, (one.value for one in rows), strict=True))


def colours(rows: Sequence[Structure]) -> dict[str, str]:
    """Return the colours for the import."""
    return {one.name.strip(): one.colour for one in rows if one.colour}


def target(parent: Path, name: str) -> Path:
    """Return the folder of the new dataset.

    Raises
    ------
    UserError
        If the name is not one of a folder.
    """
    clean = name.strip()
    if not clean or clean in (".", "..") or set(clean) & set('/\\:*?"<>|'):
        raise UserError(
            f"“{name}” cannot be the name of a folder.", "Use letters, numbers and spaces."
        )
    return parent / clean


def background_of(found: Mapping[str, int]) -> int:
    """Return the value of the background in the masks."""
    return found.get("background", 0)
