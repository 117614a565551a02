"""Find DICOM series in a folder tree and check them by their headers.

Messages and fields never identify a patient: a series shows its description, modality, date,
count, shape and spacing.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from napari_graphflow.errors import UserError
from napari_graphflow.imaging.dicom.headers import Slice, hashed, read_slices
from napari_graphflow.imaging.dicom.stack import are, counted, in_order, problems, step_of
from napari_graphflow.imaging.dicom.strays import without_strays
from napari_graphflow.imaging.formats.endings import IMAGES, split_ending
from napari_graphflow.system.files import is_clutter, listing

#: Header values that distinguish slices at the same position, in the order of use.
_PHASES = ("time point", "echo", "b-value", "trigger time", "acquisition", "image type")
#: Names of files in a message.
_NAMED = 3


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
    notes = _folder_notes(Path(folder), unreadable)
    series = []
    for slices in groups.values():
        stack, left_out = without_strays(slices)
        series += [_series(*part, (*left_out, *notes)) for part in _phases(_without_copies(stack))]
    return sorted(series, key=lambda one: (one.date, one.slices[0].series_number, one.description))


def _folder_notes(folder: Path, unreadable: int) -> tuple[str, ...]:
    """Say which files of a folder are not read."""
    notes = []
    if unreadable:
        notes.append(f"{counted(unreadable, 'DICOM file')} in the folder cannot be read.")
    files = listing(folder) if folder.is_dir() else []
    others = [path.name for path in files if split_ending(path.name, IMAGES)[1]]
    if others:
        more = ", ..." if len(others) > _NAMED else ""
        notes.append(
            f"{counted(len(others), 'other image')} in the folder {are(len(others))} left out: "
            f"{', '.join(others[:_NAMED])}{more}."
        )
    return tuple(notes)


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
        folders[:] = sorted(name for name in folders if not is_clutter(name))
        for name in sorted(names):
            path = Path(root) / name
            if not is_clutter(name) and name.upper() != "DICOMDIR" and path.is_file():
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
    slices = in_order(slices)
    first = slices[0]
    found, resamplable = problems(slices)
    step, step_notes = step_of(slices)
    spacing: tuple[float, ...]
    shape: tuple[int, ...]
    if first.segmentation == "RTSTRUCT":
        spacing, shape, step_notes = (), (), ()
    elif first.is_volume or len(slices) > 1:
        spacing, shape = (step, *first.spacing), (len(slices), *first.shape)
    else:
        spacing, shape, step_notes = first.spacing, first.shape, ()
    warnings = [*found, *step_notes, *notes]
    warnings += dict.fromkeys(sentence for one in slices for sentence in one.warnings)
    if copies:
        warnings.append(f"{counted(copies, 'duplicate slice')} {are(copies)} ignored.")
    if first.position is None and len(slices) > 1:
        warnings.append("The headers have no positions; the slices are ordered by instance number.")
    description = " - ".join(part for part in (first.description, label) if part)
    return Series(
        description, first.modality, first.date, shape, spacing, " ".join(found), resamplable,
        tuple(warnings), tuple(slices),
    )  # fmt: skip


def lines(series: Sequence[Series]) -> list[tuple[Series, str]]:
    """Return a line for each series; those of the same line name their first file, too."""
    said = [one.summary() for one in series]
    return [
        (one, f"{line}, from {place_of(one)}" if said.count(line) > 1 else line)
        for one, line in zip(series, said, strict=True)
    ]


def place_of(series: Series) -> str:
    """Return the folder and name of the first file of a series."""
    return "/".join(series.files[0].parts[-2:])


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
    names = "; ".join(f"{series.index(one) + 1}: {line}" for one, line in lines(found[:6]))
    more = "; ..." if len(found) > 6 else ""
    raise UserError(
        f"The folder contains {len(found)} DICOM series: {names}{more}.", "Choose one of them."
    )
