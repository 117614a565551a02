"""File > Open and File > Save: readers and writers that keep geometry.

A failure is told by a notification and an empty answer, not by an exception: napari would answer
an exception by offering its own reader, which drops the geometry without a word.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import napari
import numpy as np
from napari.layers import Image, Labels
from napari.types import LayerDataTuple
from napari.utils.notifications import show_error, show_info, show_warning
from qtpy.QtWidgets import QApplication, QInputDialog, QMessageBox

from napari_graphflow.dicom import Series, has_dicom, list_series
from napari_graphflow.errors import UserError
from napari_graphflow.plugin.autosave import saved_data, watch
from napari_graphflow.plugin.layers import (
    image_layers,
    image_volume,
    labels_layer,
    labels_volume,
)
from napari_graphflow.volume import (
    Volume,
    read_labels,
    read_series,
    read_volume,
    write_labels,
    write_volume,
)

SUFFIXES = (
    ".nii.gz", ".nii", ".hdr", ".img", ".nrrd", ".nhdr", ".mha", ".mhd", ".dcm", ".dicom", ".ima",
    ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".gif", ".bmp", ".webp",
)  # fmt: skip
#: A picture with more grey levels than this is an image, with fewer it is a mask.
MOST_CLASSES = 16
MOST_FILES = 20
NOTHING: list[Any] = [(None,)]


def get_reader(path: str | Sequence[str]) -> Any:
    """Offer to read files whose suffix we know, and folders with DICOM files inside."""
    paths = [Path(path)] if isinstance(path, str) else [Path(one) for one in path]
    if all(_is_ours(one) for one in paths):
        return read
    return None


def read(path: str | Sequence[str]) -> list[LayerDataTuple]:
    """Read one file, several files or a DICOM folder into layers."""
    paths = [Path(path)] if isinstance(path, str) else [Path(one) for one in path]
    watch(napari.current_viewer())
    try:
        layers = [layer for one in paths for layer in read_layers(one)]
    except UserError as error:
        show_error(str(error))
        return NOTHING
    return layers or NOTHING


def read_layers(path: Path) -> list[LayerDataTuple]:
    """Read a file or a DICOM folder into an image layer or, if it is a mask, a Labels layer.

    Raises
    ------
    UserError
        If it cannot be read.
    """
    if has_dicom(path, MOST_FILES):
        return _read_dicom(path)
    volume = read_volume(path)
    mask = is_mask(volume)
    if mask:
        volume = read_labels(path)
    for warning in volume.warnings:
        show_warning(warning)
    if mask:
        return [labels_layer(volume, stem(path), path=path)]
    return image_layers(volume, stem(path), path)


def _read_dicom(path: Path) -> list[LayerDataTuple]:
    """Read one series; its description becomes the name, since a folder may be named a patient."""
    found = list_series(path)
    series = found[0] if len(found) == 1 else _ask_for_series(found)
    if series is None:
        return []
    resample = series.resamplable and _ask_to_resample(series)
    volume = read_series(series, resample=resample)
    for warning in volume.warnings:
        show_warning(warning)
    return image_layers(volume, series.description or series.modality or "DICOM", path)


def _ask_for_series(found: list[Series]) -> Series | None:
    names = [f"{index + 1}: {one.summary()}" for index, one in enumerate(found)]
    chosen, accepted = QInputDialog.getItem(
        QApplication.activeWindow(),
        "Which series?",
        f"The folder holds {len(found)} series.",
        names,
        0,
        False,
    )
    return found[names.index(chosen)] if accepted else None


def _ask_to_resample(series: Series) -> bool:
    answer = QMessageBox.question(
        QApplication.activeWindow(),
        "Resample?",
        f"{series.problem}\n\nResample to even slices?",
    )
    return bool(answer == QMessageBox.StandardButton.Yes)


def is_mask(volume: Volume) -> bool:
    """Whether a volume holds a few whole numbers from 0 on, as masks do and scans do not."""
    array = volume.array
    if volume.channels or not np.issubdtype(array.dtype, np.integer) or array.size == 0:
        return False
    step = tuple(slice(None, None, max(1, size // 48)) for size in array.shape)
    if np.unique(array[step]).size > MOST_CLASSES:
        return False
    return bool(array.min() == 0) and np.unique(array).size <= MOST_CLASSES


def write_image(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write an image layer with its true geometry."""
    layer = Image(data, **_constructor(attributes, ("rgb",)))
    return _write(Path(path), lambda: write_volume(Path(path), image_volume(layer)))


def write_mask(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write a Labels layer with the geometry of its image, for a layer made by hand as well."""
    layer = Labels(data, **_constructor(attributes, ()))
    viewer = napari.current_viewer()

    def write() -> None:
        volume = labels_volume(layer, list(viewer.layers) if viewer else [], ask_for_image)
        write_labels(Path(path), volume.array, volume)
        saved_data(viewer, data)

    return _write(Path(path), write)


def ask_for_image(layer: Labels, fitting: list[Image]) -> Image | None:
    """Ask on which of several images of one grid a mask was painted."""
    names = [f"{index + 1}: {image.name}" for index, image in enumerate(fitting)]
    chosen, accepted = QInputDialog.getItem(
        QApplication.activeWindow(),
        "Which image?",
        f"{layer.name} fits several images that lie differently in space.\n"
        "On which one was it painted?",
        names,
        0,
        False,
    )
    return fitting[names.index(chosen)] if accepted else None


def stem(path: Path) -> str:
    """The name of a file without any of our suffixes."""
    lower = path.name.lower()
    for suffix in SUFFIXES:
        if lower.endswith(suffix):
            return path.name[: -len(suffix)]
    return path.name


def _is_ours(path: Path) -> bool:
    # Every folder that is dropped on napari is asked about, so only the first files are looked at.
    return path.name.lower().endswith(SUFFIXES) or has_dicom(path, MOST_FILES)


def _constructor(attributes: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    common = ("name", "scale", "translate", "units", "metadata", *names)
    return {name: attributes[name] for name in common if name in attributes}


def _write(path: Path, write: Any) -> list[str]:
    try:
        write()
    except UserError as error:
        show_error(str(error))
        return []
    show_info(f"Saved {path.name}: read back and compared.")
    return [str(path)]
