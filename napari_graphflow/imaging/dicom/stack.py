"""Whether the slices of a series form a regular grid, and if not, why."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from napari_graphflow.imaging.dicom.dose import DOSE
from napari_graphflow.imaging.dicom.headers import Slice

#: Tolerance of slice distances, as a share of the median distance.
_DISTANCE_TOLERANCE = 0.01
#: Tolerance of sideways shifts of slices, in pixels.
SHIFT_TOLERANCE = 0.5
_NO_DISTANCE = (
    "The header has no slice distance; 1 mm is assumed, so distances and volumes may be wrong."
)


def in_order(slices: list[Slice]) -> list[Slice]:
    """Sort slices by position or, without positions, by number."""
    if not comparable(slices):
        return sorted(slices, key=lambda one: (one.number, one.frame, str(one.path)))
    along = slices[0].axes_matrix[:, 2]
    return sorted(slices, key=lambda one: (float(along @ (one.position or ())), one.number))


def offsets(slices: Iterable[Slice]) -> NDArray[np.float64]:
    """Return positions relative to the first slice along its x, y and normal, mm, shape (n, 3)."""
    slices = list(slices)
    positions = np.array([one.position for one in slices], float)
    along: NDArray[np.float64] = (positions - positions[0]) @ slices[0].axes_matrix
    return along


def step_of(slices: list[Slice]) -> tuple[float, tuple[str, ...]]:
    """Return the typical distance of neighbouring slices in mm, and a warning if assumed."""
    first = slices[0]
    if len(slices) > 1 and comparable(slices):
        positions = np.unique(np.round(offsets(slices)[:, 2], 4))
        if len(positions) > 1:
            gaps = np.diff(positions)
            # Averaged over the whole length, because positions are rounded.
            steps = np.maximum(1, np.rint(gaps / np.median(gaps)))
            return round(float(gaps.sum() / steps.sum()), 6), ()
    if first.thickness:
        return first.thickness, ()
    return 1.0, (_NO_DISTANCE,) if len(slices) > 1 or first.is_volume else ()


def comparable(slices: list[Slice]) -> bool:
    """Whether all slices have a position in the body."""
    return all(one.position is not None and one.axes is not None for one in slices)


def problems(slices: list[Slice]) -> tuple[list[str], bool]:
    """Return why the slices do not form a regular grid, and whether resampling solves it."""
    unsound = [*_segmentation(slices), *_dose(slices), *_cut(slices), *_mixed(slices)]
    if unsound or not comparable(slices) or len(slices) < 2:
        return unsound, False
    positions = offsets(slices)
    doubled = int((np.diff(positions[:, 2]) < 1e-4).sum())
    if doubled:
        verb = "has" if doubled == 1 else "have"
        return [f"{counted(doubled, 'slice')} {verb} the same position as another one."], False
    irregular = [*_gaps(positions[:, 2]), *_tilt(positions, slices[0])]
    return irregular, bool(irregular)


def _segmentation(slices: list[Slice]) -> list[str]:
    what = {"SEG": "a segmentation", "RTSTRUCT": "a structure set"}.get(slices[0].segmentation)
    return [f"This is {what}, not an image."] if what else []


def _dose(slices: list[Slice]) -> list[str]:
    if slices[0].sop_class != DOSE or comparable(slices):
        return []
    return ["The positions of the slices of the radiotherapy dose are missing or contradictory."]


def _cut(slices: list[Slice]) -> list[str]:
    cut = list(dict.fromkeys(one.path.name for one in slices if one.cut))
    if not cut:
        return []
    names = ", ".join(cut[:3]) + (", ..." if len(cut) > 3 else "")
    return [f"{counted(len(cut), 'file')} of the series {are(len(cut))} truncated: {names}."]


def _mixed(slices: list[Slice]) -> list[str]:
    shapes = dict.fromkeys(one.shape for one in slices)
    if len(shapes) > 1:
        sizes = " and ".join(f"{rows} x {columns}" for rows, columns in shapes)
        return [f"The series mixes slices of {sizes} pixels."]
    spacings = np.array([one.spacing for one in slices])
    if np.abs(spacings / spacings[0] - 1).max() > 1e-3:
        return ["The series mixes slices of different pixel spacings."]
    with_position = sum(one.position is not None and one.axes is not None for one in slices)
    without = len(slices) - with_position
    if 0 < without < len(slices):
        return [f"{counted(without, 'slice')} of the series {_have(without)} no position."]
    if (
        with_position
        and np.abs(np.array([one.axes for one in slices]) - slices[0].axes).max() > 1e-3
    ):
        return ["The slices of the series are not parallel."]
    scales = {(one.slope, one.intercept) for one in slices}
    if len({one.scaled for one in slices}) > 1 and len(scales) > 1:
        return ["The series mixes slices with and without a rescale slope and intercept."]
    if len({(one.samples, one.photometric == "PALETTE COLOR") for one in slices}) > 1:
        return ["The series mixes grey and colour slices."]
    if len({one.photometric == "MONOCHROME1" for one in slices}) > 1:
        return ["The series mixes plain and inverted grey values (MONOCHROME1)."]
    return []


def _gaps(positions: NDArray[np.float64]) -> list[str]:
    gaps = np.diff(positions)
    usual = float(np.median(gaps))
    uneven = np.flatnonzero(np.abs(gaps - usual) > _DISTANCE_TOLERANCE * usual + 0.01)
    if not len(uneven):
        return []
    steps = gaps / usual
    if np.abs(steps - np.rint(steps)).max() < 0.1 and steps.min() > 0.9:
        missing = int(np.rint(steps).sum()) - len(gaps)
        at = int(uneven[0])
        note = (
            f"{counted(missing, 'slice')} {are(missing)} missing: the slice distance is "
            f"{usual:.3g} mm, but {gaps[at]:.3g} mm between slices {at + 1} and {at + 2}."
        )
        return [note]
    return [f"The slice distance varies between {gaps.min():.3g} and {gaps.max():.3g} mm."]


def _tilt(positions: NDArray[np.float64], first: Slice) -> list[str]:
    sideways = np.abs(positions[:, :2] / np.array(first.spacing[::-1]))
    if sideways.max() < SHIFT_TOLERANCE:
        return []
    shift = np.linalg.norm(positions[-1, :2])
    angle = np.degrees(np.arctan2(shift, positions[-1, 2]))
    note = (
        f"The slices have a gantry tilt of {angle:.1f} degrees, so they do not form a rectangular "
        "grid."
    )
    return [note]


def counted(number: int, thing: str) -> str:
    """Return a number of things, such as ``2 slices``."""
    return f"{number} {thing}{'s' * (number != 1)}"


def are(number: int) -> str:
    """Return the verb for a number of things."""
    return "is" if number == 1 else "are"


def _have(number: int) -> str:
    return "has" if number == 1 else "have"
