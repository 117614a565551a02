"""How a case is looked at: its slice and zoom, and all cases side by side; without Qt."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakMethod

import numpy as np
from napari.components import ViewerModel
from napari.layers import Layer


@dataclass(frozen=True)
class View:
    """Slice, centre and zoom of a viewer."""

    point: tuple[float, ...]
    center: tuple[float, ...]
    zoom: float
    ndisplay: int


def current_view(viewer: ViewerModel) -> View:
    """Return what a viewer looks at."""
    camera = _camera(viewer)
    point = tuple(float(value) for value in viewer.dims.point)
    return View(point, tuple(camera.center), float(camera.zoom), viewer.dims.ndisplay)


def set_view(viewer: ViewerModel, view: View) -> None:
    """Look at what a viewer looked at before."""
    first = viewer.dims.ndim - len(view.point)
    if first < 0 or view.ndisplay != viewer.dims.ndisplay:
        return
    viewer.dims.set_point(list(range(first, viewer.dims.ndim)), list(view.point))
    _camera(viewer).center, _camera(viewer).zoom = view.center, view.zoom


def look_at(viewer: ViewerModel, layer: Layer) -> None:
    """Reset the view to one layer, at its middle slice."""
    middle = layer.extent.world.mean(axis=0)
    if not np.isfinite(middle).all():
        return
    axes = range(viewer.dims.ndim - layer.ndim, viewer.dims.ndim)
    viewer.dims.set_point(list(axes), [float(value) for value in middle])
    # napari cannot fit a 2D image among volumes alone.
    viewer.reset_view(layers=[layer] if layer.ndim == viewer.dims.ndim else None)


def grid_of(viewer: ViewerModel) -> Any:
    """Return napari's grid mode."""
    return viewer.canvas.grid if hasattr(viewer, "canvas") else viewer.grid


def group_by_case(viewer: ViewerModel, numbers: Callable[[], list[int]]) -> None:
    """Give each case one part of the grid; napari can only count layers, which differ in number.

    Parameters
    ----------
    viewer
        The viewer.
    numbers
        Method that returns the number of the case of each layer; referenced weakly.
    """
    grid, wanted = grid_of(viewer), WeakMethod(numbers)
    if not hasattr(grid, "_viewbox_groups"):
        return

    def groups(layers: Sequence[Layer]) -> tuple[dict[int, int], list[int]]:
        found = wanted()
        cases = found() if found is not None else []
        if len(cases) != len(layers):
            cases = list(range(len(layers)))
        group_of = dict(enumerate(cases))
        visible = {group_of[index] for index, layer in enumerate(layers) if layer.visible}
        return group_of, sorted(visible)

    # An attribute of the object hides the method of its class.
    grid.__dict__["_viewbox_groups"] = groups


def _camera(viewer: ViewerModel) -> Any:
    return viewer.scene.camera if hasattr(viewer, "scene") else viewer.camera
