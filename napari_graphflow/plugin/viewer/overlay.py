"""Warnings about layers that are shown over each other but belong elsewhere."""

from collections.abc import Iterable
from typing import Any
from weakref import WeakSet

import numpy as np
from napari import Viewer
from napari.layers import Image, Labels, Layer
from napari.utils.notifications import show_warning

from napari_graphflow.plugin.viewer.placement import DERIVED
from napari_graphflow.plugin.viewer.record import (
    Placement,
    recorded,
)
from napari_graphflow.plugin.viewer.world import (
    grid_shape,
    part_of,
    world_matrix,
)

#: In voxels; some programs round the geometry in their headers.
_TOLERANCE = 0.1
_watched: "WeakSet[Viewer]" = WeakSet()


def warn_of_overlays(viewer: Viewer) -> None:
    """Warn when a layer is added that is shown elsewhere, relative to another one, than it lies."""
    if viewer in _watched:
        return
    _watched.add(viewer)

    def added(event: Any) -> None:
        visible = [layer for layer in event.source if layer.visible]
        if event.value.visible and (warning := overlay_warning(event.value, visible)):
            show_warning(warning)

    # Last, since layers of other cases may be hidden first.
    viewer.layers.events.inserted.connect(added, position="last")


def overlay_warning(layer: Layer, layers: Iterable[Layer]) -> str:
    """Return why a layer does not match the others over which it is shown; empty if it does.

    Only images and masks whose place is recorded are compared. They match if the way from one to
    the other is the same in the window and in the space of the scanner; a mask must also lie on
    voxels of an image.
    """
    place = _place(layer)
    if place is None:
        return ""
    others = [(one, known) for one in layers if one is not layer and (known := _place(one))]
    others = [(one, known) for one, known in others if one.ndim == layer.ndim]
    apart = [one for one, known in others if not _shown_as_they_lie(layer, place, one, known)]
    if apart:
        return (
            f"{layer.name} and {apart[-1].name} lie at different places, so their overlay in the "
            "window is not true."
        )
    images = [one for one, _ in others if isinstance(one, Image)]
    on_voxels = any(part_of(layer, one) is not None for one in images)
    if isinstance(layer, Labels) and images and not on_voxels:
        return (
            f"{layer.name} does not lie on the voxels of {images[-1].name}, so it cannot be its "
            "mask."
        )
    return ""


def _place(layer: Layer) -> Placement | None:
    known = recorded(layer)
    usable = (
        isinstance(layer, Image | Labels)
        and DERIVED not in layer.metadata
        and known is not None
        and known.shape == grid_shape(layer)
    )
    return known if usable else None


def _shown_as_they_lie(layer: Layer, place: Placement, other: Layer, known: Placement) -> bool:
    try:
        shown = np.linalg.solve(world_matrix(other), world_matrix(layer))
        lying = np.linalg.solve(known.matrix(), place.matrix())
    except np.linalg.LinAlgError:
        return False
    ends = np.array(np.meshgrid(*([0.0, max(1, size - 1)] for size in place.shape)))
    ends = np.vstack([ends.reshape(layer.ndim, -1), np.ones(2**layer.ndim)])
    return bool(np.abs((shown - lying) @ ends).max() <= _TOLERANCE)
