"""Tools for one structure of a mask: arrays of class indices in, a changed copy out.

=========================  =====================================  ============================
tool                       adds voxels to the structure from      takes voxels away to
=========================  =====================================  ============================
`fill_between_slices`      background, structures not locked      nothing
`copy_slice`               background, structures not locked      the background
`keep_largest`             nothing                                the background
`remove_islands`           nothing                                the background
`fill_holes`               background                             nothing
`smooth`                   background                             the background
=========================  =====================================  ============================

A locked structure is never changed: no tool adds to it or takes from it. Masks are (z, y, x) or
(y, x); distances and volumes are in mm and ml by the voxel spacing, in mm² for 2D images.
"""

import math
from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import scipy  # imports its parts when they are used
from numpy.typing import NDArray

from napari_graphflow.errors import UserError
from napari_graphflow.imaging.parts import keep_largest_part

Mask = NDArray[Any]
Inside = NDArray[np.bool_]


def fill_between_slices(
    labels: Mask,
    value: int,
    *,
    spacing: Sequence[float],
    axis: int = 0,
    locked: Collection[int] = (),
) -> Mask:
    """Fill a structure between the slices that contain it, by signed distances to its border.

    Parameters
    ----------
    labels
        The mask.
    value
        Class index of the structure.
    spacing
        Voxel spacing in mm, in the order of the axes.
    axis
        Axis across the slices.
    locked
        Class indices of locked structures.

    Raises
    ------
    UserError
        If the structure is locked, or no two of its slices have empty ones between them.
    """
    _require_unlocked(value, locked)
    slices = np.moveaxis(labels, axis, 0)
    present = np.flatnonzero((slices == value).reshape(len(slices), -1).any(1))
    gaps = [(a, b) for a, b in pairwise(present) if b - a > 1]
    if not gaps:
        raise UserError(
            "There are no empty slices between two slices with this structure.",
            "Paint the structure in two slices with a gap between them.",
        )
    across = [mm for index, mm in enumerate(spacing) if index != axis]
    result = labels.copy()
    target = np.moveaxis(result, axis, 0)
    for first, last in gaps:
        start, end = (_signed_distance(slices[index] == value, across) for index in (first, last))
        for index in range(first + 1, last):
            share = (index - first) / (last - first)
            inside = (1 - share) * start + share * end > 0
            target[index][inside & _free(slices[index], locked)] = value
    return result


def copy_slice(
    labels: Mask,
    value: int,
    source: int,
    target: int,
    *,
    axis: int = 0,
    locked: Collection[int] = (),
) -> Mask:
    """Replace a structure in one slice by that of another slice.

    Raises
    ------
    UserError
        If the structure is locked, or the source is not a slice or does not contain it.
    """
    _require_unlocked(value, locked)
    slices = np.moveaxis(labels, axis, 0)
    for index in (source, target):
        if not 0 <= index < len(slices):
            raise UserError(
                f"There is no slice {index}.", f"Choose a slice from 0 to {len(slices) - 1}."
            )
    inside = slices[source] == value
    if not inside.any():
        raise UserError(f"Slice {source} does not contain this structure.", "Choose another slice.")
    result = labels.copy()
    changed = np.moveaxis(result, axis, 0)[target]
    changed[changed == value] = 0
    changed[inside & _free(slices[target], locked)] = value
    return result


def keep_largest(labels: Mask, value: int, *, locked: Collection[int] = ()) -> Mask:
    """Keep the largest part of a structure; parts that touch at a corner are one part."""
    _require_unlocked(value, locked)
    result = labels.copy()
    keep_largest_part(result, value)
    return result


def remove_islands(
    labels: Mask,
    value: int,
    smallest: float,
    *,
    spacing: Sequence[float],
    locked: Collection[int] = (),
) -> Mask:
    """Remove the parts of a structure that are smaller than `smallest` ml (mm² in 2D)."""
    _require_unlocked(value, locked)
    voxel = math.prod(spacing) / (1000 if labels.ndim == 3 else 1)
    result = labels.copy()
    near = result[_box(labels == value)]
    parts, sizes = _parts(near == value)
    near[np.isin(parts, 1 + np.flatnonzero(sizes * voxel < smallest))] = 0
    return result


def fill_holes(
    labels: Mask, value: int, *, axis: int | None = None, locked: Collection[int] = ()
) -> Mask:
    """Fill the background that a structure encloses, in 3D or slice by slice.

    Other structures inside it, such as a lesion in an organ, stay.

    Parameters
    ----------
    axis
        Fill the holes of each slice across this axis; None fills those of the whole mask.
    """
    _require_unlocked(value, locked)
    result = labels.copy()
    near = result[_box(labels == value)]
    if axis is None:
        solid = scipy.ndimage.binary_fill_holes(near == value)
    else:
        flat = [scipy.ndimage.binary_fill_holes(one) for one in np.moveaxis(near == value, axis, 0)]
        solid = np.moveaxis(np.stack(flat), 0, axis) if flat else near == value
    near[solid & (near == 0)] = value
    return result


def smooth(
    labels: Mask,
    value: int,
    radius: float,
    *,
    spacing: Sequence[float],
    locked: Collection[int] = (),
) -> Mask:
    """Smooth the border of a structure with a Gaussian of `radius` mm; other structures stay."""
    _require_unlocked(value, locked)
    result = labels.copy()
    margin = [math.ceil(4 * radius / mm) + 1 for mm in spacing]
    near = result[_box(labels == value, margin)]
    sigma = [radius / mm for mm in spacing]
    own = near == value
    soft = scipy.ndimage.gaussian_filter(own.astype(np.float32), sigma, mode="nearest") > 0.5
    near[own & ~soft] = 0
    near[soft & (near == 0) & ~own] = value
    return result


def _box(inside: Inside, margin: Sequence[int] | None = None) -> tuple[slice, ...]:
    """Return the part of an array that contains a structure; empty if it is absent."""
    box = []
    for axis, size in enumerate(inside.shape):
        others = tuple(one for one in range(inside.ndim) if one != axis)
        present = np.flatnonzero(inside.any(axis=others))
        wide = margin[axis] if margin else 0
        first, last = (present[0], present[-1] + 1) if len(present) else (0, 0)
        box.append(slice(max(0, first - wide), min(size, last + wide)))
    return tuple(box)


def _require_unlocked(value: int, locked: Collection[int]) -> None:
    if value in locked:
        raise UserError("This structure is locked.", "Unlock it, or choose another structure.")


def _free(labels: Mask, locked: Collection[int]) -> Inside:
    return ~np.isin(labels, list(locked))


def _signed_distance(inside: Inside, spacing: Sequence[float]) -> NDArray[np.float64]:
    """Distance in mm to the border of a shape: positive inside, negative outside."""
    within = scipy.ndimage.distance_transform_edt(inside, sampling=spacing)
    without = scipy.ndimage.distance_transform_edt(~inside, sampling=spacing)
    distance: NDArray[np.float64] = within - without
    return distance


def _parts(inside: Inside) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return the parts of a structure, numbered from 1, and their sizes in voxels."""
    touching = scipy.ndimage.generate_binary_structure(inside.ndim, inside.ndim)
    parts, count = scipy.ndimage.label(inside, touching)
    return parts, np.bincount(parts.ravel(), minlength=count + 1)[1:]
