"""List the contents of a path: the DICOM series of a folder, or the image of a file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_graphflow.imaging.dicom.reading import no_dicom_error
from napari_graphflow.imaging.dicom.series import Series, list_series
from napari_graphflow.imaging.files import read_volume
from napari_graphflow.imaging.formats.endings import split_ending
from napari_graphflow.imaging.paths import Pathlike, existing_path, kind_of, user_errors
from napari_graphflow.imaging.segments import is_segmentation
from napari_graphflow.imaging.volume import Volume

#: Integer volumes with more values than this are images, others masks.
MAX_CLASSES = 16


@dataclass(frozen=True)
class Part:
    """A DICOM series, or the image of a file.

    Attributes
    ----------
    title
        Name of the file, or description of the series.
    cells
        Description, modality or format, date, number of slices, size and spacing as text.
    problem
        Why it cannot be opened unchanged; empty if it can.
    warnings
        Warnings to show before it is opened, the problem first.
    source
        The series, or the volume, which is read already.
    segments
        The file whose named segments are read instead; None if it is not a segmentation.
    """

    title: str
    cells: tuple[str, ...]
    source: Series | Volume
    problem: str = ""
    resamplable: bool = False
    warnings: tuple[str, ...] = ()
    segments: Path | None = None

    @property
    def key(self) -> str:
        """Hash that identifies a DICOM series; empty for a file."""
        return self.source.key if isinstance(self.source, Series) else ""

    def line(self) -> str:
        """Return a line such as ``T1 post (MR, 24 slices of 256 × 256)``."""
        kind, _, count, size = self.cells[1:5]
        if not size:  # a structure set has no voxels
            return f"{self.cells[0]} ({kind})"
        return f"{self.cells[0]} ({kind}, {count} slice{'s' * (count != '1')} of {size})"


@dataclass(frozen=True)
class Contents:
    """The contents of a path; `format` is empty if not supported."""

    path: Path
    format: str
    parts: tuple[Part, ...]


def inspect_path(path: Pathlike) -> Contents:
    """List the series of a folder, or read a file.

    Raises
    ------
    UserError
        If nothing can be read.
    """
    path, kind = existing_path(path), format_of(path)
    if kind != "DICOM":
        return Contents(path, kind, (_file(path, kind),))
    with user_errors(path):
        found = list_series(path)
    if not found:
        raise no_dicom_error(path)
    return Contents(path, kind, tuple(_series(one) for one in found))


def format_of(path: Pathlike) -> str:
    """Return the format of a file or folder; empty if not supported.

    Raises
    ------
    UserError
        If the path does not exist or cannot be read.
    """
    path = existing_path(path)
    with user_errors(path):
        return kind_of(path)


def is_mask(volume: Volume) -> bool:
    """Guess whether a volume is a mask: few whole values, of which 0 is the smallest.

    Some programs save masks as floating point numbers; they have at least two values.
    """
    array = volume.array
    if volume.channels or array.dtype.kind not in "iuf" or array.size == 0:
        return False
    step = tuple(slice(None, None, max(1, size // 48)) for size in array.shape)
    if not _are_few_and_whole(array[step]):
        return False
    fewest = 2 if array.dtype.kind == "f" else 1
    return bool(array.min() == 0 and _are_few_and_whole(array) and np.unique(array).size >= fewest)


def _are_few_and_whole(array: NDArray[Any]) -> bool:
    values = np.unique(array)
    whole = np.isfinite(values).all() and np.array_equal(values, np.rint(values))
    return bool(whole and values.size <= MAX_CLASSES)


def _file(path: Path, kind: str) -> Part:
    volume = read_volume(path)
    title = split_ending(path.name)[0]
    slices = str(volume.shape[0]) if volume.ndim == 3 else "1"
    spacing = times(volume.spacing) if volume.sized else "size unknown"
    cells = (title, kind, "", slices, times(volume.shape[-2:]), spacing)
    segments = path if is_segmentation(path) else None
    return Part(title, cells, volume, warnings=volume.warnings, segments=segments)


def _series(series: Series) -> Part:
    # The folder name may identify the patient, so the description is the title.
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
        return Part(title, cells, series, segments=series.files[0])
    return Part(title, cells, series, series.problem, series.resamplable, series.warnings)


def times(values: Sequence[float]) -> str:
    """Format sizes, such as ``5 × 0.8 × 0.8``."""
    return " × ".join(f"{one:.3g}" if isinstance(one, float) else str(one) for one in values)
