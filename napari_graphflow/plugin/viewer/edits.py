"""What a person changed in a mask, so that no result replaces it without a question; without Qt.

A mask is compared with a packed copy of itself as it was opened or segmented. This finds every
edit: painted, undone, assigned, made by another tool or written into the array without an event.
Which model made which slice is known of the layer itself, not of its metadata, which napari copies
when it duplicates a layer: a duplicate is a mask of a person.
"""

import time
import zlib
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

import numpy as np
from napari.components import ViewerModel
from napari.layers import Labels, Layer
from numpy.typing import NDArray

from napari_graphflow.plugin.viewer.layers import is_mask
from napari_graphflow.plugin.viewer.world import voxels

_pool = ThreadPoolExecutor(1, thread_name_prefix="graphflow-edits")
_originals: "WeakKeyDictionary[Labels, _Original]" = WeakKeyDictionary()
_first_edits: "WeakKeyDictionary[Labels, float]" = WeakKeyDictionary()
#: The model that made each slice along the first axis of a mask, empty for those of others.
_makers: "WeakKeyDictionary[Labels, list[str]]" = WeakKeyDictionary()
_followed: "WeakSet[Labels]" = WeakSet()


@dataclass(frozen=True)
class _Original:
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    packed: Future[bytes]

    def array(self) -> NDArray[Any]:
        data = zlib.decompress(self.packed.result())
        return np.frombuffer(data, self.dtype).reshape(self.shape)


def follow_edits(viewer: ViewerModel) -> None:
    """Keep masks of a viewer as they are now, and those that are added as they are then."""
    for layer in viewer.layers:
        _follow(layer)
    viewer.layers.events.inserted.connect(_inserted)


def keep_result(layer: Labels, model: str, index: int | None = None) -> None:
    """Note that a mask, or one slice of it, is as a model left it; earlier edits are forgotten."""
    _makers[layer] = [
        model if index in (None, number) else maker
        for number, maker in enumerate(_makers_of(layer))
    ]
    _keep(layer, index)


def keep_original(layer: Labels, array: NDArray[Any]) -> None:
    """Note what a mask was opened as, before it is added to a viewer, which would copy it.

    `array` has the shape of the mask and is not changed afterwards.
    """
    _originals[layer] = _Original(array.shape, array.dtype, _pool.submit(_packed, array))


def edited_voxels(layer: Labels, index: int | None = None) -> int:
    """Return how many voxels of a mask, or of one slice, differ from the original.

    All that are not background if there is no original, as for arrays on disk.
    """
    before, data = _originals.get(layer), voxels(layer)
    now = np.asarray(data if index is None else data[index])
    if before is None or before.shape != tuple(data.shape):
        return int(np.count_nonzero(now))
    then = before.array()
    return int(np.count_nonzero(now != (then if index is None else then[index])))


def voxels_of_others(layer: Labels, model: str, index: int | None = None) -> int:
    """Return how many voxels of a mask, or of one slice, are not background nor made by a model."""
    data, makers = voxels(layer), _makers_of(layer)
    chosen = range(len(makers)) if index is None else [index]
    return sum(int(np.count_nonzero(data[one])) for one in chosen if makers[one] != model)


def maker_of(layer: Labels) -> str:
    """Return what made a mask, as given to `keep_result`; empty if nothing or several did."""
    makers = set(_makers.get(layer, []))
    return makers.pop() if len(makers) == 1 else ""


def first_edit(layer: Labels) -> str:
    """Return the time of the first edit as ``14:05``, empty if it was not noticed."""
    when = _first_edits.get(layer)
    return "" if when is None else time.strftime("%H:%M", time.localtime(when))


def _makers_of(layer: Labels) -> list[str]:
    size, makers = len(voxels(layer)), _makers.get(layer, [])
    return makers if len(makers) == size else [""] * size


def _keep(layer: Labels, index: int | None = None) -> None:
    """Keep a mask, or one slice of it, as it is now."""
    data = voxels(layer)
    if not isinstance(data, np.ndarray):
        return
    if index is None:
        copy = np.array(data, order="C")
        _first_edits.pop(layer, None)
    else:
        before = _originals.get(layer)
        known = before is not None and before.shape == data.shape
        # Slices without an original count as edited, wherever they are not background.
        copy = before.array().astype(data.dtype) if before and known else np.zeros_like(data)
        copy[index] = data[index]
    _originals[layer] = _Original(copy.shape, copy.dtype, _pool.submit(_packed, copy))


def _packed(array: NDArray[Any]) -> bytes:
    return zlib.compress(array.tobytes(), 1)


def _inserted(event: Any) -> None:
    _follow(event.value)


def _follow(layer: Layer) -> None:
    if isinstance(layer, Labels) and is_mask(layer) and layer not in _followed:
        _followed.add(layer)
        if layer not in _originals:
            _keep(layer)
        for event in (layer.events.paint, layer.events.labels_update, layer.events.data):
            event.connect(_edited)


def _edited(event: Any) -> None:
    _first_edits.setdefault(event.source, time.time())
