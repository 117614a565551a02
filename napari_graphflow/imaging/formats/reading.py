"""Detect the format of a file by its first bytes, and read it."""

import re
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import numpy as np

from napari_graphflow.errors import UserError
from napari_graphflow.imaging import itk as sitk
from napari_graphflow.imaging.formats.endings import FORMATS, suffix
from napari_graphflow.imaging.formats.loaded import Geometry, Loaded, check_spacing, spatial
from napari_graphflow.imaging.formats.nifti import is_header, peek, read_header
from napari_graphflow.imaging.formats.nrrd_metaimage import read_metaimage, read_nrrd
from napari_graphflow.imaging.formats.pictures import read_image_2d
from napari_graphflow.imaging.formats.voxels import EXPORT_AGAIN, Stored, read_voxels

_HEADERS = {"NIfTI": read_header, "NRRD": read_nrrd, "MetaImage": read_metaimage}
_STARTS = (
    # First, since the 128 bytes before may be those of a TIFF.
    ("DICOM", rb".{128}DICM"),
    ("NRRD", rb"NRRD000"),
    ("MetaImage", rb"\s*(ObjectType|ObjectSubType|Comment|NDims)\s*="),
    ("PNG", rb"\x89PNG\r\n\x1a\n"),
    ("JPEG", rb"\xff\xd8\xff"),
    ("TIFF", rb"II[*+]\x00|MM\x00[*+]"),
    ("GIF", rb"GIF8[79]a"),
    ("BMP", rb"BM.{4}\x00{4}"),
    ("WebP", rb"RIFF.{4}WEBP"),
)


def sniff(path: Path) -> str:
    """Return the format of a file by its content; empty if not supported."""
    start = peek(path)
    for name, pattern in _STARTS:
        if re.match(pattern, start, re.DOTALL):
            return name
    if is_header(start) or suffix(path) in (".img", ".img.gz"):
        return "NIfTI"
    return "DICOM" if suffix(path) in FORMATS["DICOM"].endings else ""


def load(path: Path, kind: str, *, indices: bool = False) -> Loaded:
    """Read a file of a known format other than DICOM.

    Parameters
    ----------
    path, kind
        The file, and its format by :func:`sniff`.
    indices
        Return the palette indices rather than the colours.

    Raises
    ------
    UserError
        If the file is damaged or not supported.
    """
    if kind in FORMATS and FORMATS[kind].flat:
        loaded = read_image_2d(path, kind, indices=indices)
    else:
        # SimpleITK does not detect that files of other formats are truncated.
        stored = _read_header(path, kind) if kind else _unknown(path)
        loaded = _load_by_itk(path) if stored is None else read_voxels(stored)
    check_spacing(path.name, loaded.geometry.spacing)
    return replace(loaded, warnings=(*_misnamed(path, kind), *loaded.warnings))


def _read_header(path: Path, kind: str) -> Stored | None:
    try:
        return _HEADERS[kind](path) if kind in _HEADERS else None
    except (ValueError, KeyError, OverflowError):
        raise UserError(f"The header of {path.name} is damaged.", EXPORT_AGAIN) from None


def _misnamed(path: Path, kind: str) -> tuple[str, ...]:
    """Warn if the suffix belongs to another format."""
    ending = suffix(path)
    expected = [name for name, one in FORMATS.items() if ending in one.endings]
    if not kind or not expected or kind in expected:
        return ()
    return (f"The file has the suffix {ending}, but its content is {kind}.",)


def _unknown(path: Path) -> NoReturn:
    raise UserError(
        f"{path.name} cannot be read: it is damaged or has an unknown format.",
        "Export it as NIfTI, NRRD or MetaImage.",
    )


def _load_by_itk(path: Path) -> Loaded:
    """Read rare variants of the supported formats with SimpleITK."""
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError:
        _unknown(path)
    array = sitk.GetArrayFromImage(image)
    channels = image.GetNumberOfComponentsPerPixel() > 1
    if image.GetDimension() == 4 and not channels:
        array, channels = np.moveaxis(array, 0, -1), True
    elif image.GetDimension() > 3 or image.GetDimension() < 2:
        raise UserError(f"{path.name} has too many axes.", "Export a single volume.")
    geometry = Geometry(image.GetSpacing(), image.GetOrigin(), image.GetDirection())
    return Loaded(array, spatial(geometry), channels)
