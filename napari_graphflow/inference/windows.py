"""Sliding windows over an array, merged slab by slab, without torch.

The windows and their Gaussian weights are those of MONAI's `sliding_window_inference`. Its output
for a whole volume is held in memory, one float per voxel and class; here only the rows that later
windows still touch are.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby, pairwise, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
#: Computes (n, K, *window) for each batch (n, C, *window), in order.
Compute = Callable[[Iterable[Array]], Iterator[NDArray[Any]]]

#: Standard deviation of the Gaussian weights, relative to the window, and their smallest value.
SIGMA, SMALLEST = 0.125, 1e-3
#: nnU-Net's smallest weight: what float16 can hold of 10 times the weights.
SMALLEST_EVEN = 6e-9


@dataclass(frozen=True)
class Windows:
    """Positions of overlapping windows.

    Attributes
    ----------
    shape
        Spatial shape of the array, padded to at least the window.
    size
        Shape of a window.
    starts
        First index of each window along each axis; the last window ends at the border.
    axis
        Axis along which the windows are processed.
    """

    shape: tuple[int, ...]
    size: tuple[int, ...]
    starts: tuple[tuple[int, ...], ...]
    axis: int

    @cached_property
    def positions(self) -> list[tuple[int, ...]]:
        """First voxel of each window, ordered along `axis`."""
        found = list(product(*self.starts))
        return sorted(found, key=lambda position: (position[self.axis], position))

    @property
    def overlapping(self) -> bool:
        """Whether any voxel lies in more than one window."""
        return any(
            b - a < size
            for starts, size in zip(self.starts, self.size, strict=True)
            for a, b in pairwise(starts)
        )

    def region(self, position: Sequence[int]) -> tuple[slice, ...]:
        """Return the index of a window."""
        return tuple(slice(p, p + n) for p, n in zip(position, self.size, strict=True))


@dataclass(frozen=True)
class Slab:
    """A finished part of the result.

    Attributes
    ----------
    start
        Its first index along the axis of the windows.
    array
        (K, *spatial); valid until the next slab is requested.
    """

    start: int
    array: NDArray[Any]


def plan_windows(
    shape: Sequence[int],
    size: Sequence[int],
    overlap: float,
    axis: int | None = None,
    *,
    even: bool = False,
) -> Windows:
    """Place windows of `size` that share the fraction `overlap` of their side with the next one.

    Parameters
    ----------
    shape
        Spatial shape of the array; axes shorter than the window are padded.
    size
        Shape of a window.
    overlap
        At least 0 and below 1.
    axis
        Axis along which the windows are processed, by default the longest, for which the slabs are
        the smallest.
    even
        Whether all windows along an axis share the same fraction, as those of nnU-Net, instead of
        the last ones sharing more.
    """
    padded = tuple(max(n, side) for n, side in zip(shape, size, strict=True))
    place = _even_starts if even else _starts
    starts = tuple(place(n, side, overlap) for n, side in zip(padded, size, strict=True))
    return Windows(padded, tuple(size), starts, int(np.argmax(padded)) if axis is None else axis)


def gaussian_weights(size: Sequence[int], *, even: bool = False) -> Array:
    """Return the weights of a window's voxels.

    Parameters
    ----------
    size
        Shape of the window.
    even
        Whether they are those of nnU-Net: around the voxel in the middle, and without `SMALLEST`.
    """
    weights = np.ones((), np.float32)
    for side in size:
        distance = np.arange(side, dtype=np.float32) - (side // 2 if even else (side - 1) / 2)
        line = np.exp(-(distance**2) / (2 * (SIGMA * side) ** 2))
        weights = weights[..., None] * line.astype(np.float32)
    return np.maximum(weights, SMALLEST_EVEN if even else SMALLEST)


def slabs(
    image: Array,
    windows: Windows,
    compute: Compute,
    *,
    batch: int,
    weights: Array | None = None,
    averaged: bool = True,
    reuse: bool = False,
    done: Callable[[int], None] = lambda count: None,
) -> Iterator[Slab]:
    """Compute an array (C, *spatial) window by window, and return finished slabs in order.

    Parameters
    ----------
    image
        The array.
    windows
        Positions for its spatial shape.
    compute
        Must multiply its output by `weights` if these are given.
    batch
        Number of windows computed at once.
    weights
        Weights of a window's voxels, where windows overlap. The slabs are then weighted sums.
    averaged
        Whether these are divided by the sum of the weights, which no argmax needs.
    reuse
        Whether windows of the same constant value, such as air around a patient, are computed
        once.
    done
        Called with the number of finished windows.
    """
    before = [(n - have) // 2 for n, have in zip(windows.shape, image.shape[1:], strict=True)]
    after = [
        n - have - b for n, have, b in zip(windows.shape, image.shape[1:], before, strict=True)
    ]
    if any(before) or any(after):
        image = np.pad(image, [(0, 0), *zip(before, after, strict=True)])
    kept = tuple(slice(b, n - a) for b, n, a in zip(before, windows.shape, after, strict=True))
    outputs = _outputs(image, windows, compute, batch, reuse, done)
    merged = (
        _direct(windows, outputs)
        if weights is None
        else _sums(windows, outputs, weights if averaged else None)
    )
    for slab in merged:
        cropped = _cropped(slab, kept, windows.axis)
        if cropped is not None:
            yield cropped


def _starts(size: int, side: int, overlap: float) -> tuple[int, ...]:
    step = max(1, int(side * (1 - overlap)))
    count = 1 if size <= side else math.ceil((size - side) / step) + 1
    return tuple(min(index * step, size - side) for index in range(count))


def _even_starts(size: int, side: int, overlap: float) -> tuple[int, ...]:
    count = math.ceil((size - side) / (side * (1 - overlap))) + 1
    step = (size - side) / max(1, count - 1)
    return tuple(round(step * index) for index in range(count))


def _outputs(
    image: Array,
    windows: Windows,
    compute: Compute,
    batch: int,
    reuse: bool,
    done: Callable[[int], None],
) -> Iterator[tuple[tuple[int, ...], NDArray[Any]]]:
    """Return each window's position and output."""
    constants = {
        position: value
        for position in (windows.positions if reuse else ())
        if (value := _constant(image[(slice(None), *windows.region(position))])) is not None
    }
    first: dict[bytes, tuple[int, ...]] = {}
    for position, value in constants.items():
        first.setdefault(value, position)
    unique = [
        position
        for position in windows.positions
        if position not in constants or first[constants[position]] == position
    ]
    arrays = (
        np.stack([image[(slice(None), *windows.region(p))] for p in unique[i : i + batch]])
        for i in range(0, len(unique), batch)
    )
    computed = (one for outputs in compute(arrays) for one in outputs)
    known: dict[bytes, NDArray[Any]] = {}
    for count, position in enumerate(windows.positions, start=1):
        value = constants.get(position)
        if value is None:
            output = next(computed)
        else:
            if value not in known:
                known[value] = next(computed).copy()
            output = known[value]
        yield position, output
        done(count)


