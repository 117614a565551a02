"""Test-time mirroring: the mean of the logits over all flips of a window, with any engine."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_graphflow.inference.engines import Array, Engine, OutputKind


class Mirrored:
    """An engine that also computes each window mirrored along all combinations of some axes.

    Parameters
    ----------
    engine
        The network.
    axes
        Spatial axes of the network's input, from 0.
    """

    def __init__(self, engine: Engine, axes: Sequence[int]) -> None:
        self._engine, self._axes = engine, tuple(axes)
        self.title = engine.title

    def compute(
        self, batches: Iterable[Array], kind: OutputKind, weights: Array | None = None
    ) -> Iterator[NDArray[Any]]:
        """Return the output of each batch, in order."""
        for batch in batches:
            # A 2D network receives slices, with an axis of one slice before its own.
            first = 2 + (batch.ndim - 2 > 2 and batch.shape[2] == 1)
            axes = [axis + first for axis in self._axes]
            flips = list(chain.from_iterable(combinations(axes, n) for n in range(len(axes) + 1)))
            mirrored = (np.ascontiguousarray(np.flip(batch, flip)) for flip in flips)
            outputs = self._engine.compute(mirrored, "logits")
            # Each output is valid until the next one is requested.
            logits = sum(
                np.flip(output, flip).astype(np.float32)
                for output, flip in zip(outputs, flips, strict=True)
            ) / len(flips)
            yield _converted(np.asarray(logits, np.float32), kind, weights)

    def batch_size(self, voxels: int) -> int:
        """Return the number of windows of `voxels` to compute at once."""
        return self._engine.batch_size(voxels)

    def peak_bytes(self) -> int:
        """Return the peak memory of the device or process."""
        return self._engine.peak_bytes()


def _converted(logits: Array, kind: OutputKind, weights: Array | None) -> NDArray[Any]:
    if weights is not None:
        logits = logits * weights
    if kind == "labels":
        dtype = np.uint8 if logits.shape[1] <= 256 else np.int32
        labels: NDArray[Any] = logits.argmax(1)[:, None].astype(dtype)
        return labels
    if kind == "probabilities":
        exponentials: Array = np.exp(logits - logits.max(1, keepdims=True))
        exponentials /= exponentials.sum(1, keepdims=True)
        return exponentials
    return logits
