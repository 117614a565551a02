"""DICOM structure sets (RTSTRUCT): closed contours of named structures, filled on an image's grid.

A voxel belongs to a structure if its centre is inside an odd number of its contours, so that a
contour inside another one is a hole.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_graphflow.errors import UserError
from napari_graphflow.imaging.dicom.errors import invalid_object
from napari_graphflow.imaging.dicom.headers import hashed
from napari_graphflow.imaging.formats.voxels import EXPORT_AGAIN
from napari_graphflow.imaging.grid import check_frame
from napari_graphflow.imaging.masks import Mask, distinct, without_overlap
from napari_graphflow.imaging.volume import Volume

#: Contours lie on the slices of their image; this share of a slice distance may be rounding.
_BESIDE = 0.25
_CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
_REMEDY = "Choose the image on which the structures were drawn."

Points = NDArray[np.float64]
#: Contours by slice, as points (row, column) in voxels.
Planes = dict[int, list[Points]]


@dataclass(frozen=True)
class Structure:
    """A structure: name, number, hash of its frame of reference, and closed contours.

    The contours are points (x, y, z) in mm, LPS, one array (n, 3) each.
    """

    name: str
    number: int
    frame: str
    contours: tuple[Points, ...]


def structure_names(path: Path) -> dict[str, int]:
    """Return the labels of the structures of a file by name: their numbers, or 1, 2, ...

    Raises
    ------
    UserError
        If the file is damaged, or has no closed contours.
    """
    return _names(_read(path)[0])


def read_structures(path: Path, like: Volume) -> list[Mask]:
    """Fill the structures of a file on the grid of their image; one mask if none overlap.

    Raises
    ------
    UserError
        If the file is damaged, or its contours do not lie on the slices of the image.
    """
    structures, warnings = _read(path)
    if like.ndim != 3:
        raise UserError(f"{path.name} is a structure set, but the image is 2D.", _REMEDY)
    for one in structures:
        check_frame(one.frame, like, path.name)
    names = _names(structures)
    contours = {
        name: [_voxels(points, like) for points in one.contours]
        for name, one in zip(names, structures, strict=True)
    }
    axis = _slice_axis(contours.values(), path.name)
    planes = {name: _planes(found, axis, path.name) for name, found in contours.items()}
    warnings = (*warnings, *_outside(planes, like.shape[axis], path.name), *_sparse(planes))
    warnings += _cut(planes, like.shape[:axis] + like.shape[axis + 1 :])
    filled = ((name, _filled(planes[name], axis, like.shape)) for name in names)
    masks = [(like.with_array(array), used) for array, used in without_overlap(filled, names)]
    return [(replace(mask, warnings=warnings), used) for mask, used in masks]


def _read(path: Path) -> tuple[list[Structure], tuple[str, ...]]:
    """Return the structures with closed contours, and a warning that names the others."""
    import pydicom

    with invalid_object(path.name, "DICOM structure set"):
        found = pydicom.dcmread(path)
        contours = {
            int(one.ReferencedROINumber): tuple(
                np.reshape([float(number) for number in item.ContourData], (-1, 3))
                for item in one.get("ContourSequence") or ()
                if item.get("ContourGeometricType") in _CLOSED and len(item.ContourData) >= 9
            )
            for one in found.get("ROIContourSequence") or ()
        }
        structures = [
            Structure(
                " ".join(str(one.get("ROIName") or "").split()) or f"structure {one.ROINumber}",
                int(one.ROINumber),
                hashed(one.get("ReferencedFrameOfReferenceUID")),
                contours.get(int(one.ROINumber), ()),
            )
            for one in found.get("StructureSetROISequence") or ()
        ]
    closed = [one for one in structures if one.contours]
    if not closed:
        raise UserError(f"The structure set {path.name} has no closed contours.", EXPORT_AGAIN)
    left_out = [one.name for one in structures if not one.contours]
    if not left_out:
        return closed, ()
    many = "s" if len(left_out) > 1 else ""
    return closed, (
        f"{len(left_out)} structure{many} without closed contours left out: {', '.join(left_out)}.",
    )


def _names(structures: Sequence[Structure]) -> dict[str, int]:
    numbers = [one.number for one in structures]
    usable = len(set(numbers)) == len(numbers) and 0 < min(numbers) <= max(numbers) < 1 << 16
    values = numbers if usable else range(1, len(numbers) + 1)
    return distinct([one.name for one in structures], values)


def _voxels(points: Points, like: Volume) -> Points:
    """Convert positions in mm to voxels in the order of the array's axes."""
    steps = like.matrix * like.spacing[::-1]
    # Rounded, so that contours through the centres of voxels are treated alike.
    return np.round(np.linalg.solve(steps, (points - like.origin).T).T[:, ::-1], 4)