def _constant(window: Array) -> bytes | None:
    """Return the value of each channel if it is constant."""
    channels = window.reshape(len(window), -1)
    corner = channels[:, 0]
    if channels.shape[1] > 1 and (channels[:, -1] != corner).any():
        return None
    return corner.tobytes() if (channels == corner[:, None]).all() else None


def _direct(
    windows: Windows, outputs: Iterable[tuple[tuple[int, ...], NDArray[Any]]]
) -> Iterator[Slab]:
    """Place windows that do not overlap."""
    axis = windows.axis
    if all(len(starts) == 1 for index, starts in enumerate(windows.starts) if index != axis):
        for position, output in outputs:
            yield Slab(position[axis], output)
        return
    for start, group in groupby(outputs, key=lambda one: one[0][axis]):
        slab: NDArray[Any] | None = None
        for position, output in group:
            if slab is None:
                slab = np.empty((len(output), *_slab_shape(windows)), output.dtype)
            slab[(slice(None), *_inside(windows, position))] = output
        assert slab is not None
        yield Slab(start, slab)


def _sums(
    windows: Windows,
    outputs: Iterable[tuple[tuple[int, ...], NDArray[Any]]],
    weights: Array | None,
) -> Iterator[Slab]:
    """Sum overlapping windows, and divide by the sum of their weights, if given."""
    axis, starts = windows.axis, windows.starts[windows.axis]
    following = dict(zip(starts, (*starts[1:], windows.shape[axis]), strict=True))
    total = None if weights is None else np.zeros(_slab_shape(windows), np.float32)
    sums: Array | None = None
    for start, group in groupby(outputs, key=lambda one: one[0][axis]):
        for position, output in group:
            if sums is None:
                sums = np.zeros((len(output), *_slab_shape(windows)), np.float32)
            inside = _inside(windows, position)
            sums[(slice(None), *inside)] += output
            if total is not None and weights is not None:
                total[inside] += weights
        assert sums is not None
        rows = following[start] - start
        finished = [slice(None)] * len(windows.shape)
        finished[axis] = slice(0, rows)
        part = sums[(slice(None), *finished)]
        if total is not None:
            part /= total[tuple(finished)]
        yield Slab(start, part)
        _shift(sums, axis + 1, rows)
        if total is not None:
            _shift(total, axis, rows)


def _slab_shape(windows: Windows) -> tuple[int, ...]:
    shape = list(windows.shape)
    shape[windows.axis] = windows.size[windows.axis]
    return tuple(shape)


def _inside(windows: Windows, position: tuple[int, ...]) -> tuple[slice, ...]:
    index = list(windows.region(position))
    index[windows.axis] = slice(0, windows.size[windows.axis])
    return tuple(index)


def _shift(array: Array, axis: int, rows: int) -> None:
    """Move an array by `rows` towards its start, in place, and fill the end with zeros."""
    lines = np.moveaxis(array, axis, 0)
    left = len(lines) - rows
    for index in range(left):
        lines[index] = lines[index + rows]
    lines[left:] = 0


def _cropped(slab: Slab, kept: tuple[slice, ...], axis: int) -> Slab | None:
    """Remove the padding of a slab."""
    rows = slab.array.shape[axis + 1]
    low = max(slab.start, kept[axis].start)
    high = min(slab.start + rows, kept[axis].stop)
    if low >= high:
        return None
    index = [slice(None), *kept]
    index[axis + 1] = slice(low - slab.start, high - slab.start)
    return Slab(low - kept[axis].start, slab.array[tuple(index)])
