"""Find DICOM series in a folder tree, and tell from their headers what is wrong with them.

Only headers are read here. No sentence and no field names a patient: what a series shows is its
description, modality, date, count, size and spacing.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_graphflow.errors import UserError
from napari_graphflow.imaging.dicom.headers import Slice, read_slices
from napari_graphflow.imaging.dicom.pixels import read_stack, resample
from napari_graphflow.imaging.formats.voxels import Geometry, Loaded, pixel_grid

#: Distances may differ by so much of the usual distance before slices count as uneven.
_UNEVEN = 0.01


#: Slices may be shifted sideways by so much of a pixel before they count as tilted.
_SHIFTED = 0.5


#: Headers that tell apart what lies at the same place, in the order in which they are tried.
_PHASES = ("time point", "echo", "b-value", "trigger time", "acquisition", "image type")


_NO_DISTANCE = (
    "The header gives no distance of slices; 1 mm is assumed, so volumes are not to be trusted."
)


@dataclass(frozen=True)
class Series:
    """One image made of slices, sorted by their positions.

    Attributes
    ----------
    description, modality, date
        From the headers; the date as YYYY-MM-DD, empty where there is none.
    shape, spacing
        In the order z, y, x; spacing in mm, along z the usual distance of neighbours.
    problem
        Why the slices do not make a box as they stand; empty if they do.
    resamplable
        Whether resampling to even slices is a sound remedy for the problem.
    warnings
        What the user should know, the problem first.
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
        """Finds the series again in the same folder; made of its UIDs, which it does not tell."""
        names = (*self.slices[0].series, self.description)
        return hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]

    @property
    def is_segmentation(self) -> bool:
        """Whether this is a DICOM SEG object, which holds labels rather than an image."""
        return any(one.segmentation for one in self.slices)

    def summary(self) -> str:
        """A line such as ``T1 post (MR, 24 slices)``."""
        what = self.description or "without description"
        return f"{what} ({self.modality}, {self.count} slice{'s' * (self.count > 1)})"


