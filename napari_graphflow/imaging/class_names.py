"""Read and write the class names of a mask."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from napari_graphflow.errors import UserError
from napari_graphflow.imaging.formats.endings import READ, split_ending
from napari_graphflow.system.files import parse_json, replace_file
from napari_graphflow.system.regular_file import read_regular

_NAMES_SUFFIX = ".labels.json"
_LABEL_FOLDERS = ("labelsTr", "labelsTs")


def names_file(path: Path) -> Path:
    """Return the file of class names next to a mask."""
    return path.with_name(path.name + _NAMES_SUFFIX)


def read_class_names(path: Path) -> dict[str, int]:
    """Read the class names of a mask; empty if there are none.

    They are read from ``NAME.labels.json`` next to the mask, NAME with or without its suffix, as
    ``{"labels": {"background": 0, "liver": 1}}`` or ``{"liver": 1}``, from the
    segments in the mask itself, or from ``dataset.json`` if the mask is part of a dataset.

    Raises
    ------
    UserError
        If the names or the named segments cannot be read.
    """
    from napari_graphflow.imaging.segments import is_segmentation, segment_names

    names = names_in(names_file(path))
    if not names:
        names = names_in(path.with_name(split_ending(path.name, READ)[0] + _NAMES_SUFFIX))
    if not names and is_segmentation(path):
        names = {"background": 0} | segment_names(path)
    if not names and path.parent.name in _LABEL_FOLDERS:
        names = described_names(path.parent.parent / "dataset.json")
    return names


def names_in(path: Path) -> dict[str, int]:
    """Read class names from a JSON file of names; empty if there is no such file.

    Raises
    ------
    UserError
        If the file contains anything else: without its names, its mask would be read wrongly.
    """
    content = _content(path)
    if content is None:
        return {}
    return _names(content.get("labels", content), path)


def described_names(path: Path) -> dict[str, int]:
    """Read class names from a ``dataset.json``; empty if it has none, or regions of labels.

    Raises
    ------
    UserError
        If the file or its names are damaged.
    """
    labels = (_content(path) or {}).get("labels") or {}
    if isinstance(labels, dict) and any(isinstance(one, list) for one in labels.values()):
        return {}
    return _names(labels, path)


def _content(path: Path) -> dict[str, Any] | None:
    """Return the object in a JSON file, or None if there is no file."""
    try:
        content = parse_json(read_regular(path), object_pairs_hook=_without_repetition)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise _damaged(path, str(error)) from None
    if not isinstance(content, dict):
        raise _damaged(path, "it holds no names")
    return content


def _without_repetition(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name is repeated")
    return found


def _names(labels: Any, path: Path) -> dict[str, int]:
    if not isinstance(labels, dict):
        raise _damaged(path, "its labels are not names with values")
    # The Decathlon maps values to names, nnU-Net maps names to values.
    inverted = bool(labels) and all(key.isdigit() for key in labels)
    inverted = inverted and not all(str(one).isdigit() for one in labels.values())
    pairs = [(v, k) if inverted else (k, v) for k, v in labels.items()]
    names: dict[str, int] = {}
    for name, value in pairs:
        whole = isinstance(value, int) and not isinstance(value, bool)
        digits = isinstance(value, str) and value.isdigit()
        if not isinstance(name, str) or not (digits or (whole and value >= 0)):
            raise _damaged(path, f"{value!r} of {name!r} is not a value of voxels")
        if name in names or int(value) in names.values():
            raise _damaged(path, f"{name} = {value} is there twice")
        names[name] = int(value)
    return names


def _damaged(path: Path, reason: str) -> UserError:
    return UserError(
        f"The class names in {path.name} cannot be read: {reason}.",
        'Write {"labels": {"background": 0, "liver": 1}}, or remove the file.',
    )


def write_class_names(path: Path, classes: Mapping[str, int]) -> None:
    """Write the class names of a mask next to it; without names, remove the file."""
    beside = names_file(path)
    if not classes:
        beside.unlink(missing_ok=True)
        return
    text = json.dumps({"labels": dict(classes)}, indent=1, ensure_ascii=False)
    replace_file(beside, text.encode() + b"\n")
