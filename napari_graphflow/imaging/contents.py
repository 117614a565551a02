"""What a file or a folder holds, as plain data: ``volumes info`` and the table of the window."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_graphflow.imaging.dicom import series as dicom
from napari_graphflow.imaging.dicom.series import Series, list_series
from napari_graphflow.imaging.dicom_seg import is_segmentation, read_segments
from napari_graphflow.imaging.files import (
    Pathlike,
    existing,
    kind_of,
    no_dicom,
    read_labels,
    read_series,
    read_volume,
    speaking,
)
from napari_graphflow.imaging.volume import Volume

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


SUFFIXES = (
    ".nii.gz", ".nii", ".hdr", ".img", ".nrrd", ".nhdr", ".mha", ".mhd", ".dcm", ".dicom", ".ima",
    ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".gif", ".bmp", ".webp",
)  # fmt: skip


#: A picture with more grey levels than this is an image, with fewer it is a mask.
MOST_CLASSES = 16


@dataclass(frozen=True)
class Part:
    """A DICOM series, or the one image of a file.

    Attributes
    ----------
    cells
        Description, modality or format, date, slices, size, spacing; as text.
    problem
        Why it cannot be shown as it stands; empty if it can.
    warnings
        What to tell before anything is shown, the problem first.
    source
        The series, or the volume that was read already.
    """

    title: str
    cells: tuple[str, ...]
    source: Series | Volume
    problem: str = ""
    resamplable: bool = False
    warnings: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Finds a DICOM series again; empty for anything else."""
        return self.source.key if isinstance(self.source, Series) else ""

    def line(self) -> str:
        """A line such as ``T1 post (MR, 24 slices of 256 × 256)``."""
        kind, _, count, size = self.cells[1:5]
        return f"{self.cells[0]} ({kind}, {count} slice{'s' * (count != '1')} of {size})"


@dataclass(frozen=True)
class Contents:
    """What is at a path."""

    path: Path
    parts: tuple[Part, ...]


def look(path: Path) -> Contents:
    """List the series of a folder, or read a file.

    Raises
    ------
    UserError
        If there is nothing that can be read.
    """
    path = existing(path)
    with speaking(path):
        kind = kind_of(path)
        if kind != "DICOM":
            return Contents(path, (_file(path, kind),))
        found = list_series(path)
    if not found:
        raise no_dicom(path)
    return Contents(path, tuple(_series(one) for one in found))


def is_mask(volume: Volume) -> bool:
    """Whether a volume holds a few whole numbers from 0 on, as masks do and scans do not."""
    array = volume.array
    if volume.channels or not np.issubdtype(array.dtype, np.integer) or array.size == 0:
        return False
    step = tuple(slice(None, None, max(1, size // 48)) for size in array.shape)
    if np.unique(array[step]).size > MOST_CLASSES:
        return False
    return bool(array.min() == 0) and np.unique(array).size <= MOST_CLASSES


def stem(path: Path) -> str:
    """The name of a file without any of our suffixes."""
    lower = path.name.lower()
    for suffix in SUFFIXES:
        if lower.endswith(suffix):
            return path.name[: -len(suffix)]
    return path.name


def _file(path: Path, kind: str) -> Part:
    volume = read_volume(path)
    slices = str(volume.shape[0]) if volume.ndim == 3 else "1"
    cells = (stem(path), kind, "", slices, times(volume.shape[-2:]), times(volume.spacing))
    return Part(stem(path), cells, volume, warnings=volume.warnings)


def _series(series: Series) -> Part:
    # The description becomes the name, since a folder may be named like a patient.
    title = series.description or series.modality or "DICOM"
    cells = (
        series.description or "no description",
        series.modality,
        series.date,
        str(series.count),
        times(series.shape[-2:]),
        times(series.spacing),
    )
    if series.is_segmentation:
        return Part(title, cells, series)
    return Part(title, cells, series, series.problem, series.resamplable, series.warnings)


def times(values: Sequence[float]) -> str:
    """Sizes as ``5 × 0.8 × 0.8``."""
    return " × ".join(f"{one:.3g}" if isinstance(one, float) else str(one) for one in values)
