"""Values that are no intensities: NaN, infinite ones, and numbers that fill voxels without data."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_graphflow.imaging import itk as sitk

#: Only numbers at or beyond these can be fill values, such as -2000, -32768, 65535 and 1e30.
LOWEST, HIGHEST = -1500, 30_000
#: They are fill values if no intensity lies nearer to the others than this multiple of their range.
GAP_BELOW, GAP_ABOVE = 1.0, 10.0
#: Number of voxels from which the range of the others is estimated.
SAMPLE = 1_000_000
#: Larger values are fill values wherever they lie; up to this one, they may be metal in a CT.
_METAL = 65_535.0
#: Smallest share of the voxels in a region outside the field of view.
_REGION = 1e-3


@dataclass(frozen=True)
class Filled:
    """An array in which only intensities are left.

    Attributes
    ----------
    array
        float32; NaN, values below all intensities, and regions at the border that lie above them
        were replaced by the smallest intensity, other larger values by the largest.
    intensities
        Where the array holds original values; None if everywhere.
    share
        Share of voxels that were replaced.
    """

    array: NDArray[np.float32]
    intensities: NDArray[np.bool_] | None = None
    share: float = 0.0


def fill(
    array: NDArray[Any], *, finite_only: bool = False, keep_metal: bool = False
) -> Filled | None:
    """Replace what is no intensity; None if nothing is one.

    Parameters
    ----------
    array
        Values of one channel.
    finite_only
        Whether to replace NaN and infinite values only.
    keep_metal
        Whether large values inside the image are intensities, as those of metal in a CT.
    """
    limits = _finite_limits(array) if finite_only else intensity_limits(array)
    if limits is None:
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        values = array.astype(np.float32, order="C")
    if limits == (array.min(), array.max()):  # never if NaN is among them
        return Filled(values)
    high = values > limits[1]
    good = values >= limits[0]
    good &= ~high
    outside = border_regions(high)
    if keep_metal:
        good |= high & ~outside & (values <= _METAL)
    values[high & ~good] = limits[1]
    values[outside | ~(good | high)] = limits[0]
    return Filled(values, good, 1 - float(good.mean()))


def border_regions(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the regions of a mask that lie outside the field of view.

    They reach the border along two axes, such as the corners around a round field of view and
    whole rows or slices. Metal at the last slice reaches it along one axis only.
    """
    if not mask.any():
        return mask
    components = sitk.ConnectedComponent(sitk.GetImageFromArray(mask.astype(np.uint8)))
    regions = sitk.GetArrayViewFromImage(components)
    count = int(regions.max())
    axes = [axis for axis, size in enumerate(mask.shape) if size > 1]
    reached = np.zeros(count + 1, int)
    for axis in axes:
        ends = np.take(regions, (0, -1), axis)
        reached[np.unique(ends)] += 1
    sizes = np.bincount(regions.ravel(), minlength=count + 1)
    chosen = (reached >= min(2, len(axes))) & (sizes >= _REGION * mask.size)
    chosen[0] = False
    return np.asarray(chosen[regions], bool)


def intensities(values: NDArray[Any]) -> NDArray[Any]:
    """Return the intensities among some values, without their shape."""
    limits = intensity_limits(values)
    if limits is None:
        return values[:0].reshape(-1)
    with np.errstate(invalid="ignore"):
        return values[(values >= limits[0]) & (values <= limits[1])]


def intensity_limits(values: NDArray[Any]) -> tuple[float, float] | None:
    """Return the smallest and largest intensity; None without a finite value.

    Large numbers far from all others are fill values, not intensities.
    """
    limits = _finite_limits(values)
    if limits is None or (limits[0] > LOWEST and limits[1] < HIGHEST):
        return limits
    # In parts, whose copies fit a cache.
    parts = np.array_split(values, max(1, min(len(values), values.size // SAMPLE)))
    inner = _inner(values.flat[:: max(1, values.size // SAMPLE)])
    if not inner.size:
        inner = _inner(values)
    if not inner.size:
        return limits
    low, high = (float(one) for one in np.percentile(inner, (0.5, 99.5)))
    if high == low:  # without contrast, it is not known what far is
        return limits
    below, above = limits
    if below <= LOWEST:
        least = min(np.where(part > LOWEST, part, inner[0]).min() for part in parts)
        outside = _distinct(parts, below, LOWEST)[::-1]
        below = -_last_before_gap(-float(least), -outside, GAP_BELOW * (high - low))
    if above >= HIGHEST:
        most = max(np.where(part < HIGHEST, part, inner[0]).max() for part in parts)
        outside = _distinct(parts, HIGHEST, above)
        above = _last_before_gap(float(most), outside, GAP_ABOVE * (high - low))
    return below, above


def _inner(values: NDArray[Any]) -> NDArray[Any]:
    """Return the values that cannot be fill values."""
    return values[(values > LOWEST) & (values < HIGHEST)]


def _distinct(parts: list[NDArray[Any]], low: float, high: float) -> NDArray[np.float64]:
    """Return the different values between two limits, in their order."""
    if parts[0].dtype.kind in "iu":  # numpy would convert all to compare with a float
        low, high = int(low), int(high)
    found = [np.unique(part[(part >= low) & (part <= high)]) for part in parts]
    return np.unique(np.concatenate(found)).astype(float)


def _last_before_gap(start: float, outside: NDArray[np.float64], gap: float) -> float:
    steps = np.concatenate(([start], outside))
    gaps = np.flatnonzero(np.diff(steps) > gap)
    return float(steps[gaps[0]] if gaps.size else steps[-1])


def _finite_limits(values: NDArray[Any]) -> tuple[float, float] | None:
    """Return the smallest and largest value that are finite as float32."""
    if not values.size:
        return None
    if values.dtype.kind in "iub":
        return float(values.min()), float(values.max())
    largest = float(np.finfo(np.float32).max)
    low, high = float(values.min()), float(values.max())
    if -largest <= low and high <= largest:
        return low, high
    with np.errstate(invalid="ignore"):
        found = values[np.abs(values) <= largest]
    if not found.size:
        return None
    return float(found.min()), float(found.max())
