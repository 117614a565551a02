"""Images that a scanner stored in a series although they are no slices of its stack."""

import numpy as np
from numpy.typing import NDArray

from napari_graphflow.imaging.dicom.headers import Slice
from napari_graphflow.imaging.dicom.stack import (
    SHIFT_TOLERANCE,
    are,
    comparable,
    counted,
    in_order,
    problems,
)

#: Fewer slices are no stack to which others could not belong.
_LEAST = 3
_LOCALIZER = "LOCALIZER"
#: Rounding of ImageOrientationPatient.
_ROUNDING = 1e-3


def without_strays(slices: list[Slice]) -> tuple[list[Slice], tuple[str, ...]]:
    """Leave out localisers, reports, screenshots and single images beside the stack.

    An image that is not marked as such is left out only if the others are then a regular stack;
    otherwise it may be a damaged slice of it.

    Returns
    -------
    slices, warnings
        The slices of the stack, and the number of images that are left out.
    """
    warnings = []
    kept = [one for one in slices if _LOCALIZER not in one.image_type] or slices
    if left := len(slices) - len(kept):
        warnings.append(f"{counted(left, 'localiser image')} (scout) {are(left)} left out.")
    stack = _without_reports(kept)
    if left := len(kept) - len(stack):
        what = counted(left, "image")
        warnings.append(
            f"{what} without a position, such as a report or screenshot, {are(left)} left out."
        )
    regular = _beside_none(stack) if comparable(stack) else stack
    if (left := len(stack) - len(regular)) and not problems(in_order(regular))[0]:
        stack = regular
        what = counted(left, "image")
        warnings.append(f"{what} beside the stack of slices {are(left)} left out.")
    return stack, tuple(warnings)


def _without_reports(slices: list[Slice]) -> list[Slice]:
    """Drop images without a position whose kind is not that of the slices with one."""
    kinds = {(one.sop_class, one.image_type) for one in slices if one.is_volume}
    kept = [one for one in slices if one.is_volume or (one.sop_class, one.image_type) in kinds]
    return kept if kinds else slices


def _beside_none(slices: list[Slice]) -> list[Slice]:
    """Return the slices that have the orientation and the line of most of them."""
    parallel = _near_median(slices, np.array([one.axes for one in slices]), _ROUNDING)
    sideways = [np.array(one.position) @ one.axes_matrix[:, :2] for one in parallel]
    pixels = np.array(sideways) / [one.spacing[::-1] for one in parallel]
    return _near_median(parallel, pixels, SHIFT_TOLERANCE)


def _near_median(slices: list[Slice], values: NDArray[np.float64], tolerance: float) -> list[Slice]:
    near = np.abs(values - np.median(values, axis=0)).max(axis=1) < tolerance
    if near.sum() < max(_LEAST, len(slices) / 2):
        return slices
    return [one for one, kept in zip(slices, near, strict=True) if kept]
