"""Write an image atomically, and only if it reads back unchanged."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_graphflow.errors import UserError
from napari_graphflow.imaging import itk as sitk
from napari_graphflow.imaging.formats.endings import FLAT, WRITTEN, suffix
from napari_graphflow.imaging.formats.loaded import Geometry, Loaded, pixel_grid
from napari_graphflow.imaging.formats.pictures import write_image_2d
from napari_graphflow.imaging.formats.reading import load, sniff
from napari_graphflow.imaging.formats.voxels import format_bytes

_OTHER = "Choose NIfTI (.nii.gz), NRRD (.nrrd) or MetaImage (.mha)."


def write(path: Path, image: Loaded) -> None:
    """Write an image to a temporary folder, read it back, compare, and rename it.

    Raises
    ------
    UserError
        If the format cannot store the image without loss, or the disk is full.
    OSError
        If the folder cannot be written to.
    """
    _check_format(path, image)
    if not path.parent.is_dir():
        raise UserError(f"There is no folder {path.parent}.", "Create it first, or check the path.")
    array = _storable(path, image.array)
    with tempfile.TemporaryDirectory(prefix=".saving-", dir=path.parent) as folder:
        fresh = Path(folder) / path.name
        try:
            _write(fresh, array, image)
            back = load(fresh, sniff(fresh))
        except (RuntimeError, UserError):
            raise _write_error(path, array) from None
        _compare(path, back, array, image)
        # The header of a pair is renamed last, so that it never refers to missing voxels.
        for part in sorted(Path(folder).iterdir(), key=lambda part: part == fresh):
            _flush(part)
            part.replace(path.parent / part.name)


def _check_format(path: Path, image: Loaded) -> None:
    ending = suffix(path)
    if ending not in WRITTEN:
        raise UserError(f"Files of the type {ending or path.name} cannot be written.", _OTHER)
    if ending not in FLAT:
        return
    spacing, array = image.geometry.spacing[::-1], image.array
    plain = (1.0,) * len(spacing) if ending == ".png" else spacing
    if (ending == ".png" and len(spacing) != 2) or image.geometry != pixel_grid(plain):
        raise UserError(f"A {ending} file cannot store the geometry of the image.", _OTHER)
    if ending == ".png" and (array.dtype not in (np.uint8, np.uint16, np.bool_) or (
        image.channels and (array.shape[-1] != 3 or array.dtype != np.uint8)
    )):  # fmt: skip
        raise UserError(f"A .png file cannot store values of the type {array.dtype}.", _OTHER)


def _storable(path: Path, array: NDArray[Any]) -> NDArray[Any]:
    kind = {"bool": np.uint8, "float16": np.float32}.get(array.dtype.name)
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise UserError(f"{path.name} cannot store values of the type {array.dtype}.", _OTHER)
    return np.ascontiguousarray(array if kind is None else array.astype(kind))


def _write(path: Path, array: NDArray[Any], image: Loaded) -> None:
    if suffix(path) in FLAT:
        geometry = image.geometry
        write_image_2d(path, array, geometry.spacing[::-1], sized=geometry.sized)
        return
    stored = sitk.GetImageFromArray(array, isVector=image.channels)
    stored.SetSpacing(image.geometry.spacing)
    stored.SetOrigin(image.geometry.origin)
    stored.SetDirection(image.geometry.direction)
    sitk.WriteImage(stored, str(path), useCompression=True)


def _compare(path: Path, back: Loaded, array: NDArray[Any], image: Loaded) -> None:
    if not (
        back.array.shape == array.shape
        and np.array_equal(back.array, array, equal_nan=array.dtype.kind in "fc")
        and same_geometry(back.geometry, image.geometry)
    ):
        raise UserError(
            f"{path.name} was not saved: it does not read back unchanged in this format.",
            "Choose NRRD (.nrrd) or MetaImage (.mha).",
        )


def same_geometry(one: Geometry, other: Geometry) -> bool:
    """Whether geometries are equal to 1e-6, origins relative to their size (NIfTI: float32)."""
    largest = max(1.0, *np.abs(other.origin))
    return (
        len(one.spacing) == len(other.spacing)
        and np.allclose(one.spacing, other.spacing, rtol=1e-6, atol=0)
        and np.allclose(one.direction, other.direction, rtol=0, atol=1e-6)
        and np.allclose(one.origin, other.origin, rtol=0, atol=1e-6 * largest)
    )


def _write_error(path: Path, array: NDArray[Any]) -> UserError:
    free = shutil.disk_usage(path.parent).free
    if free < array.nbytes:
        return UserError(
            f"{path.name} was not saved: only {format_bytes(free)} of disk space is left.",
            "Free disk space or choose another disk.",
        )
    return UserError(f"{path.name} was not saved: it cannot be written.", _OTHER)


def _flush(path: Path) -> None:
    """Flush a file to disk before it is renamed, in case of a power failure."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
