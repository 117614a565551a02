"""The transform of a layer from its voxels to napari's world, and how two layers lie."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from napari.components import Dims
from napari.layers import Layer
from napari.utils.transforms import Affine
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
#: Voxels agree to this part of a voxel at every corner; headers are rounded, users are not.
TOLERANCE = 0.02


def voxels(layer: Layer) -> Any:
    """Return the array of a layer, of a multiscale layer the one of full resolution."""
    return layer.data[0] if layer.multiscale else layer.data


def grid_shape(layer: Layer) -> tuple[int, ...]:
    """Return the size along the spatial axes, in the order of the array."""
    return tuple(int(size) for size in voxels(layer).shape[: layer.ndim])


def world_matrix(layer: Layer, factors: Sequence[float] | None = None) -> Matrix:
    """Return the complete transform from voxel indices to world coordinates.

    Parameters
    ----------
    layer
        Its scale, shear, rotation, translation and affine are composed as napari does.
    factors
        Factor from the unit of each axis, by default to mm; axes in pixels keep their numbers.

    Returns
    -------
    Homogeneous matrix of shape (n + 1, n + 1); rows and columns in the order of the array's axes.
    """
    inner = Affine(
        scale=layer.scale,
        rotate=layer.rotate,
        shear=layer.shear,
        translate=layer.translate,
        ndim=layer.ndim,
    )
    units = np.diag([*(factors or [one or 1.0 for one in unit_factors(layer)]), 1.0])
    matrix: Matrix = units @ layer.affine.affine_matrix @ inner.affine_matrix
    return matrix


def unit_factors(layer: Layer) -> list[float | None]:
    """Return the length in mm of the unit of each axis, None where it is no length (pixels)."""
    return [_factor(unit) for unit in layer.units]


@cache
def _factor(unit: Any) -> float | None:
    return float((1.0 * unit).to("mm").magnitude) if unit.is_compatible_with("mm") else None


def voxel_size(layer: Layer) -> tuple[float, ...]:
    """Return the distance of neighbouring voxels along each axis in mm."""
    steps = world_matrix(layer)[: layer.ndim, : layer.ndim]
    return tuple(np.linalg.norm(steps, axis=0).tolist())


def transform_keywords(layer: Layer) -> dict[str, Any]:
    """Return the keywords that put a new layer exactly where another one lies."""
    return {
        "scale": layer.scale,
        "translate": layer.translate,
        "rotate": layer.rotate,
        "shear": layer.shear,
        "affine": layer.affine.affine_matrix,
        "units": layer.units,
        "axis_labels": layer.axis_labels,
    }


def voxel_offset(layer: Layer, other: Layer) -> tuple[int, ...] | None:
    """Return the voxel of `other` at the first voxel of `layer` if all voxels fall on voxels.

    A layer whose units are no lengths is compared by numbers, as napari draws it.
    """
    if layer.ndim != other.ndim:
        return None
    pairs = list(zip(unit_factors(layer), unit_factors(other), strict=True))
    own, others = (
        [1.0 if None in pair else float(pair[side] or 1.0) for pair in pairs] for side in (0, 1)
    )
    return whole_offset(world_matrix(layer, own), world_matrix(other, others), grid_shape(layer))


def whole_offset(matrix: Matrix, grid: Matrix, shape: Sequence[int]) -> tuple[int, ...] | None:
    """Return by how many voxels of `grid` an array is shifted, None if not by whole voxels.

    Parameters
    ----------
    matrix, grid
        Transforms of the array and of the grid to the same world.
    shape
        Size of the array.
    """
    try:
        relation = np.linalg.solve(grid, matrix)
    except np.linalg.LinAlgError:
        return None
    ndim = len(shape)
    ends = np.array(np.meshgrid(*([0.0, max(0, size - 1)] for size in shape), indexing="ij"))
    ends = ends.reshape(ndim, -1).T
    places = ends @ relation[:ndim, :ndim].T + relation[:ndim, ndim]
    steps = np.abs(relation[:ndim, :ndim] - np.eye(ndim)).max()
    start = np.rint(relation[:ndim, ndim])
    # A single slice has no second corner along its axis, so the steps are compared as well.
    if not (np.abs(places - ends - start).max() <= TOLERANCE and steps <= TOLERANCE):
        return None
    return tuple(int(one) for one in start)


def part_of(layer: Layer, other: Layer) -> tuple[int, ...] | None:
    """Return the first voxel of a layer in another one that contains it exactly, else None."""
    start = voxel_offset(layer, other)
    if start is None or not is_inside(start, grid_shape(layer), grid_shape(other)):
        return None
    return start


def slice_in_view(dims: Dims, layer: Layer) -> tuple[int, int] | None:
    """Return the axis of a layer in 3D across the view, and the index of the slice in view.

    None if no single slice is in view, as in the 3D view.
    """
    hidden = [axis for axis in range(dims.ndim) if axis not in dims.displayed]
    if dims.ndisplay != 2 or layer.ndim != 3 or not hidden:
        return None
    axis = hidden[-1] - (dims.ndim - layer.ndim)
    index = round(layer.world_to_data(dims.point)[axis])
    return axis, int(np.clip(index, 0, grid_shape(layer)[axis] - 1))


def is_inside(start: Sequence[int], shape: Sequence[int], whole: Sequence[int]) -> bool:
    """Whether a box of voxels is a part of an array of the shape `whole`."""
    return all(
        first >= 0 and first + size <= end
        for first, size, end in zip(start, shape, whole, strict=True)
    )