def _slice_axis(contours: Iterable[Sequence[Points]], name: str) -> int:
    """Return the axis of the array along which each contour is flat."""
    depths = np.max([np.ptp(points, axis=0) for found in contours for points in found], axis=0)
    axis = int(np.argmin(depths))
    if depths[axis] > 2 * _BESIDE:
        raise UserError(f"The contours of {name} are not parallel to the slices.", _REMEDY)
    return axis


def _planes(contours: Iterable[Points], axis: int, name: str) -> Planes:
    """Sort contours by slice; one that occurs twice is kept once, since two would be a hole."""
    planes: dict[int, dict[bytes, Points]] = {}
    for points in contours:
        position = float(points[:, axis].mean())
        index = round(position)
        if abs(position - index) > _BESIDE:
            raise UserError(f"The contours of {name} lie between the slices.", _REMEDY)
        flat = np.delete(points, axis, axis=1)
        planes.setdefault(index, {})[flat.tobytes()] = flat
    return {index: list(found.values()) for index, found in planes.items()}


def _outside(planes: Mapping[str, Planes], slices: int, name: str) -> tuple[str, ...]:
    """Warn of structures that reach beyond the first or the last slice."""
    beyond = [key for key, one in planes.items() if min(one) < 0 or max(one) >= slices]
    if all(not 0 <= index < slices for one in planes.values() for index in one):
        raise UserError(f"The contours of {name} lie outside the image.", _REMEDY)
    return (f"Contours outside the image are left out: {', '.join(beyond)}.",) if beyond else ()


def _cut(planes: Mapping[str, Planes], sizes: Sequence[int]) -> tuple[str, ...]:
    """Warn of structures that reach beyond the edges of the slices."""
    beyond = [
        name
        for name, found in planes.items()
        if any(
            (points < -1).any() or (points > sizes).any()
            for contours in found.values()
            for points in contours
        )
    ]
    return (f"Contours that reach beyond the image are cut: {', '.join(beyond)}.",) * bool(beyond)


def _sparse(planes: Mapping[str, Planes]) -> tuple[str, ...]:
    """Warn of structures that were drawn on every second slice, for instance."""
    steps = {name: Counter(np.diff(sorted(one)).tolist()) for name, one in planes.items()}
    sparse = [name for name, found in steps.items() if found and found.most_common(1)[0][0] > 1]
    if not sparse:
        return ()
    return (f"Slices between the contours stay empty: {', '.join(sparse)}.",)


def _filled(planes: Planes, axis: int, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    mask = np.zeros(shape, bool)
    slices = np.moveaxis(mask, axis, 0)
    for index, contours in planes.items():
        if 0 <= index < len(slices):
            slices[index] = _inside(contours, slices.shape[1:])
    return mask


def _inside(contours: Iterable[Points], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return the pixels whose centre is inside an odd number of polygons (even-odd rule)."""
    rows, columns = shape
    crossings = np.zeros((rows, columns + 1), np.int32)
    for points in contours:
        (row, column), (end_row, end_column) = points.T, np.roll(points, -1, axis=0).T
        first, last = (
            np.clip(np.ceil(ends(row, end_row)), 0, rows).astype(int)
            for ends in (np.minimum, np.maximum)
        )
        # Each edge crosses the rows first, ..., last - 1.
        count = last - first
        edge = np.repeat(np.arange(len(points)), count)
        at = first[edge] + np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count)
        slope = (end_column - column)[edge] / (end_row - row)[edge]
        crossed = np.ceil(np.round(column[edge] + (at - row[edge]) * slope, 6))
        np.add.at(crossings, (at, np.clip(crossed, 0, columns).astype(int)), 1)
    inside: NDArray[np.bool_] = np.cumsum(crossings, axis=1)[:, :-1] % 2 == 1
    return inside
