"""What is at a path, part by part, and the layers of a part; without a window."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from napari.types import LayerDataTuple

from napari_graphflow.dicom import Series, list_series
from napari_graphflow.dicom_seg import lay_onto, read_segments
from napari_graphflow.errors import UserError
from napari_graphflow.masks import read_class_names
from napari_graphflow.plugin.layers import image_layers, labels_layer
from napari_graphflow.volume import (
    Volume,
    existing,
    kind_of,
    no_dicom,
    read_labels,
    read_series,
    read_volume,
    speaking,
)

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


Opened = tuple[list[LayerDataTuple], tuple[str, ...]]


def open_part(
    path: Path, part: Part, resample: bool = False, images: Sequence[Volume] = ()
) -> Opened:
    """Make the layers of a part, and say what the user should know of them.

    A mask becomes Labels, with the names that are kept beside it. A DICOM segmentation is laid
    onto the first of `images` that it fits.

    Raises
    ------
    UserError
        If it cannot be read, or has a problem and may not be resampled.
    """
    if isinstance(part.source, Series) and part.source.is_segmentation:
        return _open_segments(part.source.files[0], part.title, images)
    if isinstance(part.source, Series):
        volume = read_series(part.source, resample=resample)
    elif is_mask(part.source):
        volume = read_labels(path)
        names = read_class_names(path)
        return [labels_layer(volume, part.title, classes=names, path=path)], volume.warnings
    else:
        volume = part.source
    return image_layers(volume, part.title, path, part.key), volume.warnings


def _open_segments(path: Path, title: str, images: Sequence[Volume]) -> Opened:
    masks, said = read_segments(path), [_ALONE]
    for image in images:
        with suppress(UserError):
            masks = [(lay_onto(mask, image, path.name), names) for mask, names in masks]
            said = []
            break
    layers = [
        labels_layer(
            mask, title if len(masks) == 1 else f"{title} {index}", classes=names, path=path
        )
        for index, (mask, names) in enumerate(masks, start=1)
    ]
    if len(masks) > 1:
        said.append(f"Some segments overlap, so they are shown as {len(masks)} masks.")
    return layers, tuple(said)


_ALONE = (
    "The segmentation fits no open image, so it is shown alone. Open its image first to see both "
    "together."
)


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
