"""Read and write volumes and masks with their geometry.

Conventions: arrays are indexed z, y, x (or y, x); `spacing` follows the array's axes;
`origin` and `direction` are SimpleITK's: physical coordinates x, y, z in mm, LPS.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_graphflow.errors import UserError
from napari_graphflow.imaging.dicom import series as dicom
from napari_graphflow.imaging.formats import load, sniff
from napari_graphflow.imaging.formats.endings import FORMATS
from napari_graphflow.imaging.formats.voxels import (
    EXPORT_AGAIN,
    Geometry,
    Loaded,
    with_value_warnings,
)
from napari_graphflow.imaging.formats.writing import write
from napari_graphflow.imaging.grid import embed_in_grid, lacks_one_slice, shape_error
from napari_graphflow.imaging.labels import as_labels, inverted_warning, write_class_names
from napari_graphflow.imaging.volume import Volume

Pathlike = str | os.PathLike[str]


def read_volume(path: Pathlike, *, series: str = "", resample: bool = False) -> Volume:
    """Read an image from a file of any supported format or from a folder with a DICOM series.

    Parameters
    ----------
    path
        The file or folder.
    series
        Description or number (from 1) of the DICOM series, if the folder has several.
    resample
        Whether unevenly spaced or tilted DICOM slices may be resampled to a regular grid.

    Raises
    ------
    UserError
        If the path does not exist, or the image is damaged or not supported.
    """
    path = existing_path(path)
    with user_errors(path):
        if (kind := kind_of(path)) == "DICOM":
            return _read_dicom(path, series, resample)
        return _volume(with_value_warnings(load(path, kind)))


def read_series(series: dicom.Series, *, resample: bool = False) -> Volume:
    """Read a series found by :func:`napari_graphflow.imaging.dicom.series.list_series`.

    Raises
    ------
    UserError
        If the series has a problem that resampling does not solve, or resampling is not allowed.
    """
    with user_errors(series.files[0]):
        return _volume(with_value_warnings(dicom.load(series, resampled=resample)))


def write_volume(path: Pathlike, volume: Volume, *, overwrite: bool = True) -> None:
    """Write a volume with its geometry: to a temporary file, read back, compare, rename.

    Raises
    ------
    UserError
        If the format cannot store the voxels and the geometry without loss, or the file cannot be
        written. An existing file is then unchanged.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise UserError(f"{path.name} already exists.", "Choose another name.")
    with user_errors(path, writing=True):
        geometry = Geometry(volume.spacing[::-1], volume.origin, volume.direction)
        write(path, Loaded(volume.array, geometry, volume.channels))


def read_labels(path: Pathlike, like: Volume | None = None) -> Volume:
    """Read a mask as labels of the smallest unsigned integer type.

    Parameters
    ----------
    path
        The file.
    like
        The image of the mask. A mask in another orientation is reoriented to the image, and one
        that covers a part of its voxel grid is laid onto it; a 2D image takes over its geometry.

    Raises
    ------
    UserError
        If the values are not labels, or the mask is not on the grid of `like`.
    """
    path = existing_path(path)
    with user_errors(path):
        if (kind := kind_of(path)) == "DICOM":
            volume = replace(_read_dicom(path, "", False), warnings=())
        else:
            volume = _volume(load(path, kind, indices=True))
        image_2d = kind in FORMATS and FORMATS[kind].flat
        if like is not None and image_2d and volume.shape != like.shape:
            raise shape_error(volume, like, path.name)
        labels, warnings = as_labels(
            volume.array,
            name=path.name,
            channels=volume.channels,
            image_2d=image_2d,
            lossy=kind == "JPEG",
        )
    warnings = (*volume.warnings, *warnings)
    volume = replace(volume.with_array(labels), warnings=warnings)
    if like is not None:
        volume = _fitted(volume, like, path.name, image_2d)
    return replace(volume, warnings=(*volume.warnings, *inverted_warning(volume.array)))


