"""File > Open and File > Save: readers and writers that preserve geometry.

A failure is reported by a notification and an empty result instead of an exception, after which
napari would offer its own reader, which silently drops the geometry.
"""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from napari.layers import Image, Labels
from napari.types import LayerDataTuple
from napari.utils.notifications import show_error, show_info
from napari_builtins.io import napari_get_reader
from npe2 import PluginManager

from napari_graphflow.errors import UserError
from napari_graphflow.imaging.dicom.series import has_dicom
from napari_graphflow.imaging.formats.endings import READ
from napari_graphflow.imaging.formats.reading import sniff
from napari_graphflow.plugin.viewer.autosave import mark_saved
from napari_graphflow.plugin.viewer.default_reader import PLUGIN, is_default
from napari_graphflow.plugin.viewer.layers import save_image, save_labels
from napari_graphflow.plugin.viewer.opening import (
    ask_for_image,
    open_viewers,
    read_layers,
    read_stack,
)
from napari_graphflow.plugin.viewer.session import start_session

MAX_FILES = 20
NOTHING: list[Any] = [(None,)]


def get_reader(path: str | Sequence[str]) -> Any:
    """Return the reader for files of a supported suffix or content and for DICOM folders."""
    paths = [Path(path)] if isinstance(path, str) else [Path(one) for one in path]
    if all(_is_ours(one) for one in paths):
        return read
    return _own_reader_of_napari(paths) if is_default() else None


def read(path: str | Sequence[str]) -> list[LayerDataTuple]:
    """Read a file or a DICOM folder into layers, or several 2D images as a stack."""
    paths = [Path(path)] if isinstance(path, str) else [Path(one) for one in path]
    for viewer in open_viewers():
        start_session(viewer)
    try:
        layers = read_layers(paths[0]) if len(paths) == 1 else read_stack(paths)
    except UserError as error:
        show_error(str(error))
        return NOTHING
    return layers or NOTHING


def write_image(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write an image layer where it lies."""
    layer = _layer_of(data, attributes) or Image(data, **_constructor(attributes, ("rgb",)))
    return _write(Path(path), lambda: save_image(Path(path), layer))


def write_mask(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write a Labels layer with the geometry of its image."""
    layer = _layer_of(data, attributes) or Labels(data, **_constructor(attributes, ("features",)))

    def write() -> None:
        save_labels(Path(path), layer, choose=ask_for_image)
        mark_saved(layer)

    return _write(Path(path), write)


def _layer_of(data: Any, attributes: dict[str, Any]) -> Any:
    """Return the layer that napari asked to write, since writers get its data alone."""
    found = [layer for viewer in open_viewers() for layer in viewer.layers if layer.data is data]
    exact = [layer for layer in found if layer.metadata is attributes.get("metadata")]
    named = [layer for layer in found if layer.name == attributes.get("name")]
    return next(iter((*exact, *named, *found)), None)


def _own_reader_of_napari(paths: Sequence[Path]) -> Any:
    """Return napari's reader of a folder that is not for us, if no other plugin reads it.

    Otherwise napari would report that the preferred reader, that of all folders, failed.
    """
    path = str(paths[0])
    manager = PluginManager.instance()
    readers = {one.plugin_name for one in manager.iter_compatible_readers([path])}
    if len(paths) > 1 or not paths[0].is_dir() or readers != {PLUGIN, "napari"}:
        return None
    return napari_get_reader(path)


def _is_ours(path: Path) -> bool:
    # napari asks for every dropped folder, so only the first files are inspected.
    if path.name.lower().endswith(READ) or has_dicom(path, MAX_FILES):
        return True
    with suppress(UserError, OSError):
        return path.is_file() and sniff(path) != ""
    return False


def _constructor(attributes: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    common = (
        "name", "scale", "translate", "rotate", "shear", "affine", "units", "metadata",
        "multiscale", *names,
    )  # fmt: skip
    return {name: attributes[name] for name in common if name in attributes}


def _write(path: Path, write: Any) -> list[str]:
    try:
        write()
    except UserError as error:
        show_error(str(error))
        return []
    show_info(f"Saved and verified {path.name}.")
    return [str(path)]
