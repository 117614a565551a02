"""An array with its geometry, as the rest of the program sees it."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: World axis and sign of an orientation letter: the way in which the index grows.
_LETTERS = {"L": (0, 1), "R": (0, -1), "P": (1, 1), "A": (1, -1), "S": (2, 1), "I": (2, -1)}


@dataclass(frozen=True)
class Volume:
    """An image or a mask with its place in the world.

    Attributes
    ----------
    array
        Shape (z, y, x) or (y, x), with a last axis of channels if `channels` is True.
    spacing
        Voxel size in mm, in the order of the array's spatial axes.
    origin
        World position (x, y, z or x, y) of the first voxel's centre in mm, LPS.
    direction
        Row-major direction matrix, 9 or 4 numbers; column i is the way of index axis i (x first).
    channels
        Whether the last axis holds channels.
    warnings
        Sentences that a reader wants the user to see.
    """

    array: NDArray[Any]
    spacing: tuple[float, ...]
    origin: tuple[float, ...]
    direction: tuple[float, ...]
    channels: bool = False
    warnings: tuple[str, ...] = ()

    @property
    def ndim(self) -> int:
        """Number of spatial axes."""
        return self.array.ndim - self.channels

    @property
    def shape(self) -> tuple[int, ...]:
        """Size along the spatial axes, in the array's order."""
        return self.array.shape[: self.ndim]

    @property
    def matrix(self) -> NDArray[np.float64]:
        """Direction as a matrix; column i belongs to index axis i, x first."""
        return np.array(self.direction, float).reshape(self.ndim, self.ndim)

    @cached_property
    def orientation(self) -> str:
        """Letters such as ``LPS``: where x, y and z grow to, the nearest for oblique volumes.

        Empty for 2D pictures, which have no place in a body.
        """
        if self.ndim != 3:
            return ""
        letters = [""] * 3
        size = np.abs(self.matrix)
        for _ in range(3):
            world, axis = np.unravel_index(np.argmax(size), size.shape)
            letters[axis] = ("LR", "PA", "SI")[world][int(self.matrix[world, axis] < 0)]
            size[world, :] = size[:, axis] = -1
        return "".join(letters)

    def with_array(self, array: NDArray[Any], channels: bool = False) -> "Volume":
        """Put another array, of the same spatial shape, in the same place."""
        spatial = array.shape[: array.ndim - channels]
        if spatial != self.shape:
            raise ValueError(f"the array has shape {spatial}, the volume {self.shape}")
        return replace(self, array=array, channels=channels)

    def oriented(self, code: str = "LPS") -> "Volume":
        """Permute and flip axes so that x, y, z grow as `code` says; no voxel is interpolated.

        The array of the result is a view. 2D volumes are returned as they are.
        """
        if self.ndim != 3 or code == self.orientation:
            return self
        sources = [
            next(i for i, own in enumerate(self.orientation) if _LETTERS[own][0] == world)
            for world in (_LETTERS[letter][0] for letter in code)
        ]
        flips = [self.orientation[i] != letter for i, letter in zip(sources, code, strict=True)]
        origin, matrix = np.array(self.origin), self.matrix
        steps = matrix * self.spacing[::-1]
        for i, flip in zip(sources, flips, strict=True):
            if flip:
                origin = origin + steps[:, i] * (self.shape[2 - i] - 1)
        columns = matrix[:, sources] * np.where(flips, -1.0, 1.0)
        order = [2 - i for i in reversed(sources)]
        array = self.array.transpose(*order, *range(3, self.array.ndim))
        array = array[tuple(slice(None, None, -1 if flip else 1) for flip in reversed(flips))]
        return replace(
            self,
            array=array,
            spacing=tuple(self.spacing[axis] for axis in order),
            origin=tuple(origin.tolist()),
            direction=tuple(columns.ravel().tolist()),
        )

    def same_grid(self, other: "Volume", tolerance: float = 1e-3) -> bool:
        """Tell whether all corners of both grids coincide within `tolerance` mm."""
        return self.shape == other.shape and bool(
            np.abs(self.corners() - other.corners()).max() <= tolerance
        )

    def corners(self) -> NDArray[np.float64]:
        """World positions of the corner voxels, shape (2^n, n)."""
        ends = np.array(np.meshgrid(*([0, size - 1] for size in self.shape[::-1])))
        steps = self.matrix * self.spacing[::-1]
        places: NDArray[np.float64] = ends.reshape(self.ndim, -1).T @ steps.T + self.origin
        return places
