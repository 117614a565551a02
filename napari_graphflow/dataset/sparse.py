"""Masks drawn in some slices only: find them, and ignore the slices between.

A structure that is drawn in every fourth slice, and empty between, teaches a network that it is
absent there. The ignore label leaves those slices out of training and scores.
"""

import json
import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import scipy  # imports its parts when they are used
from numpy.typing import NDArray

from napari_graphflow.dataset.cases import Case, Dataset, known_values, to_indices
from napari_graphflow.dataset.label_values import labels_with_ignore
from napari_graphflow.dataset.splits import read_json
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.files import read_labels, write_labels
from napari_graphflow.imaging.labels import IGNORE
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.system.files import replace_file

#: Slices next to each other in which a sparsely drawn structure may be drawn.
_THICK = 2
#: Of the smaller of two outlines, the share inside the other if they are of one structure.
_OVERLAP = 0.25
#: How many times wider than its slices are thick a structure is that is cut off: in a single
#: slice, and in two with empty ones between.
_FLAT, _WIDE = 4.0, 2.0
#: Single slices at equal distances that are no chance.
_REGULAR = 4
_ENDINGS = {1: "st", 2: "nd", 3: "rd"}
_PLANES = {"L": "sagittal", "R": "sagittal", "A": "coronal", "P": "coronal"}


@dataclass(frozen=True)
class Sparse:
    """Slices of a mask that nobody seems to have looked at.

    Attributes
    ----------
    axis
        Axis of the array across which the slices lie.
    annotated
        Slices with a structure.
    empty
        Empty slices between them, and as far beyond the first and last as they are apart.
    """

    axis: int
    annotated: tuple[int, ...]
    empty: tuple[int, ...]


def find_sparse(labels: Volume) -> Sparse | None:
    """Find out whether a mask is drawn in some slices only, across any axis.

    A lesion in neighbouring slices is not, nor are structures that really end between slices:
    outlines in slices with empty ones between must lie above each other, and be thinner than the
    gaps. One or two slices alone count if the structure is far wider than they are thick.

    Parameters
    ----------
    labels
        Mask of class indices, (z, y, x), with `IGNORE` in voxels that do not count.
    """
    if labels.ndim != 3:
        return None
    drawn = (labels.array > 0) & (labels.array != IGNORE)
    found = [_across(drawn, labels, axis) for axis in range(3)]
    return max((one for one in found if one), key=lambda one: len(one.empty), default=None)


def find_sparse_classes(labels: Volume) -> dict[int, Sparse]:
    """Find the classes that are drawn in every nth slice only, although others are in between.

    Only single slices at equal distances count: a class may really end between slices.

    Parameters
    ----------
    labels
        As for `find_sparse`.
    """
    if labels.ndim != 3:
        return {}
    found: dict[int, Sparse] = {}
    for index, box in enumerate(scipy.ndimage.find_objects(labels.array.astype(np.int32)), start=1):
        if box is None or index == IGNORE:
            continue
        part = replace(labels, array=labels.array[box])
        across = [_across(part.array == index, part, axis) for axis in range(3)]
        regular = [one for one in across if one and _is_regular(one)]
        if regular:
            found[index] = max(regular, key=lambda one: len(one.annotated))
    return found


def _is_regular(sparse: Sparse) -> bool:
    steps = {second - one for one, second in pairwise(sparse.annotated)}
    return len(sparse.annotated) >= _REGULAR and len(steps) == 1


def without_empty_slices(array: NDArray[Any], sparse: Sparse, ignore: int) -> NDArray[Any]:
    """Return a copy of a mask with the value `ignore` in the empty slices."""
    result = array.astype(np.promote_types(array.dtype, np.min_scalar_type(ignore)))
    np.moveaxis(result, sparse.axis, 0)[list(sparse.empty)] = ignore
    return result


def describe_sparse(sparse: Sparse, labels: Volume) -> str:
    """Say which slices are annotated and how the others count, as a sentence."""
    plane = _PLANES.get(labels.orientation[2 - sparse.axis], "axial")
    first, last = sparse.annotated[0], sparse.annotated[-1]
    steps = {second - one for one, second in pairwise(sparse.annotated)}
    if not steps:
        return f"Only {plane} slice {first + 1} is annotated; all other slices count as background."
    some = f"Only {len(sparse.annotated)} of {last - first + 1} {plane} slices are"
    if len(steps) == 1:
        some = f"Only {_ordinal(steps.pop())} {plane} slice is"
    return f"{some} annotated; the slices between count as background."


