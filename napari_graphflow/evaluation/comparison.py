"""Agreement and disagreement of two masks, as shown by the *Compare* widget."""

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
    """Agreement of two masks on one structure.

    Attributes
    ----------
    label, name
        Value and name of the structure.
    agreement
        Dice of A and B; NaN if neither contains the structure.
    scores
        Dice of A and of B against the reference; None without a reference.
    volumes
        Volumes of A and of B in ml, or areas in mm² for 2D images.
    worst_slice
        Slice with the most voxels on which A and B disagree, or None if they agree everywhere.
    worst_voxels
        Number of these voxels.
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
        Masks of equal shape, (z, y, x) or (y, x); `reference` may be None.
    spacing
        Voxel size in mm along each axis.
    names
        Name of each label, where known.

    Returns
    -------
    list of Row
        One per label that any of the masks contains, without the background.
    array
        Disagreement map, see :func:`disagreement`.
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
    """Return a map that is 0 where two masks agree, otherwise a value of `DISAGREEMENT`."""
    result = np.zeros(a.shape, np.uint8)
    differs = a != b
    result[differs] = OTHER_CLASS
    result[differs & (b == 0)] = ONLY_A
    result[differs & (a == 0)] = ONLY_B
    return result
