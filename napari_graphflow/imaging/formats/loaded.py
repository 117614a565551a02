"""An array as a format has it: geometry in the order of SimpleITK, and the checks of its values."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_graphflow.errors import UserError
from napari_graphflow.imaging.volume import Volume

#: Voxels in mm: from atoms to kilometres.
_SMALLEST_MM, _LARGEST_MM = 1e-9, 1e6


@dataclass(frozen=True)
class Geometry:
    """Voxel spacing, origin and direction as in SimpleITK: x first, mm, LPS.

    Attributes
    ----------
    sized
        Whether the voxel size is known; the spacing of other images is 1 pixel.
    anatomical
        Whether the direction is that of a patient, unlike that of a photograph.
    """

    spacing: tuple[float, ...]
    origin: tuple[float, ...]
    direction: tuple[float, ...]
    sized: bool = field(default=True, compare=False)
    anatomical: bool = field(default=True, compare=False)


@dataclass(frozen=True)
class Loaded:
    """An array, spatial axes first in the order z, y, x, channels last, and its geometry.

    `modality` is that of a DICOM header, such as ``CT`` or ``MR``; empty for other files.
    With `frames`, the channels are the volumes of a 4D file, which may be time points.
    """

    array: NDArray[Any]
    geometry: Geometry
    channels: bool = False
    warnings: tuple[str, ...] = ()
    modality: str = ""
    frames: bool = False

    def volume(self) -> Volume:
        """Return the image with its spacing in the order of the array's axes."""
        geometry = self.geometry
        return Volume(
            self.array,
            tuple(geometry.spacing[::-1]),
            tuple(geometry.origin),
            tuple(geometry.direction),
            self.channels,
            self.warnings,
            geometry.sized,
            geometry.anatomical,
            self.modality,
        )


def check_spacing(name: str, spacing: Sequence[float]) -> None:
    """Refuse voxels that no device makes, whose distances and volumes would be meaningless."""
    odd = [size for size in spacing if not _SMALLEST_MM <= size <= _LARGEST_MM]
    if odd:
        raise UserError(
            f"The header of {name} states a voxel spacing of {odd[0]:.6g} mm.",
            "Correct the voxel spacing, or export the image again.",
        )


def pixel_grid(spacing: Sequence[float], *, sized: bool = True) -> Geometry:
    """Return an identity geometry; `spacing` is in the order of the array's axes."""
    count = len(spacing)
    axes = tuple(np.eye(count).ravel().tolist())
    return Geometry(tuple(spacing[::-1]), (0.0,) * count, axes, sized, anatomical=False)


def spatial(geometry: Geometry) -> Geometry:
    """Drop the fourth axis, such as time."""
    if len(geometry.spacing) <= 3:
        return geometry
    count = len(geometry.spacing)
    rows = np.array(geometry.direction).reshape(count, count)[:3, :3]
    return replace(
        geometry,
        spacing=geometry.spacing[:3],
        origin=geometry.origin[:3],
        direction=tuple(rows.ravel().tolist()),
    )


def with_value_warnings(loaded: Loaded) -> Loaded:
    """Convert complex values to magnitudes, and warn of non-finite or constant values."""
    array, warnings = loaded.array, list(loaded.warnings)
    if array.dtype.kind == "c":
        array = np.abs(array)
        warnings.append("The voxels are complex numbers; the magnitude is shown.")
    with np.errstate(all="ignore"):
        odd = array.dtype.kind == "f" and not np.isfinite(array.sum())
    if odd and (share := 1 - float(np.isfinite(array).mean())):
        warnings.append(f"{share:.2%} of the voxels are not finite (NaN or infinite).")
    if array.size > 1 and _is_constant(array):
        warnings.append(f"All voxels have the same value, {array.flat[0]}.")
    return replace(loaded, array=array, warnings=tuple(warnings))


def _is_constant(array: NDArray[Any]) -> bool:
    """Whether all values are equal; a subsample is tested first."""
    first = array.flat[0]
    few = array[tuple(slice(None, None, max(1, size // 16)) for size in array.shape)]
    return bool((few == first).all() and (array == first).all())
