"""Lesion-wise scores: Dice, overlap and volume error of connected components.

A lesion is a component of the reference, connected over faces, edges and corners. It is compared
with the union of all components of the prediction that overlap it. A component that overlaps two
lesions counts as a whole for both; one that overlaps none is a false positive.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy  # imports its parts when they are used
from numpy.typing import NDArray

from napari_graphflow.imaging.labels import IGNORE

Mask = NDArray[Any]
METRICS = ("dice_score", "volume_overlap_error", "relative_volume_error")


def lesion_scores(
    prediction: Mask, reference: Mask, label: int, spacing: Sequence[float], ignore: int = IGNORE
) -> dict[str, Any]:
    """Score the lesions of one label.

    Parameters
    ----------
    prediction, reference
        Masks of class indices on one grid, 2D or 3D.
    label
        Value of the lesions in both masks.
    spacing
        Voxel size in mm, in the order of the array's axes.
    ignore
        Ignore label: voxels with this value in the reference are excluded from both masks.

    Returns
    -------
    dict
        ``lesions``: for each lesion of the reference, by size, ``dice_score``,
        ``volume_overlap_error`` (1 - intersection over union), ``relative_volume_error``
        (-1 if it was missed) and its size ``reference_ml`` (for 2D images ``reference_mm2``).
        ``false_positives``: components of the prediction that overlap no lesion.

    Raises
    ------
    ValueError
        If the masks differ in shape, or `spacing` does not have one value per axis.
    """
    if prediction.shape != reference.shape or len(spacing) != reference.ndim:
        raise ValueError(f"{prediction.shape}, {reference.shape} and spacing {tuple(spacing)}")
    unit, per_unit = ("ml", 1000) if reference.ndim == 3 else ("mm2", 1)
    voxel = math.prod(spacing) / per_unit
    neighbours = np.ones((3,) * reference.ndim)
    lesions, count = scipy.ndimage.label(reference == label, neighbours)
    found, components = scipy.ndimage.label(
        (prediction == label) & (reference != ignore), neighbours
    )
    lesion_sizes = np.bincount(lesions.ravel(), minlength=count + 1)
    found_sizes = np.bincount(found.ravel(), minlength=components + 1)
    both = (lesions > 0) & (found > 0)
    pairs, voxels = np.unique(np.stack([lesions[both], found[both]]), axis=1, return_counts=True)
    rows = []
    for lesion in 1 + np.argsort(-lesion_sizes[1:], kind="stable"):
        matches = pairs[0] == lesion
        size, overlap = int(lesion_sizes[lesion]), int(voxels[matches].sum())
        predicted = int(found_sizes[pairs[1][matches]].sum())
        rows.append(
            {
                "dice_score": 2 * overlap / (size + predicted),
                "volume_overlap_error": 1 - overlap / (size + predicted - overlap),
                "relative_volume_error": (predicted - size) / size,
                f"reference_{unit}": size * voxel,
            }
        )
    return {"lesions": rows, "false_positives": components - len(set(pairs[1].tolist()))}


def summarise_lesions(cases: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Average over all lesions of all cases, so that every lesion has the same weight.

    Parameters
    ----------
    cases
        Result of :func:`lesion_scores` for each case, by the name of the case.

    Returns
    -------
    dict
        The mean of each metric (nan without lesions), ``absolute_volume_error``, the number of
        ``lesions``, of those that overlap the prediction (``detected``), and of
        ``false_positives``.
    """
    rows = [row for case in cases.values() for row in case["lesions"]]

    def mean(values: list[float]) -> float:
        return float(np.mean(values)) if values else math.nan

    return {
        **{metric: mean([row[metric] for row in rows]) for metric in METRICS},
        "absolute_volume_error": mean([abs(row["relative_volume_error"]) for row in rows]),
        "lesions": len(rows),
        "detected": sum(row["dice_score"] > 0 for row in rows),
        "false_positives": sum(case["false_positives"] for case in cases.values()),
    }
