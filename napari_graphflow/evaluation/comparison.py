"""The figures of *Compare*: numbers and maps from two masks, without Qt and without napari."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_graphflow.evaluation.metrics import dice_score

ONLY_A, ONLY_B, OTHER_CLASS = 1, 2, 3
DISAGREEMENT = {"only A": ONLY_A, "only B": ONLY_B, "another class": OTHER_CLASS}


@dataclass(frozen=True)
class Row:
    """How two masks agree on one structure.

    Attributes
    ----------
    label, name
        The structure.
    agreement
        Dice of A and B; NaN where neither has the structure.
    scores
        Dice of A and of B with the reference, or None without one.
    volumes
        Of A and of B in ml, or in mm² for pictures.
    worst_slice
        Slice with the most voxels on which A and B disagree, or None if there are none.
    worst_voxels
        How many these are.
    """

    label: int
    name: str
    agreement: float
    scores: tuple[float, float] | None
    volumes: tuple[float, float]
    worst_slice: int | None
    worst_voxels: int


def compare_masks(
    a: NDArray[Any],
    b: NDArray[Any],
    reference: NDArray[Any] | None,
    spacing: tuple[float, ...],
    names: Mapping[int, str],
) -> tuple[list[Row], NDArray[np.uint8]]:
    """Compare two masks structure by structure.

    Parameters
    ----------
    a, b, reference
        Masks of one shape, (z, y, x) or (y, x).
    spacing
        Voxel size in mm along each axis.
    names
        Name of each label, where known.

    Returns
    -------
    list of Row
        One per label that any of the masks holds, without the background.
    array
        The disagreement: 0 where A and B agree, otherwise a value of `DISAGREEMENT`.
    """
    voxel = float(np.prod(spacing)) / (1000.0 if a.ndim == 3 else 1.0)
    masks = [mask for mask in (a, b, reference) if mask is not None]
    rows = []
    for label in sorted({int(value) for mask in masks for value in np.unique(mask)} - {0}):
        in_a, in_b = a == label, b == label
        differs = in_a ^ in_b
        per_slice = differs.reshape(a.shape[0], -1).sum(1) if a.ndim == 3 else differs.sum()[None]
        worst = int(per_slice.argmax())
        rows.append(
            Row(
                label=label,
                name=names.get(label, f"label {label}"),
                agreement=dice_score(a, b, label),
                scores=None
                if reference is None
                else (dice_score(a, reference, label), dice_score(b, reference, label)),
                volumes=(int(in_a.sum()) * voxel, int(in_b.sum()) * voxel),
                worst_slice=worst if per_slice[worst] else None,
                worst_voxels=int(per_slice[worst]),
            )
        )
    return rows, disagreement(a, b)


def disagreement(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.uint8]:
    """Map where two masks differ, and how."""
    found = np.zeros(a.shape, np.uint8)
    differs = a != b
    found[differs] = OTHER_CLASS
    found[differs & (b == 0)] = ONLY_A
    found[differs & (a == 0)] = ONLY_B
    return found
