"""Read and write volumes and masks with their geometry.

Conventions: arrays are indexed z, y, x (or y, x); `spacing` follows the array's axes;
`origin` and `direction` are SimpleITK's: physical coordinates x, y, z in mm, LPS.

The formats are imported at their first use: every dock imports this module while it opens.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_graphflow.errors import UserError
from napari_graphflow.imaging.class_names import names_file, write_class_names
from napari_graphflow.imaging.formats.endings import FORMATS
from napari_graphflow.imaging.grid import embed_in_grid, lacks_one_slice, shape_error
from napari_graphflow.imaging.labels import as_labels, inverted_warning
from napari_graphflow.imaging.masks import only_mask
from napari_graphflow.imaging.paths import (
    Pathlike,
    existing_path,
    kind_of,
    user_errors,
    written_with,
)
from napari_graphflow.imaging.volume import Volume


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
    from napari_graphflow.imaging.dicom.reading import read_dicom
    from napari_graphflow.imaging.formats.loaded import check_spacing, with_value_warnings
    from napari_graphflow.imaging.formats.reading import load

    path = existing_path(path)
    with user_errors(path):
        if (kind := kind_of(path)) == "DICOM":
            volume = read_dicom(path, series, resample)
            check_spacing(path.name, volume.spacing)
            return volume
        return with_value_warnings(load(path, kind)).volume()


def write_volume(path: Pathlike, volume: Volume, *, overwrite: bool = True) -> None:
    """Write a volume with its geometry: to a temporary file, read back, compare, rename.

    Raises
    ------
    UserError
        If the format cannot store the voxels and the geometry without loss, or the file cannot be
        written. An existing file is then unchanged.
    """
    from napari_graphflow.imaging.formats.loaded import Geometry, Loaded
    from napari_graphflow.imaging.formats.writing import write

    path = Path(path)
    if path.exists() and not overwrite:
        raise UserError(f"{path.name} already exists.", "Choose another name.")
    with user_errors(path, writing=True):
        geometry = Geometry(
            volume.spacing[::-1], volume.origin, volume.direction, volume.sized, volume.anatomical
        )
        write(path, Loaded(volume.array, geometry, volume.channels))


def read_labels(
    path: Pathlike, like: Volume | None = None, *, ignore: int | None = None, white: bool = True
) -> Volume:
    """Read a mask as labels of the smallest unsigned integer type.

    Parameters
    ----------
    path
        The file; named segments get their labels by
        :func:`napari_graphflow.imaging.class_names.read_class_names`.
    like
        The image of the mask. A mask in another orientation is reoriented to the image, and one
        that covers a part of its voxel grid is laid onto it; a 2D image takes over its geometry.
    ignore
        Value of the voxels to be ignored; by default 255 besides other values.
    white
        As for :func:`napari_graphflow.imaging.labels.as_labels`.

    Raises
    ------
    UserError
        If the values are not labels, segments overlap, or the mask is not on the grid of `like`.
    """
    from napari_graphflow.imaging.dicom.reading import read_dicom
    from napari_graphflow.imaging.formats.reading import load
    from napari_graphflow.imaging.segments import is_segmentation, read_segments

    path = existing_path(path)
    if is_segmentation(path):
        mask, _ = only_mask(read_segments(path, like), path.name)
        return replace(mask, warnings=(*mask.warnings, *inverted_warning(mask.array, ignore)))
    with user_errors(path):
        frames = False
        if (kind := kind_of(path)) == "DICOM":
            volume = replace(read_dicom(path, "", False), warnings=())
        else:
            loaded = load(path, kind, indices=True)
            volume, frames = loaded.volume(), loaded.frames
        image_2d = kind in FORMATS and FORMATS[kind].flat
        if like is not None and image_2d and volume.shape != like.shape:
            raise shape_error(volume, like, path.name)
        labels, warnings = as_labels(
            volume.array,
            name=path.name,
            channels=volume.channels,
            image_2d=image_2d,
            lossy=kind == "JPEG",
            white=white,
            frames=frames,
        )
    warnings = (*volume.warnings, *warnings)
    volume = replace(volume.with_array(labels), warnings=warnings)
    if like is not None:
        volume = _fitted(volume, like, path.name, image_2d)
    return replace(volume, warnings=(*volume.warnings, *inverted_warning(volume.array, ignore)))


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


def mask_files(path: Path) -> list[Path]:
    """Return all files that writing a mask replaces or removes, with that of its class names."""
    return [*written_with(path), names_file(path)]


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
