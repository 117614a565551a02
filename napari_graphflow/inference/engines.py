"""What computes the windows of a volume: a protocol, and the choice between torch and OpenVINO.

Without torch: a student with its OpenVINO form is run without it.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
#: ``labels`` are the class indices (1, *window) of the largest logits.
OutputKind = Literal["logits", "probabilities", "labels"]


class Engine(Protocol):
    """A loaded network.

    Attributes
    ----------
    title
        The device and the library, such as ``CPU, OpenVINO``.
    """

    title: str

    def compute(
        self, batches: Iterable[Array], kind: OutputKind, weights: Array | None = None
    ) -> Iterator[NDArray[Any]]:
        """Return the output of each batch, in order.

        Parameters
        ----------
        batches
            (n, C, *window) each, all windows of one size, which may have a leading axis of one
            slice for a 2D network.
        kind
            What to return, (n, K, *window) or (n, 1, *window).
        weights
            Factors of a window's voxels, for logits.

        Yields
        ------
        output
            Valid until the next one is requested.
        """

    def batch_size(self, voxels: int) -> int:
        """Return the number of windows of `voxels` to compute at once."""

    def peak_bytes(self) -> int:
        """Return the peak memory of the device or process."""
