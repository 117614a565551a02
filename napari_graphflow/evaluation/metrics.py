"""Metrics of a mask and its reference: overlap, surface distances in mm, volume.

Masks are compared class by class. All functions follow one convention for missing structures:

=====================  =========  ==============  =======================
structure present in   Dice, IoU  distances       relative volume error
                       and NSD
=====================  =========  ==============  =======================
both                   0 to 1     mm              (prediction - reference) / reference
neither                nan        nan             nan
the prediction only    0          inf             inf
the reference only     0          inf             -1
=====================  =========  ==============  =======================

``nan`` (undefined) and ``inf`` (the structure was missed entirely) are excluded from means,
because a single ``inf`` would make every mean infinite; :func:`summarise` reports the number of
both with each mean.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy  # imports its parts when they are used
from numpy.typing import NDArray

from napari_graphflow.imaging.labels import IGNORE

#: Tolerance of the surface Dice in mm, where none is given.
TOLERANCE = 2.0
#: The convention above in words, for reports.
RULE = (
    "A structure that is in neither mask has no score and counts in no mean. One that only one of "
    "both masks contains has Dice and surface Dice 0, which count in the means, and infinite "
    "distances, which are left out of the means and counted as missed."
)
Mask = NDArray[Any]
CaseResult = dict[str, dict[str, float]]


def dice_score(prediction: Mask, reference: Mask, label: int = 1) -> float:
    """Compute the Dice overlap 2 |P and R| / (|P| + |R|) of one label.

    Parameters
    ----------
    prediction, reference
        Integer masks of equal shape, any number of axes.
    label
        Value of the structure in both masks.

    Returns
    -------
    float
        0 to 1; nan if neither mask contains the label.
    """
    both, size_p, size_r = _overlap(prediction, reference, label)
    return 2 * both / (size_p + size_r) if size_p + size_r else math.nan


def iou_score(prediction: Mask, reference: Mask, label: int = 1) -> float:
    """Compute the intersection over union |P and R| / |P or R| of one label.

    nan if neither mask contains the label.
    """
    both, size_p, size_r = _overlap(prediction, reference, label)
    return both / (size_p + size_r - both) if size_p + size_r else math.nan


def volume_overlap_error(prediction: Mask, reference: Mask, label: int = 1) -> float:
    """Compute the volume overlap error (VOE) 1 - |P and R| / |P or R| of one label.

    nan if neither mask contains the label.

    The code of some papers uses this name for 2 (|P| - |P and R|) / (|P| + |R|), which does not
    count missed voxels.
    """
    return 1 - iou_score(prediction, reference, label)


def hausdorff_distance_95(
    prediction: Mask, reference: Mask, label: int = 1, *, spacing: Sequence[float]
) -> float:
    """Compute the 95th percentile of the surface distances (HD95), the larger of both directions.

    Parameters
    ----------
    prediction, reference
        Integer masks of equal shape.
    label
        Value of the structure in both masks.
    spacing
        Voxel size in mm, in the order of the array's axes.

    Returns
    -------
    float
        mm; nan if neither mask contains the label, inf if only one does.

    Notes
    -----
    The surface is the set of the structure's voxels with a face neighbour outside of it, as in
    MONAI; the percentile is taken in each direction before the maximum.
    """
    return _hausdorff_95(*_surface_distances(prediction, reference, label, spacing))


def average_surface_distance(
    prediction: Mask, reference: Mask, label: int = 1, *, spacing: Sequence[float]
) -> float:
    """Compute the mean of all distances from either surface to the other (ASSD), in mm.

    Parameters and special values as for :func:`hausdorff_distance_95`.
    """
    return _average(*_surface_distances(prediction, reference, label, spacing))


def surface_dice(
    prediction: Mask,
    reference: Mask,
    label: int = 1,
    *,
    spacing: Sequence[float],
    tolerance: float = TOLERANCE,
) -> float:
    """Compute the normalised surface Dice (NSD): the share of both surfaces that agree.

    Parameters
    ----------
    prediction, reference, label, spacing
        As for :func:`hausdorff_distance_95`.
    tolerance
        Largest distance in mm at which a surface voxel counts as in agreement.

    Returns
    -------
    float
        0 to 1; nan if neither mask contains the label, 0 if only one does.

    Notes
    -----
    The number of surface voxels of either mask within the tolerance of the other surface, divided
    by the number of all (Nikolov et al., 2018, with voxels instead of surface elements).
    """
    return _surface_dice(*_surface_distances(prediction, reference, label, spacing), tolerance)


def volume_ml(mask: Mask, label: int = 1, *, spacing: Sequence[float]) -> float:
    """Compute the volume of a structure in ml; `spacing` in mm along the three axes of `mask`."""
    if mask.ndim != 3:
        raise ValueError(f"a volume needs 3 axes, not {mask.ndim}")
    return float(np.count_nonzero(mask == label) * math.prod(spacing) / 1000)


def relative_volume_error(prediction: Mask, reference: Mask, label: int = 1) -> float:
    """Compute the relative volume error (prediction - reference) / reference of one label.

    nan if neither mask contains the label, inf if only the prediction does.
    """
    _, size_p, size_r = _overlap(prediction, reference, label)
    return _relative_error(size_p, size_r)


def evaluate_case(
    prediction: Mask,
    reference: Mask,
    classes: Mapping[str, int],
    spacing: Sequence[float],
    ignore: int | None = IGNORE,
    tolerance: float = TOLERANCE,
) -> CaseResult:
    """Compute all metrics of every foreground class.

    Parameters
    ----------
    prediction, reference
        Masks of class indices on one grid, 2D or 3D.
    classes
        Name and value of each class; the value 0 is the background and is skipped.
    spacing
        Voxel size in mm, in the order of the array's axes.
    ignore
        Ignore label: voxels with this value in the reference are excluded from both masks; None
        excludes no voxels.
    tolerance
        Of the surface Dice, in mm.

    Returns
    -------
    dict
        For each class ``dice_score``, ``iou_score``, ``volume_overlap_error``, ``surface_dice``,
        ``hausdorff_distance_95`` and ``average_surface_distance`` in mm,
        ``relative_volume_error`` and, because signed ones cancel in a mean,
        ``absolute_volume_error``, and the sizes ``prediction_ml`` and ``reference_ml`` (for 2D
        images ``prediction_mm2`` and ``reference_mm2``).

    Raises
    ------
    ValueError
        If the masks differ in shape, or `spacing` does not have one value per axis.
    """
    _check(prediction, reference, spacing)
    if ignore is not None and (ignored := reference == ignore).any():
        prediction = np.where(ignored, 0, prediction)
        reference = np.where(ignored, 0, reference)
    boxes_p, boxes_r = _boxes(prediction), _boxes(reference)
    unit, per_unit = ("ml", 1000) if reference.ndim == 3 else ("mm2", 1)
    voxel = math.prod(spacing) / per_unit
    result: CaseResult = {}
    for name, value in classes.items():
        if value == 0:
            continue
        box = _union(boxes_p.get(value), boxes_r.get(value), reference.ndim)
        mask_p, mask_r = prediction[box] == value, reference[box] == value
        both, size_p, size_r = _overlap(mask_p, mask_r, True)
        distances = _surface_distances(mask_p, mask_r, True, spacing)
        iou = both / (size_p + size_r - both) if size_p + size_r else math.nan
        result[name] = {
            "dice_score": 2 * both / (size_p + size_r) if size_p + size_r else math.nan,
            "iou_score": iou,
            "volume_overlap_error": 1 - iou,
            "surface_dice": _surface_dice(*distances, tolerance),
            "hausdorff_distance_95": _hausdorff_95(*distances),
            "average_surface_distance": _average(*distances),
            "relative_volume_error": _relative_error(size_p, size_r),
            "absolute_volume_error": abs(_relative_error(size_p, size_r)),
            f"prediction_{unit}": size_p * voxel,
            f"reference_{unit}": size_r * voxel,
        }
    return result


def summarise(cases: Mapping[str, CaseResult]) -> dict[str, dict[str, dict[str, float]]]:
    """Compute mean, standard deviation and median over cases, for every class and metric.

    Parameters
    ----------
    cases
        Result of :func:`evaluate_case` for each case, by the name of the case.

    Returns
    -------
    dict
        ``result[class][metric]`` contains ``mean``, ``std`` (of a sample, nan below two cases) and
        ``median`` of the finite values, their number (``n``), the number of nan
        (``undefined``) and the number of inf (``infinite``). The key ``mean`` contains, for each
        metric, the ``mean`` over the means of all classes, so that a class in few cases has the
        same weight as the others, with the counts summed.
    """
    values: dict[str, dict[str, list[float]]] = {}
    for case in cases.values():
        for name, metrics in case.items():
            for metric, value in metrics.items():
                values.setdefault(name, {}).setdefault(metric, []).append(value)
    summary = {
        name: {metric: _statistics(numbers) for metric, numbers in metrics.items()}
        for name, metrics in values.items()
    }
    if summary:
        summary["mean"] = _over_classes(list(summary.values()))
    return summary


def _overlap(prediction: Mask, reference: Mask, label: int) -> tuple[int, int, int]:
    _check(prediction, reference)
    mask_p, mask_r = prediction == label, reference == label
    return (
        int(np.count_nonzero(mask_p & mask_r)),
        int(np.count_nonzero(mask_p)),
        int(np.count_nonzero(mask_r)),
    )


def _surface_distances(
    prediction: Mask, reference: Mask, label: int, spacing: Sequence[float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the distances in mm from each surface voxel to the other surface, both directions."""
    _check(prediction, reference, spacing)
    mask_p, mask_r = prediction == label, reference == label
    either = mask_p | mask_r
    if not either.any():
        undefined = np.empty(0)
        return undefined, undefined
    box = scipy.ndimage.find_objects(either.view(np.uint8))[0]
    # Pad with background, so that a structure cut by the image border has a surface there.
    mask_p, mask_r = np.pad(mask_p[box], 1), np.pad(mask_r[box], 1)
    if not mask_p.any() or not mask_r.any():
        missed = np.array([math.inf])
        return missed, missed
    surface_p, surface_r = (
        np.argwhere(mask & ~scipy.ndimage.binary_erosion(mask)) * np.asarray(spacing, float)
        for mask in (mask_p, mask_r)
    )
    # Trees of surface voxels need far less time and memory than two distance maps of the box.
    return scipy.spatial.KDTree(surface_r).query(surface_p)[0], scipy.spatial.KDTree(
        surface_p
    ).query(surface_r)[0]


