"""Lay a mask onto the voxel grid of its image: by whole voxels, never interpolated."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from napari_graphflow.errors import UserError
from napari_graphflow.imaging.volume import Volume

#: In voxels; some programs round the geometry in their headers.
_TOLERANCE = 0.1


def embed_in_grid(mask: Volume, like: Volume, name: str) -> Volume:
    """Lay a mask onto the grid of an image, of which it may cover only a part.

    Axes are permuted and flipped if necessary; the part that the mask does not cover is 0.

    Parameters
    ----------
    mask, like
        The mask, and the image that was segmented.
    name
        Name of the mask for messages.

    Raises
    ------
    UserError
        If the voxels of the mask are not voxels of the image.
    """
    check_frame(mask.frame_of_reference, like, name)
    turned = mask.oriented(like.orientation)
    if turned.shape == like.shape:
        apart = np.linalg.norm(turned.corners() - like.corners(), axis=1).max()
        if apart > _TOLERANCE * min(like.spacing):
            raise UserError(
                f"The mask {name} does not align with the image: up to {apart:.3g} mm apart.",
                "Choose the mask that was drawn on this image, or resample it to the image.",
            )
        array = np.ascontiguousarray(turned.array)
    elif (start := _start_of_part(turned, like)) is not None:
        array = np.zeros((*like.shape, *mask.array.shape[mask.ndim :]), mask.array.dtype)
        ends = np.add(start, turned.shape)
        array[tuple(slice(a, b) for a, b in zip(start, ends, strict=True))] = turned.array
    else:
        raise shape_error(mask, like, name)
    return replace(like.with_array(array, mask.channels), warnings=mask.warnings)


def check_frame(frame: str, like: Volume, name: str) -> None:
    """Refuse a mask whose frame of reference is known not to be that of the image.

    Raises
    ------
    UserError
        If they differ, as for another patient.
    """
    if frame and like.frame_of_reference and frame != like.frame_of_reference:
        raise UserError(
            f"The mask {name} belongs to another image: their DICOM frames of reference differ.",
            "Choose the image that was segmented.",
        )


def lacks_one_slice(mask: Volume, like: Volume) -> bool:
    """Whether a mask begins where its image does, but is one slice short.

    A program lost that slice, and nobody knows where.
    """
    turned = mask.oriented(like.orientation)
    short = np.subtract(like.shape, turned.shape).sum() == 1
    return bool(
        short and np.allclose(turned.origin, like.origin, atol=_TOLERANCE * min(like.spacing))
    )


def shape_error(mask: Volume, like: Volume, name: str) -> UserError:
    """Describe that a mask has another shape than its image and is not a part of its grid."""
    return UserError(
        f"The mask {name} has the shape {_size(mask)}, but the image {_size(like)}.",
        "Choose the mask that was drawn on this image.",
    )


def _start_of_part(part: Volume, like: Volume) -> NDArray[np.intp] | None:
    """Return the first voxel of a smaller grid in a larger one; None if it is not a part of it."""
    if part.ndim != like.ndim:
        return None
    steps = like.matrix * like.spacing[::-1]
    offset = np.rint(np.linalg.solve(steps, np.subtract(part.origin, like.origin)))
    start = offset[::-1].astype(np.intp)
    missing = np.subtract(like.shape, part.shape)
    if start.min() < 0 or np.any(start > missing):
        return None
    origin = tuple((steps @ offset + like.origin).tolist())
    exact = replace(part, spacing=like.spacing, origin=origin, direction=like.direction)
    aligned = part.same_grid(exact, tolerance=_TOLERANCE * min(like.spacing))
    return start if aligned else None


def _size(volume: Volume) -> str:
    return " x ".join(map(str, volume.shape))