def list_series(folder: Path | str) -> list[Series]:
    """List the series of a folder and of the folders within it, or those of one file.

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
    said: tuple[str, ...] = ()
    if unreadable:
        said = (f"{_count(unreadable, 'DICOM file')} of the folder cannot be read.",)
    series = [_series(slices, label, copies, said) for slices, label, copies in parts]
    return sorted(series, key=lambda one: (one.date, one.slices[0].series_number, one.description))


def has_dicom(folder: Path | str, most: int = 200) -> bool:
    """Tell quickly whether a folder holds DICOM; looks at the starts of the first `most` files."""
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
    """Leave out files that are the same object, at the same place, once more."""
    kept = {(one.uid, one.frame, one.position, one.shape): one for one in reversed(slices)}
    return list(reversed(kept.values())), len(slices) - len(kept)


def _phases(found: tuple[list[Slice], int]) -> list[tuple[list[Slice], str, int]]:
    """Split a series that shows the same places several times, where a header tells them apart."""
    slices, copies = found
    if _apart(slices):
        return [(slices, "", copies)]
    for name in _PHASES:
        groups: dict[Any, list[Slice]] = {}
        for one in slices:
            groups.setdefault(one.phases.get(name), []).append(one)
        sizes = {len(group) for group in groups.values()}
        if len(groups) > 1 and len(sizes) == 1 and all(map(_apart, groups.values())):
            ordered = sorted(groups.items(), key=lambda item: _sortable(item[0]))
            return [(group, f"{name} {value}", copies) for value, group in ordered]
    return [(slices, "", copies)]


def _sortable(value: Any) -> tuple[int, Any]:
    return (0, value) if isinstance(value, (int, float)) else (1, str(value))


def _apart(slices: list[Slice]) -> bool:
    places = [one.position for one in slices]
    return None in places or len(set(places)) == len(places)


def _series(slices: list[Slice], label: str, copies: int, said: tuple[str, ...]) -> Series:
    slices = _sorted(slices)
    first = slices[0]
    problems, resamplable = _problems(slices)
    step, step_said = _step(slices)
    if first.is_volume or len(slices) > 1:
        spacing: tuple[float, ...] = (step, *first.spacing)
        shape: tuple[int, ...] = (len(slices), *first.shape)
    else:
        spacing, shape, step_said = first.spacing, first.shape, ()
    warnings = [*problems, *step_said, *said]
    warnings += dict.fromkeys(sentence for one in slices for sentence in one.warnings)
    if copies:
        warnings.append(f"{_count(copies, 'slice')} stored a second time {_are(copies)} left out.")
    if first.position is None and len(slices) > 1:
        warnings.append("The headers give no positions; the slices are ordered by their numbers.")
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
    """Positions from the first slice along (x, y, normal) of its own axes in mm, shape (n, 3)."""
    slices = list(slices)
    places = np.array([one.position for one in slices], float)
    along: NDArray[np.float64] = (places - places[0]) @ slices[0].axes_matrix
    return along


def _step(slices: list[Slice]) -> tuple[float, tuple[str, ...]]:
    """Usual distance of neighbouring slices in mm."""
    first = slices[0]
    if len(slices) > 1 and _comparable(slices):
        places = np.unique(np.round(offsets(slices)[:, 2], 4))
        if len(places) > 1:
            gaps = np.diff(places)
            # Over the whole length, because positions are rounded.
            steps = np.maximum(1, np.rint(gaps / np.median(gaps)))
            return round(float(gaps.sum() / steps.sum()), 6), ()
    if first.thickness:
        return first.thickness, ()
    return 1.0, (_NO_DISTANCE,) if len(slices) > 1 or first.is_volume else ()


def _comparable(slices: list[Slice]) -> bool:
    return all(one.position is not None and one.axes is not None for one in slices)


def _problems(slices: list[Slice]) -> tuple[list[str], bool]:
    """What keeps the slices from being a box, and whether resampling is a sound remedy."""
    unsound = [*_segmentation(slices), *_cut(slices), *_mixed(slices)]
    if unsound or not _comparable(slices) or len(slices) < 2:
        return unsound, False
    places = offsets(slices)
    doubled = int((np.diff(places[:, 2]) < 1e-4).sum())
    if doubled:
        verb = "lies" if doubled == 1 else "lie"
        return [f"{_count(doubled, 'slice')} {verb} at the same place as another one."], False
    bent = [*_gaps(places[:, 2]), *_tilt(places, slices[0])]
    return bent, bool(bent)


def _segmentation(slices: list[Slice]) -> list[str]:
    return ["This is a segmentation, not an image."] if slices[0].segmentation else []


def _cut(slices: list[Slice]) -> list[str]:
    cut = list(dict.fromkeys(one.path.name for one in slices if one.cut))
    if not cut:
        return []
    names = ", ".join(cut[:3]) + (", ..." if len(cut) > 3 else "")
    return [f"{_count(len(cut), 'file')} of the series {_are(len(cut))} cut off: {names}."]


def _mixed(slices: list[Slice]) -> list[str]:
    shapes = dict.fromkeys(one.shape for one in slices)
    if len(shapes) > 1:
        sizes = " and ".join(f"{rows} x {columns}" for rows, columns in shapes)
        return [f"The series mixes slices of {sizes} pixels."]
    spacings = np.array([one.spacing for one in slices])
    if np.abs(spacings / spacings[0] - 1).max() > 1e-3:
        return ["The series mixes slices of different pixel sizes."]
    placed = sum(one.position is not None and one.axes is not None for one in slices)
    if 0 < placed < len(slices):
        return [f"{_count(len(slices) - placed, 'slice')} of the series gives no position."]
    if placed and np.abs(np.array([one.axes for one in slices]) - slices[0].axes).max() > 1e-3:
        return ["The slices of the series are not parallel."]
    if len({(one.samples, one.photometric == "PALETTE COLOR") for one in slices}) > 1:
        return ["The series mixes grey and colour slices."]
    if len({one.photometric == "MONOCHROME1" for one in slices}) > 1:
        return ["The series mixes plain and inverted grey values (MONOCHROME1)."]
    return []


def _gaps(places: NDArray[np.float64]) -> list[str]:
    gaps = np.diff(places)
    usual = float(np.median(gaps))
    uneven = np.flatnonzero(np.abs(gaps - usual) > _UNEVEN * usual + 0.01)
    if not len(uneven):
        return []
    steps = gaps / usual
    if np.abs(steps - np.rint(steps)).max() < 0.1 and steps.min() > 0.9:
        missing = int(np.rint(steps).sum()) - len(gaps)
        at = int(uneven[0])
        said = (
            f"{_count(missing, 'slice')} {_are(missing)} missing: the slices lie {usual:.3g} mm "
            f"apart, but slices {at + 1} and {at + 2} lie {gaps[at]:.3g} mm apart."
        )
        return [said]
    return [f"The slices lie unevenly, between {gaps.min():.3g} and {gaps.max():.3g} mm apart."]


def _tilt(places: NDArray[np.float64], first: Slice) -> list[str]:
    sideways = np.abs(places[:, :2] / np.array(first.spacing[::-1]))
    if sideways.max() < _SHIFTED:
        return []
    shift = np.linalg.norm(places[-1, :2])
    angle = np.degrees(np.arctan2(shift, places[-1, 2]))
    said = (
        f"The slices are shifted against each other, by a tilt of {angle:.1f} degrees (gantry "
        "tilt), so they do not form a box."
    )
    return [said]


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'s' * (number != 1)}"


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def choose(series: list[Series], name: str = "") -> Series:
    """The only image of a list of series, or the one with a given description or number.

    Numbers count from 1, in the order of the list; several series may share a description.

    Raises
    ------
    UserError
        If there is none, or more than one to choose from.
    """
    images = [one for one in series if not one.is_segmentation] or series
    found = [one for one in images if not name or one.description == name]
    if not found and name.isdecimal() and 0 < int(name) <= len(series):
        return series[int(name) - 1]
    if len(found) == 1:
        return found[0]
    if not found:
        raise UserError("There is no such DICOM series.", "Choose another folder or series.")
    names = "; ".join(f"{series.index(one) + 1}: {one.summary()}" for one in found[:6])
    more = "; ..." if len(found) > 6 else ""
    raise UserError(
        f"The folder holds {len(found)} DICOM series: {names}{more}.", "Choose one of them."
    )


def load(series: Series, *, resampled: bool = False) -> Loaded:
    """Read the voxels of a series.

    Raises
    ------
    UserError
        If the slices do not make a box, unless `resampled` is a sound remedy and is asked for; if
        pixels cannot be decoded.
    """
    bend = bool(series.problem) and series.resamplable
    if series.problem and not (bend and resampled):
        remedy = "Open it resampled to even slices." if bend else "Export the series again."
        if series.is_segmentation:
            remedy = "Open the image that it belongs to."
        raise UserError(series.problem, remedy)
    first = series.slices[0]
    array = read_stack(series.slices)
    channels = array.ndim == 4
    if len(series.shape) == 2:
        return Loaded(array[0], pixel_grid(series.spacing), channels, series.warnings)
    origin = np.array(first.position or (0.0, 0.0, 0.0))
    if bend:
        if channels:
            raise UserError(series.problem, "Export the series again.")
        array, corner = resample(array, offsets(series.slices), series.spacing[0], first.spacing)
        origin = origin + first.axes_matrix[:, :2] @ corner
    direction = tuple(first.axes_matrix.ravel().tolist())
    grid = Geometry(series.spacing[::-1], tuple(origin.tolist()), direction)
    warnings = series.warnings + (("The slices were resampled to even ones.",) if bend else ())
    return Loaded(array, grid, channels, warnings)
