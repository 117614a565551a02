"""Orientation letters (R, L, A, P, S, I) at the edges of the canvas.

Layers are shown in LPS orientation, so their axes z, y, x point to superior (S), posterior (P) and
left (L), or to the nearest of these for oblique volumes. There are no letters around an image of
unknown directions, such as a photograph, a microscopic stack or a scan that was turned in napari.

The first letters of a viewer appear one after the other, just after their scan: napari takes a
tenth of a second to make and to draw the first text of an overlay.
"""

from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary, ref

import numpy as np
from napari import Viewer
from napari.components.overlays import TextOverlay
from napari.layers import Image, Labels, Layer
from napari.utils.theme import get_theme
from qtpy.QtCore import QTimer

from napari_graphflow.plugin.viewer.placement import DERIVED
from napari_graphflow.plugin.viewer.record import recorded
from napari_graphflow.plugin.viewer.world import world_matrix

#: Letters at the start and the end of each axis of a shown volume.
AXIS_ENDS = (("I", "S"), ("A", "P"), ("R", "L"))
#: Legible on the background of the overlay in each of napari's themes.
COLOURS = {"dark": "#f2d45c", "light": "#7a4d00"}
#: Between two of the first letters, so that each is drawn on its own.
_STEP_MS = 40
_PLACES = ("top_center", "bottom_center", "middle_left", "middle_right")
_letters: "WeakKeyDictionary[Viewer, OrientationLetters]" = WeakKeyDictionary()


class OrientationLetters:
    """The four letters of one viewer, which is referenced weakly.

    Attributes
    ----------
    texts
        The letters at the top, bottom, left and right; empty where there is none.
    """

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = ref(viewer)
        self.texts: tuple[str, ...] = ("",) * len(_PLACES)
        self._made = 0
        window = getattr(viewer, "window", None)  # a model of a viewer has none
        self._timer = QTimer(window and window._qt_window)  # noqa: SLF001 ends with the window
        self._timer.setInterval(_STEP_MS)
        self._timer.timeout.connect(self._make_next)
        self.overlays = {place: TextOverlay(position=place, font_size=14) for place in _PLACES}
        for place, overlay in self.overlays.items():
            viewer.canvas.overlays[f"graphflow_{place}"] = overlay
        for layer in viewer.layers:
            self._follow(layer)
        viewer.layers.events.inserted.connect(self._inserted)
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
        viewer.events.theme.connect(self._colour)
        self._colour()
        self.update()

    def _colour(self, event: Any = None) -> None:
        viewer = self._viewer()
        if viewer is not None:
            light = str(get_theme(viewer.theme).type) == "light"
            for overlay in self.overlays.values():
                overlay.color = COLOURS["light" if light else "dark"]

    def _inserted(self, event: Any) -> None:
        self._follow(event.value)

    def _follow(self, layer: Layer) -> None:
        for name in ("visible", "rotate", "shear", "affine", "scale"):
            getattr(layer.events, name).connect(self.update)

    def _orient_head_up(self, event: Any = None) -> None:
        """Show coronal and sagittal slices with the head at the top."""
        viewer = self._viewer()
        if viewer is not None and self._has_orientation(viewer):
            upright = viewer.dims.displayed[0] == 0
            _, horizontal = viewer.scene.camera.orientation2d
            viewer.scene.camera.orientation2d = ("up" if upright else "down", str(horizontal))

    @staticmethod
    def _has_orientation(viewer: Viewer) -> bool:
        shown = [one for one in viewer.layers if one.visible and DERIVED not in one.metadata]
        # A mask that was painted on an image has no record of its own.
        deciding = [one for one in shown if isinstance(one, Image)] or shown
        known = [_is_known(one) for one in deciding if isinstance(one, Image | Labels)]
        return bool(known) and all(known) and viewer.dims.ndim == 3 and viewer.dims.ndisplay == 2

    def update(self, event: Any = None) -> None:
        """Update the letters of the two displayed axes."""
        viewer = self._viewer()
        if viewer is None:
            return
        texts = self._current(viewer)
        if texts == self.texts:  # setting an overlay is slow, also to what it is
            return
        self.texts = texts
        overlays = list(self.overlays.values())
        for overlay, text in zip(overlays[: self._made], texts, strict=False):
            overlay.text = text
            overlay.visible = bool(text)
        if any(texts) and self._made < len(overlays):
            with suppress(RuntimeError):  # the window is closed
                self._timer.start()

    def _make_next(self) -> None:
        """Show the next letter that has not been shown yet."""
        overlays = list(self.overlays.values())
        if self._viewer() is not None and any(self.texts) and self._made < len(overlays):
            overlays[self._made].text = self.texts[self._made]
            overlays[self._made].visible = True
            self._made += 1
        else:
            self._timer.stop()

    def shown(self) -> list[str]:
        """Return the letters in view."""
        return [one.text for one in self.overlays.values() if one.visible]

    def _current(self, viewer: Viewer) -> tuple[str, str, str, str]:
        if not self._has_orientation(viewer):
            return "", "", "", ""
        down, right = (AXIS_ENDS[axis] for axis in viewer.dims.displayed)
        vertical, horizontal = (str(way) for way in viewer.scene.camera.orientation2d)
        top, bottom = down if vertical == "down" else down[::-1]
        left, end = right if horizontal == "right" else right[::-1]
        return top, bottom, left, end


def _is_known(layer: Layer) -> bool:
    """Whether the axes of a layer still point to S, P and L of a patient."""
    place = recorded(layer)
    if place is None or not place.anatomical or layer.ndim != 3:
        return False
    steps = world_matrix(layer)[:3, :3]
    along = np.diag(steps)
    return bool((along > 0).all() and np.allclose(steps, np.diag(along), atol=1e-3 * along.max()))


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
