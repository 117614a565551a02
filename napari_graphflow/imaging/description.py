"""Describe a file or folder as plain data, for ``volumes info``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_graphflow.imaging.contents import Part, format_of, inspect_path
from napari_graphflow.imaging.dicom.reading import read_series
from napari_graphflow.imaging.dicom.series import Series, place_of
from napari_graphflow.imaging.files import read_labels
from napari_graphflow.imaging.paths import Pathlike
from napari_graphflow.imaging.segments import is_segmentation, read_segments, segment_names
from napari_graphflow.imaging.volume import Volume

_OVERLAP = "Segments overlap, so they are read as {} masks."
_UNKNOWN: dict[str, Any] = dict.fromkeys(
    ("shape", "spacing", "origin", "direction", "unit", "orientation", "type", "channels", "range")
)


def describe(path: Pathlike, *, labels: bool = False, like: Volume | None = None) -> dict[str, Any]:
    """Describe the contents of a file or folder.

    Parameters
    ----------
    path
        The file or folder.
    labels, like
        Whether the file is a mask, and the image of the mask.

    Returns
    -------
    dict
        ``format``, ``shape`` (z, y, x), ``spacing``, ``origin``, ``direction``, ``unit`` (``mm``
        or ``pixel``), ``orientation`` (empty if not that of a patient), ``type``, ``channels``,
        ``range`` (smallest and largest finite value, or None), ``warnings``, the labels of the
        ``segments`` by name and, for DICOM, ``series``. For several series with one image, the
        fields are those of the image; with several images, None. ``problem`` is the reason why
        nothing can be read, else empty.

    Raises
    ------
    UserError
        If it cannot be read, or the mask does not fit.
    """
    if labels or like is not None:
        return {"format": format_of(path) or "other"} | _describe_mask(Path(path), like)
    contents = inspect_path(path)
    found = {"format": contents.format or "other"}
    source = contents.parts[0].source
    if isinstance(source, Volume):
        return found | _fields(source) | {"problem": ""}
    listed = [_header(part.source) for part in contents.parts if isinstance(part.source, Series)]
    return found | _describe_series(contents.parts) | {"series": listed}


def _describe_mask(path: Path, like: Volume | None) -> dict[str, Any]:
    if is_segmentation(path):
        return _describe_segments(path, like)
    volume = read_labels(path, like)
    values = [int(value) for value in np.unique(volume.array)]
    return _fields(volume) | {"labels": values, "problem": ""}


def _describe_series(parts: Sequence[Part]) -> dict[str, Any]:
    """Describe the only image of a folder, or its only segmentation."""
    series = [part.source for part in parts if isinstance(part.source, Series)]
    images = [one for one in series if not one.is_segmentation] or series
    if len(images) > 1:
        warning = f"The folder contains {len(images)} series; choose one of them."
        return _UNKNOWN | {"warnings": [warning], "problem": ""}
    only = images[0]
    if only.segmentation == "RTSTRUCT":
        return _UNKNOWN | _describe_structures(only.files[0])
    if only.is_segmentation:
        return _UNKNOWN | _describe_segments(only.files[0], None)
    if only.problem:
        return _UNKNOWN | _header(only) | {"problem": "" if only.resamplable else only.problem}
    return _UNKNOWN | _fields(read_series(only)) | {"problem": ""}


def _describe_structures(path: Path) -> dict[str, Any]:
    """Name the structures of a structure set, which has voxels only together with its image."""
    warning = "The contours of a structure set need their image; set --like to it."
    return {
        "format": "DICOM structure set (RTSTRUCT)",
        "segments": segment_names(path),
        "warnings": [warning],
        "problem": "",
    }


def _describe_segments(path: Path, like: Volume | None) -> dict[str, Any]:
    masks = read_segments(path, like)
    names = {name: value for _, part in masks for name, value in part.items()}
    warnings = [sentence for mask, _ in masks for sentence in mask.warnings]
    if len(masks) > 1:
        warnings.append(_OVERLAP.format(len(masks)))
    return _fields(masks[0][0]) | {"segments": names, "warnings": warnings, "problem": ""}


def _fields(volume: Volume) -> dict[str, Any]:
    """Return shape, geometry, type, range and warnings of a volume."""
    array = volume.array
    finite = array if array.dtype.kind in "iub" else array[np.isfinite(array)]
    names = ("shape", "spacing", "origin", "direction")
    return {
        **{name: list(getattr(volume, name)) for name in names},
        "unit": "mm" if volume.sized else "pixel",
        "orientation": volume.orientation if volume.anatomical else "",
        "type": str(array.dtype),
        "channels": array.shape[-1] if volume.channels else 1,
        "range": [finite.min().item(), finite.max().item()] if finite.size else None,
        "warnings": list(volume.warnings),
    }


def _header(series: Series) -> dict[str, Any]:
    """Return header values of a DICOM series; none of them identifies the patient."""
    names = ("description", "modality", "date", "count", "resamplable")
    return {
        **{name: getattr(series, name) for name in names},
        **{name: list(getattr(series, name)) for name in ("shape", "spacing")},
        "warnings": [] if series.is_segmentation else list(series.warnings),
        "first_file": place_of(series),
        "readable": not series.problem or series.is_segmentation,
    }
