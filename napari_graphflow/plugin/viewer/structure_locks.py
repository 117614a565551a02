"""Locked structures of a mask: what is painted over them comes back, within the same undo step."""

from collections.abc import Iterator
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from napari.layers import Labels
from numpy.typing import NDArray

Voxels = tuple[NDArray[Any], ...]
_locks: "WeakKeyDictionary[Labels, StructureLocks]" = WeakKeyDictionary()


class StructureLocks:
    """The locked labels of one layer; connected for as long as the layer lives."""

    def __init__(self, layer: Labels) -> None:
        self.locked: frozenset[int] = frozenset()
        self._steps: list[list[Any]] = []
        layer.events.paint.connect(self._painted)
        layer.events.labels_update.connect(self._written)

    def _painted(self, event: Any) -> None:
        """Correct a step; outside of `block_history`, napari announces it before it is written."""
        if self.locked and not self._correct(event.source, event.value):
            self._steps.append(event.value)

    def _written(self, event: Any) -> None:
        steps, self._steps = self._steps, []
        for step in steps:
            self._correct(event.source, step)

    def _correct(self, layer: Labels, step: list[Any]) -> bool:
        """Give locked structures back what a step took from them, and take what it gave them.

        The correction becomes the last part of the step, so that it is undone and redone with it.
        Returns whether the step was written already.
        """
        box = _box(step, layer.data.ndim)
        if box is None:
            return True
        locked = list(self.locked)
        now = np.array(layer.data[box])
        before = now.copy()
        for voxels, old in reversed(list(_changes(step))):
            before[tuple(one - part.start for one, part in zip(voxels, box, strict=True))] = old
        broken = (now != before) & (np.isin(before, locked) | np.isin(now, locked))
        if not broken.any():
            return bool((now != before).any())
        inside = np.nonzero(broken)
        voxels = tuple(one + part.start for one, part in zip(inside, box, strict=True))
        step.append((voxels, now[inside], before[inside]))
        layer.data[voxels] = before[inside]
        layer.refresh()
        return True


def locks_of(layer: Labels) -> StructureLocks:
    """Return the locks of a layer."""
    found = _locks.get(layer)
    if found is None:
        found = _locks[layer] = StructureLocks(layer)
    return found


def _changes(step: list[Any]) -> Iterator[tuple[Voxels, Any]]:
    """Yield the voxels of each part of a step of napari's history, and their values before it."""
    for part in step:
        if not hasattr(part, "slice_key"):  # of data_setitem
            yield part[0], part[1]
            continue
        shape = tuple(one.stop - one.start for one in part.slice_key)
        inside = np.nonzero(np.ones(shape, bool) if part.mask is None else part.mask)
        voxels = tuple(one + key.start for one, key in zip(inside, part.slice_key, strict=True))
        yield voxels, np.ravel(part.old_values)


def _box(step: list[Any], ndim: int) -> tuple[slice, ...] | None:
    """Return the part of the array that a step changed."""
    found = [voxels for voxels, _ in _changes(step) if len(voxels) and len(voxels[0])]
    if not found:
        return None
    return tuple(
        slice(
            min(int(voxels[axis].min()) for voxels in found),
            max(int(voxels[axis].max()) for voxels in found) + 1,
        )
        for axis in range(ndim)
    )
