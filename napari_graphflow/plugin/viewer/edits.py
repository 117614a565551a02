"""What a person changed in a mask, so that no result replaces it without a question; without Qt.

A mask is compared with a packed copy of itself as it was opened or segmented. This finds every
edit: painted, undone, assigned, made by another tool or written into the array without an event.
"""

import time
import zlib
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from napari.components import ViewerModel
from napari.layers import Labels, Layer
from numpy.typing import NDArray

from napari_graphflow.plugin.viewer.layers import is_mask
from napari_graphflow.plugin.viewer.world import voxels

#: Metadata key of the model that made a mask.
MADE_BY = "graphflow_model"
_pool = ThreadPoolExecutor(1, thread_name_prefix="graphflow-edits")
_originals: "WeakKeyDictionary[Labels, _Original]" = WeakKeyDictionary()
_first_edits: "WeakKeyDictionary[Labels, float]" = WeakKeyDictionary()


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


def keep_original(layer: Labels, index: int | None = None) -> None:
    """Note that a mask, or one slice of it, is as a model left it; earlier edits are forgotten."""
    data = voxels(layer)
    if not isinstance(data, np.ndarray):
        return
    before = _originals.get(layer)
    if index is None or before is None or before.shape != data.shape:
        copy = np.array(data, order="C")
        _first_edits.pop(layer, None)
    else:
        copy = before.array().astype(data.dtype)
        copy[index] = data[index]
    _originals[layer] = _Original(copy.shape, copy.dtype, _pool.submit(_packed, copy))


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


def first_edit(layer: Labels) -> str:
    """Return the time of the first edit as ``14:05``, empty if it was not noticed."""
    when = _first_edits.get(layer)
    return "" if when is None else time.strftime("%H:%M", time.localtime(when))


def _packed(array: NDArray[Any]) -> bytes:
    return zlib.compress(array.tobytes(), 1)


def _inserted(event: Any) -> None:
    _follow(event.value)


def _follow(layer: Layer) -> None:
    if isinstance(layer, Labels) and is_mask(layer) and layer not in _originals:
        keep_original(layer)
        for event in (layer.events.paint, layer.events.labels_update, layer.events.data):
            event.connect(_edited)


def _edited(event: Any) -> None:
    _first_edits.setdefault(event.source, time.time())
