"""Read the image of a DICOM series."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from napari_graphflow.errors import UserError
from napari_graphflow.imaging.dicom.headers import NO_SPACING
from napari_graphflow.imaging.dicom.pixels import fill_padding, read_stack, resample
from napari_graphflow.imaging.dicom.series import Series, choose, has_dicom, list_series
from napari_graphflow.imaging.dicom.stack import offsets
from napari_graphflow.imaging.formats.loaded import (
    Geometry,
    Loaded,
    pixel_grid,
    with_value_warnings,
)
from napari_graphflow.imaging.formats.voxels import EXPORT_AGAIN
from napari_graphflow.imaging.paths import user_errors
from napari_graphflow.imaging.volume import Volume

_ONE_SLICE = "This file is a single slice; open its folder for the whole series."


def read_dicom(path: Path, name: str, resample: bool) -> Volume:
    """Read the only image of a folder or file, or the series with a description or number."""
    found = list_series(path)
    if not found:
        raise no_dicom_error(path)
    volume = read_series(chosen := choose(found, name), resample=resample)
    if path.is_file() and volume.ndim == 3 and chosen.count == 1:
        volume = replace(volume, warnings=(*volume.warnings, _ONE_SLICE))
    return volume


def no_dicom_error(path: Path) -> UserError:
    """Describe why a file or folder has no DICOM image."""
    if path.name.upper() == "DICOMDIR":
        return UserError(f"{path.name} is an index of other files (DICOMDIR).", "Open its folder.")
    if path.is_dir():
        what = "only DICOM files that are damaged or not images"
        found = what if has_dicom(path) else "no DICOM images"
        return UserError(f"The folder {path.name} contains {found}.", "Choose another folder.")
    return UserError(f"{path.name} is not a DICOM image, or is damaged.", EXPORT_AGAIN)


def read_series(series: Series, *, resample: bool = False) -> Volume:
    """Read a series found by :func:`napari_graphflow.imaging.dicom.series.list_series`.

    Raises
    ------
    UserError
        If the series has a problem that resampling does not solve, or resampling is not allowed.
    """
    with user_errors(series.files[0]):
        volume = with_value_warnings(_load(series, resampled=resample)).volume()
        return replace(volume, frame_of_reference=series.slices[0].frame_of_reference)


def _load(series: Series, *, resampled: bool = False) -> Loaded:
    """Read the voxels of a series.

    Raises
    ------
    UserError
        If the slices do not form a regular grid and are not to be resampled, or pixels cannot be
        decoded.
    """
    resampling = bool(series.problem) and series.resamplable
    if series.problem and not (resampling and resampled):
        remedy = (
            "Open it resampled to a regular grid." if resampling else "Export the series again."
        )
        if series.is_segmentation:
            remedy = "Open the image that was segmented."
        raise UserError(series.problem, remedy)
    first = series.slices[0]
    array = read_stack(series.slices)
    warnings = (*series.warnings, *fill_padding(array, series.slices))
    channels = array.ndim == 4
    if len(series.shape) == 2:
        grid = pixel_grid(series.spacing, sized=NO_SPACING not in first.warnings)
        return Loaded(array[0], grid, channels, warnings, series.modality)
    origin = np.array(first.position or (0.0, 0.0, 0.0))
    if resampling:
        if channels:
            raise UserError(series.problem, "Export the series again.")
        array, corner = resample(array, offsets(series.slices), series.spacing[0], first.spacing)
        origin = origin + first.axes_matrix[:, :2] @ corner
    direction = tuple(first.axes_matrix.ravel().tolist())
    grid = Geometry(
        series.spacing[::-1], tuple(origin.tolist()), direction, anatomical=first.is_volume
    )
    if resampling:
        warnings = (*warnings, "The slices were resampled to a regular grid.")
    return Loaded(array, grid, channels, warnings, series.modality)
