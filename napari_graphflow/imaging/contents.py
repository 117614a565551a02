"""What a file or a folder holds: the series of a folder, or the one image of a file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from napari_graphflow.imaging.dicom.series import Series, list_series
from napari_graphflow.imaging.files import (
    Pathlike,
    existing,
    kind_of,
    no_dicom,
    read_volume,
    speaking,
)
from napari_graphflow.imaging.formats.endings import split_ending
from napari_graphflow.imaging.volume import Volume

#: A picture with more grey levels than this is an image, with fewer it is a mask.
MOST_CLASSES = 16


@dataclass(frozen=True)
class Part:
    """A DICOM series, or the one image of a file.

    Attributes
    ----------
    title
        Name of the file, or what the series is.
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
    """What is at a path; `format` is empty where it is none of ours."""

    path: Path
    format: str
    parts: tuple[Part, ...]


def look(path: Pathlike) -> Contents:
    """List the series of a folder, or read a file.

    Raises
    ------
    UserError
        If there is nothing that can be read.
    """
    path, kind = existing(path), format_of(path)
    if kind != "DICOM":
        return Contents(path, kind, (_file(path, kind),))
    with speaking(path):
        found = list_series(path)
    if not found:
        raise no_dicom(path)
    return Contents(path, kind, tuple(_series(one) for one in found))


def format_of(path: Pathlike) -> str:
    """Name the format of what is at a path; empty if it is none of ours.

    Raises
    ------
    UserError
        If there is nothing, or it cannot be read.
    """
    path = existing(path)
    with speaking(path):
        return kind_of(path)


def is_mask(volume: Volume) -> bool:
    """Whether a volume holds a few whole numbers from 0 on, as masks do and scans do not."""
    array = volume.array
    if volume.channels or not np.issubdtype(array.dtype, np.integer) or array.size == 0:
        return False
    step = tuple(slice(None, None, max(1, size // 48)) for size in array.shape)
    if np.unique(array[step]).size > MOST_CLASSES:
        return False
    return bool(array.min() == 0) and np.unique(array).size <= MOST_CLASSES


def _file(path: Path, kind: str) -> Part:
    volume = read_volume(path)
    title = split_ending(path.name)[0]
    slices = str(volume.shape[0]) if volume.ndim == 3 else "1"
    cells = (title, kind, "", slices, times(volume.shape[-2:]), times(volume.spacing))
    return Part(title, cells, volume, warnings=volume.warnings)


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
