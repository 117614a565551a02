"""Segmentations with named segments: DICOM SEG, structure sets, and files of 3D Slicer."""

from pathlib import Path

from napari_graphflow.errors import UserError
from napari_graphflow.imaging.dicom.series import list_series
from napari_graphflow.imaging.dicom.structures import read_structures, structure_names
from napari_graphflow.imaging.dicom_seg import read_seg, seg_names
from napari_graphflow.imaging.grid import embed_in_grid
from napari_graphflow.imaging.masks import Mask
from napari_graphflow.imaging.paths import Pathlike, existing_path, kind_of, user_errors
from napari_graphflow.imaging.slicer import read_slicer, slicer_names, slicer_segments
from napari_graphflow.imaging.volume import Volume

_NAMES = {"SEG": seg_names, "RTSTRUCT": structure_names, "Slicer": slicer_names}


def is_segmentation(path: Pathlike) -> bool:
    """Whether a file contains named segments."""
    return bool(_format(existing_path(path)))


def _format(path: Path) -> str:
    """Return ``SEG``, ``RTSTRUCT`` or ``Slicer``; empty for other files and for folders."""
    kind = "" if path.is_dir() else kind_of(path)
    if kind == "NRRD":
        return "Slicer" if slicer_segments(path) else ""
    found = list_series(path) if kind == "DICOM" else []
    return found[0].segmentation if found else ""


def segment_names(path: Pathlike) -> dict[str, int]:
    """Return the labels of the segments of a file by name.

    Raises
    ------
    UserError
        If the file cannot be read.
    """
    path = existing_path(path)
    with user_errors(path):
        return _NAMES[_format(path)](path)


def read_segments(path: Pathlike, like: Volume | None = None) -> list[Mask]:
    """Read the masks of a file and the names of their segments; one mask if none overlap.

    Parameters
    ----------
    path
        A file with named segments.
    like
        The image that was segmented; the masks are returned on its grid. Without it, a mask may
        cover only the part of the image with segments. Structure sets require it.

    Raises
    ------
    UserError
        If the file is damaged, is not on the grid of the image, or if contours have no image.
    """
    path = existing_path(path)
    with user_errors(path):
        if (kind := _format(path)) == "RTSTRUCT":
            if like is None:
                raise UserError(
                    f"{path.name} is a structure set (RTSTRUCT): its contours need the image on "
                    "which they were drawn.",
                    "Open that image first; in a terminal, name it with --like.",
                )
            return read_structures(path, like)
        masks = read_slicer(path) if kind == "Slicer" else read_seg(path)
    if like is None:
        return masks
    return [(embed_in_grid(mask, like, path.name), names) for mask, names in masks]