def _hausdorff_95(forward: NDArray[np.float64], backward: NDArray[np.float64]) -> float:
    if not forward.size:
        return math.nan
    if math.isinf(forward[0]):
        return math.inf
    return float(max(np.percentile(forward, 95), np.percentile(backward, 95)))


def _average(forward: NDArray[np.float64], backward: NDArray[np.float64]) -> float:
    return float(np.concatenate([forward, backward]).mean()) if forward.size else math.nan


def _surface_dice(
    forward: NDArray[np.float64], backward: NDArray[np.float64], tolerance: float
) -> float:
    distances = np.concatenate([forward, backward])
    return float(np.mean(distances <= tolerance)) if distances.size else math.nan


def _relative_error(size_prediction: int, size_reference: int) -> float:
    if size_reference:
        return (size_prediction - size_reference) / size_reference
    return math.inf if size_prediction else math.nan


def _statistics(numbers: Sequence[float]) -> dict[str, float]:
    array = np.array(numbers, float)
    finite = array[np.isfinite(array)]
    n = len(finite)
    return {
        "mean": float(finite.mean()) if n else math.nan,
        "std": float(finite.std(ddof=1)) if n > 1 else math.nan,
        "median": float(np.median(finite)) if n else math.nan,
        "n": n,
        "undefined": int(np.isnan(array).sum()),
        "infinite": int(np.isinf(array).sum()),
    }


