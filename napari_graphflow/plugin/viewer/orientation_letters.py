"""Orientation letters (R, L, A, P, S, I) at the edges of the canvas.

Layers are shown in LPS orientation, so their axes z, y, x point to superior (S), posterior (P) and
left (L), or to the nearest of these for oblique volumes.
"""

from typing import Any
from weakref import WeakKeyDictionary, ref

from napari import Viewer
from napari.components.overlays import TextOverlay

from napari_graphflow.plugin.viewer.placement import recorded

#: Letters at the start and the end of each axis of a shown volume.
AXIS_ENDS = (("I", "S"), ("A", "P"), ("R", "L"))
COLOUR = "#f2d45c"
_PLACES = ("top_center", "bottom_center", "middle_left", "middle_right")
_letters: "WeakKeyDictionary[Viewer, OrientationLetters]" = WeakKeyDictionary()


class OrientationLetters:
    """The four letters of one viewer, which is referenced weakly."""

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = ref(viewer)
        self.overlays = {
            place: TextOverlay(position=place, color=COLOUR, font_size=14) for place in _PLACES
        }
        for place, overlay in self.overlays.items():
            viewer.canvas.overlays[f"graphflow_{place}"] = overlay
        for event in (
            viewer.layers.events.inserted,
            viewer.layers.events.removed,
            viewer.dims.events.order,
            viewer.dims.events.ndisplay,
            viewer.dims.events.ndim,
            viewer.scene.camera.events.orientation,
        ):
            event.connect(self.update)
        viewer.dims.events.order.connect(self._orient_head_up)
        self.update()

    def _orient_head_up(self, event: Any = None) -> None:
        """Show coronal and sagittal slices with the head at the top."""
        viewer = self._viewer()
        if viewer is not None and self._has_orientation(viewer):
            upright = viewer.dims.displayed[0] == 0
            _, horizontal = viewer.scene.camera.orientation2d
            viewer.scene.camera.orientation2d = ("up" if upright else "down", str(horizontal))

    @staticmethod
    def _has_orientation(viewer: Viewer) -> bool:
        placed = any(layer.ndim == 3 and recorded(layer) for layer in viewer.layers)
        return placed and viewer.dims.ndim == 3 and viewer.dims.ndisplay == 2

    def update(self, event: Any = None) -> None:
        """Update the letters of the two displayed axes."""
        viewer = self._viewer()
        if viewer is None:
            return
        texts = self._texts(viewer)
        for overlay, text in zip(self.overlays.values(), texts, strict=True):
            overlay.text = text
            overlay.visible = bool(text)

    def _texts(self, viewer: Viewer) -> tuple[str, str, str, str]:
        if not self._has_orientation(viewer):
            return "", "", "", ""
        down, right = (AXIS_ENDS[axis] for axis in viewer.dims.displayed)
        vertical, horizontal = (str(way) for way in viewer.scene.camera.orientation2d)
        top, bottom = down if vertical == "down" else down[::-1]
        left, end = right if horizontal == "right" else right[::-1]
        return top, bottom, left, end


def show_orientation_letters(viewer: Viewer | None) -> OrientationLetters | None:
    """Show orientation letters; return None for napari before 0.9, which lacks their overlays."""
    if viewer is None:
        return None
    viewer = getattr(viewer, "__wrapped__", viewer)
    if not hasattr(viewer, "canvas") or not hasattr(viewer, "scene"):
        return None
    if viewer not in _letters:
        _letters[viewer] = OrientationLetters(viewer)
    return _letters[viewer]
