"""Class probabilities on a resampled grid, slab by slab, to a label map on the grid of the image.

Probabilities are interpolated class by class before the argmax, which gives smoother edges than
resampling a label map. Only the rows between two slabs are held, and a class is interpolated only
where it can be the most probable one: in a box around its probabilities of at least 1/K.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from napari_graphflow.imaging import itk as sitk
from napari_graphflow.imaging.sampling import Sampling, same_extent

Array = NDArray[np.floating]
#: Below 1/K by more than rounding, so that the box misses no voxel.
MARGIN = 1e-4


class LabelMap:
    """A label map that is filled from slabs of probabilities in order.

    Parameters
    ----------
    shape
        Spatial shape of the probabilities.
    target
        Spatial shape of the label map, over the same extent; or where its voxels lie.
    classes
        Number of classes K.
    axis
        Axis along which the slabs follow each other.
    probabilities
        Receives the interpolated probabilities (K, *target), if given.

    Attributes
    ----------
    labels
        Class indices, complete after the last slab.
    """

    def __init__(
        self,
        shape: Sequence[int],
        target: Sequence[int] | Sampling,
        classes: int,
        axis: int,
        probabilities: NDArray[np.floating] | None = None,
    ) -> None:
        grid = target if isinstance(target, Sampling) else same_extent(shape, target)
        self.labels: NDArray[np.integer] = np.zeros(
            grid.shape, np.uint8 if classes <= 256 else np.uint16
        )
        self._probabilities = probabilities
        self._shape, self._axis, self._classes = tuple(shape), axis, classes
        self._ratio, self._offset = np.array(grid.ratio), np.array(grid.offset)
        self._last: Array | None = None
        self._written = 0

    def add(self, start: int, slab: Array) -> None:
        """Add the probabilities (K, *spatial) of the rows from `start`."""
        axis = self._axis
        block = slab
        if self._last is not None:
            block, start = np.concatenate([self._last, slab], axis + 1), start - 1
        stop = start + block.shape[axis + 1]
        end = self._rows_until(stop)
        if end > self._written:
            self._interpolate(block, start, self._written, end)
            self._written = end
        last: list[slice] = [slice(None)] * block.ndim
        last[axis + 1] = slice(-1, None)
        self._last = block[tuple(last)].copy()

    def _rows_until(self, stop: int) -> int:
        """Return the number of rows of the target that the rows before `stop` determine."""
        target: int = self.labels.shape[self._axis]
        if stop >= self._shape[self._axis]:
            return target
        positions = np.arange(target) * self._ratio[self._axis] + self._offset[self._axis]
        return int(np.searchsorted(positions, stop - 1, side="right"))

    def _interpolate(self, block: Array, start: int, first: int, end: int) -> None:
        """Interpolate the rows `first` to `end` of the target from a block of rows."""
        axis = self._axis
        begin = np.zeros(len(self._shape), int)
        begin[axis] = start
        low, high = np.zeros(len(self._shape), int), np.array(self.labels.shape)
        low[axis], high[axis] = first, end
        rows = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
        labels = self.labels[rows]
        best = np.zeros(labels.shape, np.float32)
        for index, one in enumerate(block):
            if self._probabilities is not None:
                self._probabilities[index][rows] = self._resample(one, begin, low, high)
            box = _box(one >= (1 - MARGIN) / self._classes)
            if box is None:
                continue
            inside = tuple(
                slice(max(0, b.start - 1), min(n, b.stop + 1))
                for b, n in zip(box, one.shape, strict=True)
            )
            starts = begin + [s.start for s in inside]
            # Target voxels between the neighbours of the box.
            near = np.array([b.start - 1 for b in box]) + begin
            far = np.array([b.stop for b in box]) + begin
            a = np.ceil((near - self._offset) / self._ratio).astype(int).clip(low, high)
            b = (np.floor((far - self._offset) / self._ratio).astype(int) + 1).clip(low, high)
            if (a >= b).any():
                continue
            values = self._resample(one[inside], starts, a, b)
            part = tuple(slice(p, q) for p, q in zip(a - low, b - low, strict=True))
            larger = values > best[part]
            best[part][larger] = values[larger]
            labels[part][larger] = index

    def _resample(
        self, block: Array, start: NDArray[np.int_], low: NDArray[np.int_], high: NDArray[np.int_]
    ) -> NDArray[np.float32]:
        """Interpolate target voxels `low` to `high` from a block that starts at `start`."""
        image = sitk.GetImageFromArray(np.ascontiguousarray(block, np.float32))
        image.SetOrigin([float(value) for value in start[::-1]])
        origin = low * self._ratio + self._offset
        resampler = sitk.ResampleImageFilter()
        resampler.SetSize([int(n) for n in (high - low)[::-1]])
        resampler.SetOutputSpacing(self._ratio[::-1].tolist())
        resampler.SetOutputOrigin(origin[::-1].tolist())
        resampler.SetInterpolator(sitk.sitkLinear)
        resampler.UseNearestNeighborExtrapolatorOn()
        values: NDArray[np.float32] = sitk.GetArrayFromImage(resampler.Execute(image))
        return values


def _box(mask: NDArray[np.bool_]) -> tuple[slice, ...] | None:
    """Return the smallest box around the voxels of a mask, or None if there are none."""
    found = []
    for axis in range(mask.ndim):
        others = tuple(i for i in range(mask.ndim) if i != axis)
        indices = np.flatnonzero(mask.any(others))
        if not indices.size:
            return None
        found.append(slice(int(indices[0]), int(indices[-1]) + 1))
    return tuple(found)