def write_labels(
    path: Pathlike,
    labels: NDArray[Any],
    like: Volume,
    *,
    overwrite: bool = True,
    classes: Mapping[str, int] | None = None,
) -> None:
    """Write a mask on the grid of `like` in the smallest unsigned integer type.

    Class names are written to ``NAME.labels.json`` next to the mask; with `classes=None` an
    existing file of names is left unchanged.
    """
    if labels.dtype.kind not in "iub" or (labels.size and labels.min() < 0):
        raise ValueError("labels must be non-negative integers")
    dtype = np.min_scalar_type(int(labels.max(initial=0)))
    write_volume(path, like.with_array(labels.astype(dtype, copy=False)), overwrite=overwrite)
    if classes is not None:
        with user_errors(path := Path(path), writing=True):
            write_class_names(path, classes)


def existing_path(path: Pathlike) -> Path:
    """Return the path of an existing file or folder."""
    path = Path(path)
    if not path.exists():
        raise UserError(f"There is no file or folder {path}.", "Check the path.")
    if not (path.is_file() or path.is_dir()):
        # Reading a pipe or a device could block for ever.
        raise UserError(f"{path} is neither a file nor a folder.", "Check the path.")
    return path


def kind_of(path: Path) -> str:
    """Return the format of a file; a folder can only contain DICOM."""
    return "DICOM" if path.is_dir() else sniff(path)


@contextmanager
def user_errors(path: Path, writing: bool = False) -> Iterator[None]:
    """Raise errors of the operating system as a `UserError`."""
    try:
        yield
    except MemoryError:
        raise UserError(
            f"This computer has not enough memory for {path.name}.",
            "Close other programs, or crop the image first.",
        ) from None
    except PermissionError:
        what = f"{path.parent} cannot be written to" if writing else f"{path} cannot be read"
        raise UserError(
            f"{what}: permission denied.", "Choose another location, or change the permissions."
        ) from None
    except OSError as error:
        reason = (error.strerror or "operating system error").lower()
        verb = "written" if writing else "read"
        raise UserError(
            f"{path.name} cannot be {verb}: {reason}.",
            "Free disk space or choose another disk." if writing else "Check the disk.",
        ) from None


def _read_dicom(path: Path, name: str, resample: bool) -> Volume:
    found = dicom.list_series(path)
    if not found:
        raise no_dicom_error(path)
    volume = read_series(chosen := dicom.choose(found, name), resample=resample)
    if path.is_file() and volume.ndim == 3 and chosen.count == 1:
        volume = replace(volume, warnings=(*volume.warnings, _ONE_SLICE))
    return volume


_ONE_SLICE = "This file is a single slice; open its folder for the whole series."


def no_dicom_error(path: Path) -> UserError:
    """Describe why a file or folder has no DICOM image."""
    if path.name.upper() == "DICOMDIR":
        return UserError(f"{path.name} is an index of other files (DICOMDIR).", "Open its folder.")
    if path.is_dir():
        what = "only DICOM files that are damaged or not images"
        found = what if dicom.has_dicom(path) else "no DICOM images"
        return UserError(f"The folder {path.name} contains {found}.", "Choose another folder.")
    return UserError(f"{path.name} is not a DICOM image, or is damaged.", EXPORT_AGAIN)


def _volume(loaded: Loaded) -> Volume:
    geometry = loaded.geometry
    return Volume(
        loaded.array,
        tuple(geometry.spacing[::-1]),
        tuple(geometry.origin),
        tuple(geometry.direction),
        loaded.channels,
        loaded.warnings,
    )


def _fitted(labels: Volume, like: Volume, name: str, image_2d: bool) -> Volume:
    """Lay a mask onto the grid of its image; a 2D image or a stack of them has no geometry."""
    if image_2d:
        return replace(like.with_array(labels.array), warnings=labels.warnings)
    fitted = embed_in_grid(labels, like, name)
    if lacks_one_slice(labels, like):
        raise shape_error(labels, like, name)
    if labels.array.size == fitted.array.size:
        return fitted
    share = labels.array.size / fitted.array.size
    warning = f"The mask covers {share:.0%} of the image; the rest is read as background."
    return replace(fitted, warnings=(*fitted.warnings, warning))
