"""From a preprocessed array to class indices on another grid, in the memory of a few slabs."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_graphflow.imaging.restoring import LabelMap
from napari_graphflow.imaging.sampling import Sampling, same_extent
from napari_graphflow.inference.engines import Array, Engine, OutputKind
from napari_graphflow.inference.windows import Slab, Windows, gaussian_weights, plan_windows, slabs

OVERLAP = 0.5
#: Images of up to this number of patches are run in one window: faster, and without seams.
WHOLE = 4

Progress = Callable[[int, int], None]
Cancelled = Callable[[], bool]


class InferenceCancelled(Exception):
    """Raised between two windows if the caller requested cancellation."""


def window_size(shape: Sequence[int], patch_size: Sequence[int]) -> tuple[int, ...]:
    """Return the window for an image: its size if it is small, otherwise the training patch."""
    return tuple(shape if math.prod(shape) <= WHOLE * math.prod(patch_size) else patch_size)


def label_array(
    engine: Engine,
    array: Array,
    patch_size: Sequence[int],
    target: Sequence[int] | Sampling,
    classes: int,
    *,
    overlap: float = OVERLAP,
    whole: bool = True,
    even: bool = False,
    probabilities: NDArray[np.floating] | None = None,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
) -> NDArray[np.integer]:
    """Return the class of each voxel on another grid.

    Parameters
    ----------
    engine
        The network.
    array
        (C, *spatial), preprocessed.
    patch_size
        Of training. With fewer axes than the array, the windows are slices along its first axis.
    target
        Spatial shape of the result, over the same extent; or where its voxels lie.
    classes
        Number of classes K.
    overlap
        Of the windows.
    whole
        Whether images of up to `WHOLE` patches are run in one window; otherwise every window has
        the size of a patch.
    even
        As for :func:`napari_graphflow.inference.windows.plan_windows`.
    probabilities
        Receives the probabilities (K, *target), if given.
    progress
        Called with the number of finished windows and their total.
    cancelled
        Called between windows; True raises :class:`InferenceCancelled`.
    """
    shape = array.shape[1:]
    grid = target if isinstance(target, Sampling) else same_extent(shape, target)
    restored = not grid.same or probabilities is not None
    windows, merged, kind = _merged(
        engine,
        array,
        patch_size,
        overlap,
        "probabilities" if restored else "labels",
        whole=whole,
        even=even,
        progress=progress,
        cancelled=cancelled,
    )
    if restored:
        label_map = LabelMap(shape, grid, classes, windows.axis, probabilities)
        for slab in merged:
            soft = softmax(slab.array) if kind == "logits" else slab.array
            label_map.add(slab.start, soft)
        return label_map.labels
    labels: NDArray[Any] = np.empty(shape, np.uint8 if classes <= 256 else np.uint16)
    lines = np.moveaxis(labels, windows.axis, 0)
    for slab in merged:
        found = slab.array.argmax(0) if kind == "logits" else slab.array[0]
        rows = np.moveaxis(found, windows.axis, 0)
        lines[slab.start : slab.start + len(rows)] = rows
    return labels


def logits_array(
    engine: Engine,
    array: Array,
    patch_size: Sequence[int],
    classes: int,
    *,
    overlap: float = OVERLAP,
    whole: bool = True,
    even: bool = False,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
) -> Array:
    """Return the logits (K, *spatial) of a preprocessed array; parameters of `label_array`."""
    windows, merged, _ = _merged(
        engine,
        array,
        patch_size,
        overlap,
        "logits",
        whole=whole,
        even=even,
        progress=progress,
        cancelled=cancelled,
    )
    logits = np.empty((classes, *array.shape[1:]), np.float32)
    lines = np.moveaxis(logits, windows.axis + 1, 0)
    for slab in merged:
        rows = np.moveaxis(slab.array, windows.axis + 1, 0)
        lines[slab.start : slab.start + len(rows)] = rows
    return logits


def _merged(
    engine: Engine,
    array: Array,
    patch_size: Sequence[int],
    overlap: float,
    wanted: OutputKind,
    *,
    whole: bool,
    even: bool,
    progress: Progress | None,
    cancelled: Cancelled | None,
) -> tuple[Windows, Iterator[Slab], OutputKind]:
    """Return the windows of an array, its merged slabs, and what these are.

    They are logits where windows overlap, otherwise what is wanted; logits for labels are not
    divided by the weights of their voxel.
    """
    shape = array.shape[1:]
    slices = len(shape) > len(patch_size)
    size = window_size(shape[slices:], patch_size) if whole else tuple(patch_size)
    windows = plan_windows(
        shape, (1, *size) if slices else size, overlap, axis=0 if slices else None, even=even
    )
    weights = gaussian_weights(windows.size, even=even) if windows.overlapping else None
    kind: OutputKind = wanted if weights is None else "logits"

    def compute(batches: Iterable[Array]) -> Iterator[NDArray[Any]]:
        return engine.compute(_until(batches, cancelled), kind, weights)

    merged = slabs(
        array,
        windows,
        compute,
        batch=engine.batch_size(math.prod(size)),
        weights=weights,
        averaged=wanted != "labels",
        reuse=True,
        done=_report(progress, len(windows.positions)),
    )
    return windows, merged, kind


def softmax(logits: NDArray[np.floating]) -> Array:
    """Return the softmax of (K, ...) over its first axis."""
    exponentials: Array = np.exp(logits - logits.max(0))
    exponentials /= exponentials.sum(0)
    return exponentials


def _until(batches: Iterable[Array], cancelled: Cancelled | None) -> Iterator[Array]:
    for batch in batches:
        if cancelled is not None and cancelled():
            raise InferenceCancelled
        yield batch


def _report(progress: Progress | None, total: int) -> Callable[[int], None]:
    return lambda count: None if progress is None else progress(count, total)
