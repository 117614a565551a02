"""Read files into layers while the window stays responsive; ask the user where needed."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import napari
from napari import Viewer
from napari.layers import Image, Labels
from napari.types import LayerDataTuple
from napari.utils.notifications import show_warning
from qtpy.QtWidgets import QApplication, QInputDialog, QMessageBox

from napari_graphflow.imaging.contents import Part, inspect_path
from napari_graphflow.plugin.viewer.layers import placed_volumes
from napari_graphflow.plugin.viewer.part_layers import open_part
from napari_graphflow.plugin.viewer.stacks import open_stack
from napari_graphflow.plugin.viewer.wait_responsively import wait_responsively


def open_viewers() -> list[Viewer]:
    """Return all open viewers, the one used last first."""
    current = napari.current_viewer()
    found = [] if current is None else [getattr(current, "__wrapped__", current)]
    # napari has no list of its viewers, but widgets of each in its window.
    for widget in QApplication.allWidgets() if QApplication.instance() is not None else ():
        viewer = getattr(getattr(widget, "viewer", None), "__wrapped__", None)
        viewer = viewer or getattr(widget, "viewer", None)
        if isinstance(viewer, Viewer) and all(viewer is not one for one in found):
            found.append(viewer)
    return found


def read_layers(path: Path, series: str = "") -> list[LayerDataTuple]:
    """Read a file or a DICOM folder into an image layer or, if it is a mask, a Labels layer.

    Parameters
    ----------
    path
        The file or folder.
    series
        Key of the DICOM series, where known; otherwise the user is asked.

    Raises
    ------
    UserError
        If it cannot be read.
    """
    parts = wait_responsively(partial(inspect_path, path)).parts
    known = [one for one in parts if series and one.key == series]
    part = known[0] if len(known) == 1 else parts[0] if len(parts) == 1 else _ask_for_part(parts)
    if part is None:
        return []
    resample = part.resamplable and _ask_to_resample(part)
    images = [one for viewer in open_viewers() for one in placed_volumes(viewer.layers)]
    layers, warnings = wait_responsively(partial(open_part, path, part, resample, images))
    for warning in warnings:
        show_warning(warning)
    return layers


def read_stack(paths: Sequence[Path]) -> list[LayerDataTuple]:
    """Read 2D images into the slices of one layer.

    Raises
    ------
    UserError
        If they cannot be read, or are not 2D images of one size.
    """
    layers, warnings = wait_responsively(partial(open_stack, paths))
    for warning in warnings:
        show_warning(warning)
    return layers


def _ask_for_part(parts: Sequence[Part]) -> Part | None:
    names = [f"{index + 1}: {part.line()}" for index, part in enumerate(parts)]
    chosen, accepted = QInputDialog.getItem(
        QApplication.activeWindow(),
        "Choose a series",
        f"The folder contains {len(parts)} series.",
        names,
        0,
        False,
    )
    return parts[names.index(chosen)] if accepted else None


def _ask_to_resample(part: Part) -> bool:
    answer = QMessageBox.question(
        QApplication.activeWindow(),
        "Resample?",
        f"{part.problem}\n\nResample to equal slice spacing?",
    )
    return bool(answer == QMessageBox.StandardButton.Yes)


def ask_for_image(layer: Labels, matching: list[Image]) -> Image | None:
    """Ask which of several images of the same grid a mask was painted on."""
    names = [f"{index + 1}: {image.name}" for index, image in enumerate(matching)]
    chosen, accepted = QInputDialog.getItem(
        QApplication.activeWindow(),
        "Choose an image",
        f"{layer.name} matches several images at different positions in space.\n"
        "Choose the image it was painted on.",
        names,
        0,
        False,
    )
    return matching[names.index(chosen)] if accepted else None
