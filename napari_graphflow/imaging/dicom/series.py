"""Find DICOM series in a folder tree and check them by their headers.

Messages and fields never identify a patient: a series shows its description, modality, date,
count, shape and spacing.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_graphflow.errors import UserError
from napari_graphflow.imaging.dicom.headers import Slice, hashed, read_slices

#: Tolerance of slice distances, as a share of the median distance.
_DISTANCE_TOLERANCE = 0.01
#: Tolerance of sideways shifts of slices, in pixels.
_SHIFT_TOLERANCE = 0.5
#: Header values that distinguish slices at the same position, in the order of use.
_PHASES = ("time point", "echo", "b-value", "trigger time", "acquisition", "image type")
_NO_DISTANCE = (
    "The header has no slice distance; 1 mm is assumed, so distances and volumes may be wrong."
)


@dataclass(frozen=True)
class Series:
    """A DICOM image made of slices, sorted by position.

    Attributes
    ----------
    description, modality, date
        From the headers; the date as YYYY-MM-DD, empty if missing.
    shape, spacing
        In the order z, y, x; spacing in mm, along z the median distance of neighbouring slices.
    problem
        Why the slices do not form a regular grid; empty if they do.
    resamplable
        Whether resampling to a regular grid solves the problem.
    warnings
        Warnings for the user, the problem first.
    """

    description: str
    modality: str
    date: str
    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    problem: str = ""
    resamplable: bool = False
    warnings: tuple[str, ...] = ()
    slices: tuple[Slice, ...] = field(default=(), repr=False)

    @property
    def count(self) -> int:
        """Number of slices."""
        return len(self.slices)

    @property
    def files(self) -> tuple[Path, ...]:
        """The files of the slices, from the first slice to the last."""
        return tuple(dict.fromkeys(one.path for one in self.slices))

    @property
    def key(self) -> str:
        """Hash that identifies the series in its folder without revealing its UIDs."""
        return hashed(*self.slices[0].series, self.description)

    @property
    def segmentation(self) -> str:
        """``SEG`` or ``RTSTRUCT``; empty for an image."""
        return self.slices[0].segmentation

    @property
    def is_segmentation(self) -> bool:
        """Whether this is a segmentation or a structure set, not an image."""
        return bool(self.segmentation)

    def summary(self) -> str:
        """A line such as ``T1 post (MR, 24 slices)``."""
        title = self.description or "no description"
        return f"{title} ({self.modality}, {self.count} slice{'s' * (self.count > 1)})"


def list_series(folder: Path | str) -> list[Series]:
    """List the series of a folder, including its subfolders, or those of one file.

    Returns
    -------
    list of Series
        Sorted by date, series number and description; empty if there is no DICOM image.
    """
    groups: dict[tuple[Any, ...], list[Slice]] = {}
    unreadable = 0
    for path in _files(Path(folder)):
        slices = read_slices(path)
        if slices is None:
            unreadable += 1
        for one in slices or ():
            groups.setdefault(one.series, []).append(one)
    parts = [part for slices in groups.values() for part in _phases(_without_copies(slices))]
    notes: tuple[str, ...] = ()
    if unreadable:
        notes = (f"{_count(unreadable, 'DICOM file')} in the folder cannot be read.",)
    series = [_series(slices, label, copies, notes) for slices, label, copies in parts]
    return sorted(series, key=lambda one: (one.date, one.slices[0].series_number, one.description))


def has_dicom(folder: Path | str, most: int = 200) -> bool:
    """Whether one of the first `most` files of a folder starts as DICOM does."""
    for index, path in enumerate(_files(Path(folder))):
        if index >= most:
            break
        if _starts_as_dicom(path):
            return True
    return False


def _files(folder: Path) -> Iterator[Path]:
    if folder.is_file():
        yield folder
        return
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(root) / name
            if not name.startswith(".") and name.upper() != "DICOMDIR" and path.is_file():
                yield path


def _starts_as_dicom(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def _without_copies(slices: list[Slice]) -> tuple[list[Slice], int]:
    """Drop copies of the same object at the same position, and count them."""
    kept = {(one.uid, one.frame, one.position, one.shape): one for one in reversed(slices)}
    return list(reversed(kept.values())), len(slices) - len(kept)


def _phases(found: tuple[list[Slice], int]) -> list[tuple[list[Slice], str, int]]:
    """Split a series that repeats positions, if a header value distinguishes the repetitions."""
    slices, copies = found
    if _positions_differ(slices):
        return [(slices, "", copies)]
    for name in _PHASES:
        groups: dict[Any, list[Slice]] = {}
        for one in slices:
            groups.setdefault(one.phases.get(name), []).append(one)
        sizes = {len(group) for group in groups.values()}
        if len(groups) > 1 and len(sizes) == 1 and all(map(_positions_differ, groups.values())):
            ordered = sorted(groups.items(), key=lambda item: _sortable(item[0]))
            return [(group, f"{name} {value}", copies) for value, group in ordered]
    return [(slices, "", copies)]


def _sortable(value: Any) -> tuple[int, Any]:
    return (0, value) if isinstance(value, (int, float)) else (1, str(value))


def _positions_differ(slices: list[Slice]) -> bool:
    positions = [one.position for one in slices]
    return None in positions or len(set(positions)) == len(positions)


def _series(slices: list[Slice], label: str, copies: int, notes: tuple[str, ...]) -> Series:
    slices = _sorted(slices)
    first = slices[0]
    problems, resamplable = _problems(slices)
    step, step_notes = _step(slices)
    spacing: tuple[float, ...]
    shape: tuple[int, ...]
    if first.segmentation == "RTSTRUCT":
        spacing, shape, step_notes = (), (), ()
    elif first.is_volume or len(slices) > 1:
        spacing, shape = (step, *first.spacing), (len(slices), *first.shape)
    else:
        spacing, shape, step_notes = first.spacing, first.shape, ()
    warnings = [*problems, *step_notes, *notes]
    warnings += dict.fromkeys(sentence for one in slices for sentence in one.warnings)
    if copies:
        warnings.append(f"{_count(copies, 'duplicate slice')} {_are(copies)} ignored.")
    if first.position is None and len(slices) > 1:
        warnings.append("The headers have no positions; the slices are ordered by instance number.")
    description = " - ".join(part for part in (first.description, label) if part)
    return Series(
        description, first.modality, first.date, shape, spacing, " ".join(problems), resamplable,
        tuple(warnings), tuple(slices),
    )  # fmt: skip


def _sorted(slices: list[Slice]) -> list[Slice]:
    if not _comparable(slices):
        return sorted(slices, key=lambda one: (one.number, one.frame, str(one.path)))
    along = slices[0].axes_matrix[:, 2]
    return sorted(slices, key=lambda one: (float(along @ (one.position or ())), one.number))


def offsets(slices: Iterable[Slice]) -> NDArray[np.float64]:
    """Return positions relative to the first slice along its x, y and normal, mm, shape (n, 3)."""
    slices = list(slices)
    positions = np.array([one.position for one in slices], float)
    along: NDArray[np.float64] = (positions - positions[0]) @ slices[0].axes_matrix
    return along


def _step(slices: list[Slice]) -> tuple[float, tuple[str, ...]]:
    """Return the typical distance of neighbouring slices in mm, and a warning if assumed."""
    first = slices[0]
    if len(slices) > 1 and _comparable(slices):
        positions = np.unique(np.round(offsets(slices)[:, 2], 4))
        if len(positions) > 1:
            gaps = np.diff(positions)
            # Averaged over the whole length, because positions are rounded.
            steps = np.maximum(1, np.rint(gaps / np.median(gaps)))
            return round(float(gaps.sum() / steps.sum()), 6), ()
    if first.thickness:
        return first.thickness, ()
    return 1.0, (_NO_DISTANCE,) if len(slices) > 1 or first.is_volume else ()


def _comparable(slices: list[Slice]) -> bool:
    return all(one.position is not None and one.axes is not None for one in slices)


def _problems(slices: list[Slice]) -> tuple[list[str], bool]:
    """Return why the slices do not form a regular grid, and whether resampling solves it."""
    unsound = [*_segmentation(slices), *_cut(slices), *_mixed(slices)]
    if unsound or not _comparable(slices) or len(slices) < 2:
        return unsound, False
    positions = offsets(slices)
    doubled = int((np.diff(positions[:, 2]) < 1e-4).sum())
    if doubled:
        verb = "has" if doubled == 1 else "have"
        return [f"{_count(doubled, 'slice')} {verb} the same position as another one."], False
    irregular = [*_gaps(positions[:, 2]), *_tilt(positions, slices[0])]
    return irregular, bool(irregular)


def _segmentation(slices: list[Slice]) -> list[str]:
    what = {"SEG": "a segmentation", "RTSTRUCT": "a structure set"}.get(slices[0].segmentation)
    return [f"This is {what}, not an image."] if what else []


def _cut(slices: list[Slice]) -> list[str]:
    cut = list(dict.fromkeys(one.path.name for one in slices if one.cut))
    if not cut:
        return []
    names = ", ".join(cut[:3]) + (", ..." if len(cut) > 3 else "")
    return [f"{_count(len(cut), 'file')} of the series {_are(len(cut))} truncated: {names}."]


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
        return [f"{_count(without, 'slice')} of the series {_have(without)} no position."]
    if (
        with_position
        and np.abs(np.array([one.axes for one in slices]) - slices[0].axes).max() > 1e-3
    ):
        return ["The slices of the series are not parallel."]
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
            f"{_count(missing, 'slice')} {_are(missing)} missing: the slice distance is "
            f"{usual:.3g} mm, but {gaps[at]:.3g} mm between slices {at + 1} and {at + 2}."
        )
        return [note]
    return [f"The slice distance varies between {gaps.min():.3g} and {gaps.max():.3g} mm."]


def _tilt(positions: NDArray[np.float64], first: Slice) -> list[str]:
    sideways = np.abs(positions[:, :2] / np.array(first.spacing[::-1]))
    if sideways.max() < _SHIFT_TOLERANCE:
        return []
    shift = np.linalg.norm(positions[-1, :2])
    angle = np.degrees(np.arctan2(shift, positions[-1, 2]))
    note = (
        f"The slices have a gantry tilt of {angle:.1f} degrees, so they do not form a rectangular "
        "grid."
    )
    return [note]


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'s' * (number != 1)}"


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def _have(number: int) -> str:
    return "has" if number == 1 else "have"


def choose(series: list[Series], name: str = "") -> Series:
    """Return the only image of a list of series, or that with a description, number or key.

    Numbers count from 1, in the order of the list; several series may share a description.

    Raises
    ------
    UserError
        If no series matches, or more than one does.
    """
    images = [one for one in series if not one.is_segmentation] or series
    found = [one for one in images if not name or name in (one.description, one.key)]
    if not found and name.isdecimal() and 0 < int(name) <= len(series):
        return series[int(name) - 1]
    if len(found) == 1:
        return found[0]
    if not found:
        raise UserError("There is no such DICOM series.", "Choose another folder or series.")
    names = "; ".join(f"{series.index(one) + 1}: {one.summary()}" for one in found[:6])
    more = "; ..." if len(found) > 6 else ""
    raise UserError(
        f"The folder contains {len(found)} DICOM series: {names}{more}.", "Choose one of them."
    )
