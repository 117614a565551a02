"""Where the voxels of a resampled grid lie in the grid that they are sampled from."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Sampling(NamedTuple):
    """A grid whose voxel i lies at i * `ratio` + `offset` of another one, along each axis.

    Parameters
    ----------
    shape
        Voxels of the grid.
    ratio, offset
        In voxels of the other grid.
    """

    shape: tuple[int, ...]
    ratio: tuple[float, ...]
    offset: tuple[float, ...]

    @property
    def same(self) -> bool:
        """Whether its voxels are those of the other grid, from the first one on."""
        return set(self.ratio) == {1.0} and set(self.offset) == {0.0}

    def inverse(self, shape: Sequence[int]) -> "Sampling":
        """Return the other grid, of this shape, seen from this one."""
        ratio = np.array(self.ratio)
        offset = -np.array(self.offset) / ratio
        return Sampling(tuple(shape), tuple((1 / ratio).tolist()), tuple(offset.tolist()))


def same_extent(shape: Sequence[int], target: Sequence[int]) -> Sampling:
    """Return the grid of shape `target` whose outer edges are those of a grid of shape `shape`."""
    ratio = np.array(shape, float) / np.array(target, float)
    offset = 0.5 * (ratio - 1)
    return Sampling(tuple(target), tuple(ratio.tolist()), tuple(offset.tolist()))