def ignore_empty_slices(
    folder: Path,
    cases: Collection[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, int]:
    """Write the ignore label into the empty slices of sparsely annotated masks of a dataset.

    Parameters
    ----------
    folder
        The dataset; its masks are replaced one by one, never half.
    cases
        Names of the cases; empty means all.
    progress
        Called with the number of masks read and the total.

    Returns
    -------
    dict
        Number of slices that are ignored now, by case.

    Raises
    ------
    UserError
        If a named case has no mask or is not sparsely annotated, or a mask cannot be written.
    """
    dataset = Dataset.open(folder)
    labelled = {case.name: case for case in dataset.cases if case.label}
    if unknown := sorted(set(cases) - set(labelled)):
        raise UserError(f"{unknown[0]} is not a labelled case of {dataset.name}.", "Check it.")
    chosen = [case for case in labelled.values() if case.name in cases or not cases]
    changed: dict[str, int] = {}
    for done, case in enumerate(chosen, start=1):
        slices = _ignore_in(dataset, case)
        if slices:
            changed[case.name] = slices
            if dataset.ignore is None:
                dataset = Dataset.open(folder)
        elif cases:
            raise UserError(
                f"The mask of {case.name} is not drawn in some slices only.", "Leave it out."
            )
        if progress is not None:
            progress(done, len(chosen))
    return changed


def _ignore_in(dataset: Dataset, case: Case) -> int:
    assert case.label is not None
    if case.label.name.lower().endswith((".dcm", ".seg.nrrd")):
        raise UserError(
            f"The mask of {case.name} is a file of named segments, which cannot store ignored "
            "voxels.",
            "Import it into a dataset, and ignore its empty slices there.",
        )
    stored = read_labels(case.label, ignore=dataset.ignore, white=False)
    indices = to_indices(stored.array, known_values(dataset, stored.array), case.name)
    sparse = find_sparse(stored.with_array(indices))
    if sparse is None:
        return 0
    ignore = dataset.ignore if dataset.ignore is not None else _add_ignore(dataset)
    array = without_empty_slices(stored.array, sparse, ignore)
    write_labels(case.label, array, stored)
    return len(sparse.empty)


def _add_ignore(dataset: Dataset) -> int:
    """Add the ignore label to ``dataset.json``, before any mask contains its value."""
    path = dataset.folder / "dataset.json"
    description = read_json(path)
    description["labels"], value = labels_with_ignore(description["labels"])
    replace_file(path, json.dumps(description, indent=1, ensure_ascii=False).encode() + b"\n")
    return value


def _across(drawn: NDArray[np.bool_], labels: Volume, axis: int) -> Sparse | None:
    slices = np.moveaxis(drawn, axis, 0)
    annotated = np.flatnonzero(slices.any(axis=(1, 2)))
    if not len(annotated) or len(annotated) == len(slices):
        return None
    runs = np.split(annotated, np.flatnonzero(np.diff(annotated) > 1) + 1)
    gaps = [int(second[0] - first[-1]) - 1 for first, second in pairwise(runs)]
    bridged = sum(_continue(slices[a[-1]], slices[b[0]]) for a, b in pairwise(runs))
    thickness = float(np.median([len(one) for one in runs]))
    if len(runs) < 3:
        widths = [_width(slices[one[0]], labels, axis) for one in runs]
        if (
            thickness > 1
            or bridged < len(gaps)
            or not _are_cut_off(annotated, len(slices), widths, labels.spacing[axis])
        ):
            return None
    elif bridged < max(2, len(gaps) / 2) or not _are_thin(thickness, float(np.median(gaps))):
        return None
    reach = max(gaps, default=len(slices))
    near = np.abs(np.arange(len(slices))[:, None] - annotated).min(axis=1)
    whole = np.moveaxis(labels.array, axis, 0)
    blank = ~slices.any(axis=(1, 2)) & ~(whole == IGNORE).any(axis=(1, 2))
    empty = np.flatnonzero(blank & (near <= reach))
    if not len(empty):
        return None
    return Sparse(axis, tuple(map(int, annotated)), tuple(map(int, empty)))


def _are_thin(thickness: float, gap: float) -> bool:
    """Whether structures are thinner than the gaps, unlike discs and ribs, which are separate."""
    return thickness <= 1 or (thickness <= _THICK and gap >= 2 * thickness)


def _continue(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> bool:
    """Whether two outlines seem to be of one structure that passes through both slices."""
    return bool((one & other).sum() >= _OVERLAP * min(one.sum(), other.sum()))


def _width(outline: NDArray[np.bool_], labels: Volume, axis: int) -> float:
    """Return the diameter in mm of a disc as large as the largest part of an outline."""
    parts, _ = scipy.ndimage.label(outline)
    pixel = math.prod(size for other, size in enumerate(labels.spacing) if other != axis)
    return math.sqrt(4 / math.pi * int(np.bincount(parts.ravel())[1:].max()) * pixel)


def _are_cut_off(
    annotated: NDArray[np.intp], number: int, widths: list[float], thickness: float
) -> bool:
    """Whether structures in one or two single slices are too wide to end at these slices."""
    if len(annotated) == 1:
        inner = 0 < int(annotated[0]) < number - 1
        return inner and widths[0] > _FLAT * thickness
    apart = float(annotated[1] - annotated[0]) * thickness
    return len(annotated) == 2 and min(widths) > _WIDE * thickness and max(widths) >= apart


def _ordinal(number: int) -> str:
    if number == 2:
        return "every second"
    teens = 10 < number % 100 < 14
    return f"every {number}{'th' if teens else _ENDINGS.get(number % 10, 'th')}"
