"""File > Open and File > Save: readers and writers that keep geometry.

A failure is told by a notification and an empty answer, not by an exception: napari would answer
an exception by offering its own reader, which drops the geometry without a word.
"""

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import napari
from napari.layers import Image, Labels
from napari.types import LayerDataTuple
from napari.utils.notifications import show_error, show_info, show_warning
from qtpy.QtWidgets import QApplication, QInputDialog, QMessageBox

from napari_graphflow.dicom import has_dicom
from napari_graphflow.errors import UserError
from napari_graphflow.formats import sniff
from napari_graphflow.plugin.attend import attend
from napari_graphflow.plugin.autosave import saved_data
from napari_graphflow.plugin.beside import beside
from napari_graphflow.plugin.contents import SUFFIXES, Part, look, open_part
from napari_graphflow.plugin.layers import (
    image_volume,
    placed_volumes,
    save_labels,
)
from napari_graphflow.volume import (
    write_volume,
)

MOST_FILES = 20
NOTHING: list[Any] = [(None,)]


def get_reader(path: str | Sequence[str]) -> Any:
    """Offer to read files whose suffix or content we know, and folders with DICOM files inside."""
    paths = [Path(path)] if isinstance(path, str) else [Path(one) for one in path]
    if all(_is_ours(one) for one in paths):
        return read
    return None


def read(path: str | Sequence[str]) -> list[LayerDataTuple]:
    """Read one file, several files or a DICOM folder into layers."""
    paths = [Path(path)] if isinstance(path, str) else [Path(one) for one in path]
    attend(napari.current_viewer())
    try:
        layers = [layer for one in paths for layer in read_layers(one)]
    except UserError as error:
        show_error(str(error))
        return NOTHING
    return layers or NOTHING


def read_layers(path: Path, series: str = "") -> list[LayerDataTuple]:
    """Read a file or a DICOM folder into an image layer or, if it is a mask, a Labels layer.

    The window answers meanwhile.

    Parameters
    ----------
    path
        The file or folder.
    series
        Key of the DICOM series that is meant, where that is known; otherwise the user is asked.

    Raises
    ------
    UserError
        If it cannot be read.
    """
    parts = beside(partial(look, path)).parts
    known = [one for one in parts if series and one.key == series]
    part = known[0] if len(known) == 1 else parts[0] if len(parts) == 1 else _ask_for_part(parts)
    if part is None:
        return []
    resample = part.resamplable and _ask_to_resample(part)
    viewer = napari.current_viewer()
    images = placed_volumes(viewer.layers) if viewer else []
    layers, warnings = beside(partial(open_part, path, part, resample, images))
    for warning in warnings:
        show_warning(warning)
    return layers


def _ask_for_part(parts: Sequence[Part]) -> Part | None:
    names = [f"{index + 1}: {part.line()}" for index, part in enumerate(parts)]
    chosen, accepted = QInputDialog.getItem(
        QApplication.activeWindow(),
        "Which series?",
        f"The folder holds {len(parts)} series.",
        names,
        0,
        False,
    )
    return parts[names.index(chosen)] if accepted else None


def _ask_to_resample(part: Part) -> bool:
    answer = QMessageBox.question(
        QApplication.activeWindow(),
        "Resample?",
        f"{part.problem}\n\nResample to even slices?",
    )
    return bool(answer == QMessageBox.StandardButton.Yes)


def write_image(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write an image layer with its true geometry."""
    layer = Image(data, **_constructor(attributes, ("rgb",)))
    return _write(Path(path), lambda: write_volume(Path(path), image_volume(layer)))


def write_mask(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write a Labels layer with the geometry of its image, for a layer made by hand as well."""
    layer = Labels(data, **_constructor(attributes, ("features",)))
    viewer = napari.current_viewer()

    def write() -> None:
        save_labels(Path(path), layer, list(viewer.layers) if viewer else [], ask_for_image)
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


def _is_ours(path: Path) -> bool:
    # Every folder that is dropped on napari is asked about, so only the first files are looked at.
    if path.name.lower().endswith(SUFFIXES) or has_dicom(path, MOST_FILES):
        return True
    with suppress(UserError, OSError):
        return path.is_file() and sniff(path) != ""
    return False


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
