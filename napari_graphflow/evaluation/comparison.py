"""Agreement and disagreement of masks of one case, as shown by the *Compare* dock."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_graphflow.evaluation.metrics import TOLERANCE, evaluate_case

ONLY_A, ONLY_B, OTHER_CLASS = 1, 2, 3
DISAGREEMENT = {"only A": ONLY_A, "only B": ONLY_B, "another class": OTHER_CLASS}
#: Places of one structure are at least this many slices apart.
_APART = 3


@dataclass(frozen=True)
class Place:
    """A slice in which masks differ in a structure.

    Attributes
    ----------
    structure
        Name of the structure.
    slice
        Index along the first axis; 0 for 2D images.
    voxels
        Voxels that differ there.
    """

    structure: str
    slice: int
    voxels: int


@dataclass(frozen=True)
class Row:
    """Agreement of two masks on one structure.

    Attributes
    ----------
    label, name
        Value and name of the structure.
    agreement
        Metrics of B against A, see :func:`napari_graphflow.evaluation.metrics.evaluate_case`.
    scores
        Metrics of A, B and further masks against the reference; empty without one.
    volumes
        Volumes of A, B and further masks in ml, or areas in mm² for 2D images.
    worst, worst_reference
        Where A and B differ most, and where B differs most from the reference; None if nowhere.
    """

    label: int
    name: str
    agreement: Mapping[str, float]
    scores: tuple[Mapping[str, float], ...]
    volumes: tuple[float, ...]
    worst: Place | None
    worst_reference: Place | None


def compare_masks(
    masks: Sequence[NDArray[Any]],
    reference: NDArray[Any] | None,
    spacing: tuple[float, ...],
    names: Mapping[int, str],
    tolerance: float = TOLERANCE,
) -> tuple[list[Row], NDArray[np.uint8]]:
    """Compare masks structure by structure.

    Parameters
    ----------
    masks
        A, B and possibly further ones, such as that of the student alone: (z, y, x) or (y, x).
    reference
        The true mask of the same shape, or None.
    spacing
        Voxel size in mm along each axis.
    names
        Name of each label, where known.
    tolerance
        Of the surface Dice, in mm.

    Returns
    -------
    list of Row
        One per label that any of the masks contains, without the background.
    array
        Disagreement map of A and B, see :func:`disagreement`.
    """
    a, b = masks[0], masks[1]
    every = [*masks, *([] if reference is None else [reference])]
    labels = sorted({int(value) for mask in every for value in np.unique(mask)} - {0})
    classes = {names.get(label, f"label {label}"): label for label in labels}
    if len(classes) < len(labels):  # two labels of one name
        classes = {f"label {label}": label for label in labels}

    def score(mask: NDArray[Any], truth: NDArray[Any]) -> dict[str, dict[str, float]]:
        return evaluate_case(mask, truth, classes, spacing, ignore=None, tolerance=tolerance)

    agreement = score(b, a)
    scores = [] if reference is None else [score(mask, reference) for mask in masks]
    voxel = float(np.prod(spacing)) / (1000.0 if a.ndim == 3 else 1.0)
    rows = [
        Row(
            label=label,
            name=name,
            agreement=agreement[name],
            scores=tuple(one[name] for one in scores),
            volumes=tuple(int(np.count_nonzero(mask == label)) * voxel for mask in masks),
            worst=_worst(a, b, name, label),
            worst_reference=None if reference is None else _worst(b, reference, name, label),
        )
        for name, label in classes.items()
    ]
    return rows, disagreement(a, b)


def places(
    mask: NDArray[Any], other: NDArray[Any], classes: Mapping[str, int], most: int = 30
) -> list[Place]:
    """Return the slices in which two masks differ, over all structures, the worst first.

    Neighbours of a slice that is listed for the same structure are left out.
    """
    found = [
        Place(name, int(index), int(count))
        for name, label in classes.items()
        for index, count in enumerate(_by_slice(mask, other, label))
        if count
    ]
    chosen: list[Place] = []
    for place in sorted(found, key=lambda one: -one.voxels):
        near = (
            one
            for one in chosen
            if one.structure == place.structure and abs(one.slice - place.slice) < _APART
        )
        if next(near, None) is None:
            chosen.append(place)
        if len(chosen) == most:
            break
    return chosen


def disagreement(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.uint8]:
    """Return a map that is 0 where two masks agree, otherwise a value of `DISAGREEMENT`."""
    result = np.zeros(a.shape, np.uint8)
    differs = a != b
    result[differs] = OTHER_CLASS
    result[differs & (b == 0)] = ONLY_A
    result[differs & (a == 0)] = ONLY_B
    return result


def _by_slice(a: NDArray[Any], b: NDArray[Any], label: int) -> NDArray[np.integer]:
    differs = (a == label) ^ (b == label)
    return np.asarray(
        differs.reshape(len(a), -1).sum(1) if a.ndim == 3 else [differs.sum()], np.int64
    )


def _worst(a: NDArray[Any], b: NDArray[Any], name: str, label: int) -> Place | None:
    counts = _by_slice(a, b, label)
    index = int(counts.argmax())
    return Place(name, index, int(counts[index])) if counts[index] else None
