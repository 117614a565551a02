"""File > Open and File > Save: readers and writers that keep geometry.

A failure is told by a notification and an empty answer, not by an exception: napari would answer
an exception by offering its own reader, which drops the geometry without a word.
"""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import napari
from napari.layers import Image, Labels
from napari.types import LayerDataTuple
from napari.utils.notifications import show_error, show_info

from napari_graphflow.errors import UserError
from napari_graphflow.imaging.dicom.series import has_dicom
from napari_graphflow.imaging.files import write_volume
from napari_graphflow.imaging.formats import sniff
from napari_graphflow.imaging.formats.endings import READ
from napari_graphflow.plugin.viewer.autosave import mark_data_saved
from napari_graphflow.plugin.viewer.layers import image_volume, save_labels
from napari_graphflow.plugin.viewer.opening import ask_for_image, read_layers
from napari_graphflow.plugin.viewer.session import start_session

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
    start_session(napari.current_viewer())
    try:
        layers = [layer for one in paths for layer in read_layers(one)]
    except UserError as error:
        show_error(str(error))
        return NOTHING
    return layers or NOTHING


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
        mark_data_saved(viewer, data)

    return _write(Path(path), write)


def _is_ours(path: Path) -> bool:
    # Every folder that is dropped on napari is asked about, so only the first files are looked at.
    if path.name.lower().endswith(READ) or has_dicom(path, MOST_FILES):
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
