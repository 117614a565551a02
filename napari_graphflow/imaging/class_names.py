"""Read and write the class names of a mask."""

import json
from collections.abc import Mapping
from pathlib import Path

from napari_graphflow.imaging.segments import is_segmentation, segment_names
from napari_graphflow.system.files import replace_file

_NAMES_SUFFIX = ".labels.json"
_LABEL_FOLDERS = ("labelsTr", "labelsTs")


def names_file(path: Path) -> Path:
    """Return the file of class names next to a mask."""
    return path.with_name(path.name + _NAMES_SUFFIX)


def read_class_names(path: Path) -> dict[str, int]:
    """Read the class names of a mask; empty if there are none.

    They are read from ``NAME.labels.json`` next to the mask, in the form
    ``{"labels": {"background": 0, "liver": 1}}``, from the segments in the mask itself, or from
    ``dataset.json`` if the mask is part of a dataset.

    Raises
    ------
    UserError
        If the mask has named segments that cannot be read.
    """
    names = names_in(names_file(path))
    if not names and is_segmentation(path):
        names = {"background": 0} | segment_names(path)
    if not names and path.parent.name in _LABEL_FOLDERS:
        names = names_in(path.parent.parent / "dataset.json")
    return names


def names_in(path: Path) -> dict[str, int]:
    """Read class names from the ``labels`` of a JSON file; empty if it contains none."""
    try:
        found = json.loads(path.read_bytes())["labels"]
        # The Decathlon maps values to names, nnU-Net maps names to values.
        pairs = [(v, k) if isinstance(v, str) else (k, v) for k, v in found.items()]
        return {str(name): int(value) for name, value in pairs}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        # Names are optional: the mask is read without them.
        return {}


def write_class_names(path: Path, classes: Mapping[str, int]) -> None:
    """Write the class names of a mask next to it; without names, remove the file."""
    beside = names_file(path)
    if not classes:
        beside.unlink(missing_ok=True)
        return
    text = json.dumps({"labels": dict(classes)}, indent=1, ensure_ascii=False)
    replace_file(beside, text.encode() + b"\n")
