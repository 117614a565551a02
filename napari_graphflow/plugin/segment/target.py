"""The mask into which a result goes: what it holds, and why it may not be changed."""

from typing import Any

import numpy as np
from napari.components import Dims, ViewerModel
from napari.layers import Image, Labels
from numpy.typing import NDArray

from napari_graphflow.errors import UserError
from napari_graphflow.plugin.segment.presenter import Existing
from napari_graphflow.plugin.viewer.edits import edited_voxels, first_edit, voxels_of_others
from napari_graphflow.plugin.viewer.layers import class_names
from napari_graphflow.plugin.viewer.world import grid_shape, slice_in_view, voxels
from napari_graphflow.plugin.worker.segmentation import Task


def existing(task: Task) -> Existing:
    """Return what the mask of a task, or the slice to segment, holds now."""
    mask, index = task.mask, None if task.slab is None else task.index
    assert mask is not None
    return Existing(
        mask.name,
        edited_voxels(mask, index),
        first_edit(mask),
        voxels_of_others(mask, task.made_by, index),
    )


def slice_along_z(dims: Dims, layer: Image) -> int:
    """Return the index of the slice along z that is in view.

    Raises
    ------
    UserError
        If none is, as in the 3D view.
    """
    found = slice_in_view(dims, layer)
    if found is None or found[0] != 0:
        raise UserError(
            "No single slice along z is in view.",
            "Switch to the 2D view with z on the slider, or segment the whole volume.",
        )
    return found[1]


def region_copy(task: Task) -> NDArray[np.generic] | None:
    """Return the voxels that a result would replace, to notice edits while it is computed."""
    if task.mask is None:
        return None
    data = voxels(task.mask)
    return np.array(_region(data, task))


def why_discarded(viewer: ViewerModel, task: Task) -> str:
    """Return why a result belongs to no image any more, as a sentence, empty if it does."""
    gone = task.image not in viewer.layers
    if not gone and grid_shape(task.image) == task.shown().shape[: task.image.ndim]:
        return ""
    what = "closed" if gone else "given another shape"
    return f"{task.image.name} was {what} during segmentation; its mask was discarded."


def why_new_mask(task: Task, before: NDArray[np.generic] | None, new: NDArray[np.generic]) -> str:
    """Return why a result cannot go into the chosen mask, as a sentence, empty if it can."""
    mask = task.mask
    assert mask is not None
    data = voxels(mask)
    reason = ""
    if not isinstance(data, np.ndarray) or not data.flags.writeable:
        reason = "its voxels cannot be changed"
    elif data.shape != new.shape:
        reason = "it has another shape now"
    elif not mask.editable:
        reason = "it is locked"
    elif new.size and int(new.max()) > np.iinfo(data.dtype).max:
        reason = f"its type {data.dtype} is too small for these classes"
    elif _renamed(mask, task.card.classes):
        reason = "its classes have other names"
    elif before is None or not np.array_equal(before, _region(data, task)):
        reason = "it was edited meanwhile"
    return f"“{mask.name}” was left as it is, because {reason}; this is a new mask." * bool(reason)


def _region(data: Any, task: Task) -> Any:
    return data if task.slab is None else data[task.index]


def _renamed(mask: Labels, classes: dict[str, int]) -> bool:
    ours = {value: name for name, value in classes.items() if value}
    return any(ours.get(value, name) != name for value, name in class_names(mask).items() if value)
