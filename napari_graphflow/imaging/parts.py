"""Keep only the largest part of a structure."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_graphflow.imaging import itk as sitk


def keep_largest_part(labels: NDArray[Any], value: int) -> int:
    """Set all parts of a structure but the largest to 0, in place.

    Parts touch over faces, edges or corners. Of equally large ones the first is kept.

    Parameters
    ----------
    labels
        Class indices, 2D or 3D.
    value
        Index of the structure.

    Returns
    -------
    int
        Number of voxels that were set to 0.
    """
    box = _box(labels == value)
    if box is None:
        return 0
    inside = labels[box]
    mask = inside == value
    image = sitk.GetImageFromArray(mask.astype(np.uint8))
    parts = sitk.GetArrayFromImage(sitk.ConnectedComponent(image, True))
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    smaller = mask & (parts != sizes.argmax())
    inside[smaller] = 0
    return int(smaller.sum())


def _box(mask: NDArray[np.bool_]) -> tuple[slice, ...] | None:
    """Return the smallest box around the voxels of a mask; None if there are none."""
    box: list[slice] = []
    for axis in range(mask.ndim):
        # Of what is left after the axes before, so that the last ones are short.
        lines = mask[tuple(box)].any(tuple(one for one in range(mask.ndim) if one != axis))
        found = np.flatnonzero(lines)
        if not found.size:
            return None
        box.append(slice(int(found[0]), int(found[-1]) + 1))
    return tuple(box)
