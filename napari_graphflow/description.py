"""What a file or a folder holds, as plain data: ``volumes info`` and the table of the window."""

from pathlib import Path
from typing import Any

import numpy as np

from napari_graphflow import dicom
from napari_graphflow.dicom_seg import is_segmentation, read_segments
from napari_graphflow.volume import (
    Pathlike,
    Volume,
    existing,
    kind_of,
    no_dicom,
    read_labels,
    read_series,
    read_volume,
    speaking,
)

_OVERLAP = "Some segments overlap, so they become {} masks."
_UNKNOWN: dict[str, Any] = dict.fromkeys(
    ("shape", "spacing", "origin", "direction", "orientation", "type", "channels", "range")
)


def describe(path: Pathlike, *, labels: bool = False, like: Volume | None = None) -> dict[str, Any]:
    """Tell what a file or a folder holds.

    Parameters
    ----------
    path
        The file or folder.
    labels, like
        Whether the file is a mask, and the image that the mask must fit.

    Returns
    -------
    dict
        ``format``, ``shape`` (z, y, x), ``spacing``, ``origin``, ``direction``, ``orientation``,
        ``type``, ``channels``, ``range`` (smallest and largest number, None if there is none),
        ``warnings`` and, for DICOM, ``series``. A folder of several series has the fields of its
        only image, or None. ``problem`` says why nothing can be read, if so; else it is empty.

    Raises
    ------
    UserError
        If it cannot be read, or if it is no mask that fits.
    """
    path = existing(path)
    with speaking(path):
        kind = kind_of(path)
    told: dict[str, Any] = {"format": kind or "other"}
    if (labels or like is not None) and is_segmentation(path):
        return told | _describe_segments(path, like)
    if labels or like is not None:
        volume = read_labels(path, like)
        values = [int(value) for value in np.unique(volume.array)]
        return told | fields(volume) | {"labels": values, "problem": ""}
    if kind != "DICOM":
        return told | fields(read_volume(path)) | {"problem": ""}
    return told | _describe_dicom(path)


def _describe_dicom(path: Path) -> dict[str, Any]:
    with speaking(path):
        found = dicom.list_series(path)
    if not found:
        raise no_dicom(path)
    images = [one for one in found if not one.is_segmentation] or found
    told, problem = dict(_UNKNOWN), ""
    if len(images) == 1 and images[0].is_segmentation:
        told |= _describe_segments(images[0].files[0], None)
        return told | {"series": [header(one) for one in found]}
    if len(images) > 1:
        told["warnings"] = [f"The folder holds {len(images)} series; choose one of them."]
    elif images[0].problem:
        told |= header(images[0])
        problem = "" if images[0].resamplable else images[0].problem
    else:
        told |= fields(read_series(images[0]))
    return told | {"series": [header(one) for one in found], "problem": problem}


def _describe_segments(path: Path, like: Volume | None) -> dict[str, Any]:
    masks = read_segments(path, like)
    names = {name: value for _, part in masks for name, value in part.items()}
    said = [_OVERLAP.format(len(masks))] if len(masks) > 1 else []
    return fields(masks[0][0]) | {"segments": names, "warnings": said, "problem": ""}


def fields(volume: Volume) -> dict[str, Any]:
    """Shape, geometry, type, range and warnings of a volume."""
    array = volume.array
    finite = array if array.dtype.kind in "iub" else array[np.isfinite(array)]
    names = ("shape", "spacing", "origin", "direction")
    return {
        **{name: list(getattr(volume, name)) for name in names},
        "orientation": volume.orientation,
        "type": str(array.dtype),
        "channels": array.shape[-1] if volume.channels else 1,
        "range": [finite.min().item(), finite.max().item()] if finite.size else None,
        "warnings": list(volume.warnings),
    }


def header(series: dicom.Series) -> dict[str, Any]:
    """What the headers of a DICOM series say; nothing of it names a patient."""
    names = ("description", "modality", "date", "count", "resamplable")
    return {
        **{name: getattr(series, name) for name in names},
        **{name: list(getattr(series, name)) for name in ("shape", "spacing")},
        "warnings": [] if series.is_segmentation else list(series.warnings),
        "readable": not series.problem or series.is_segmentation,
    }