def _over_classes(
    classes: Sequence[Mapping[str, Mapping[str, float]]],
) -> dict[str, dict[str, float]]:
    result = {}
    for metric in classes[0]:
        found = [one[metric] for one in classes if metric in one]
        means = [one["mean"] for one in found if math.isfinite(one["mean"])]
        counts = {key: sum(one[key] for one in found) for key in ("n", "undefined", "infinite")}
        result[metric] = {"mean": float(np.mean(means)) if means else math.nan, **counts}
    return result


def _boxes(mask: Mask) -> dict[int, tuple[slice, ...]]:
    """Return the bounding box of every value except 0, in one pass."""
    if mask.dtype == bool:
        mask = mask.view(np.uint8)
    found = scipy.ndimage.find_objects(mask)
    return {value: box for value, box in enumerate(found, start=1) if box is not None}


def _union(
    first: tuple[slice, ...] | None, second: tuple[slice, ...] | None, axes: int
) -> tuple[slice, ...]:
    if first is None or second is None:
        return first or second or (slice(0, 0),) * axes
    return tuple(
        slice(min(a.start, b.start), max(a.stop, b.stop))
        for a, b in zip(first, second, strict=True)
    )


def _check(prediction: Mask, reference: Mask, spacing: Sequence[float] | None = None) -> None:
    if prediction.shape != reference.shape:
        raise ValueError(f"masks of different shapes: {prediction.shape} and {reference.shape}")
    if spacing is not None and len(spacing) != reference.ndim:
        raise ValueError(f"spacing {tuple(spacing)} for a mask of {reference.ndim} axes")
