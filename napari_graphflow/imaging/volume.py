"""An image array with its geometry."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_graphflow.errors import UserError

#: World axis (x, y, z in LPS) and sign of the direction of an orientation letter.
_LETTERS = {"L": (0, 1), "R": (0, -1), "P": (1, 1), "A": (1, -1), "S": (2, 1), "I": (2, -1)}


@dataclass(frozen=True)
class Turn:
    """A permutation and flips of an array's spatial axes.

    Attributes
    ----------
    order
        Old axis of each new axis.
    flips
        Whether each new axis is reversed.
    """

    order: tuple[int, ...]
    flips: tuple[bool, ...]

    def apply(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return a view with permuted and flipped axes; further axes, such as channels, stay."""
        turned = array.transpose(*self.order, *range(len(self.order), array.ndim))
        return turned[self._reversal]

    def undo(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return the view from which `apply` makes `array`."""
        back = np.argsort(self.order).tolist()
        return array[self._reversal].transpose(*back, *range(len(back), array.ndim))

    @property
    def _reversal(self) -> tuple[slice, ...]:
        return tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)


@dataclass(frozen=True)
class Volume:
    """An image or a mask with its position in physical space.

    Attributes
    ----------
    array
        Shape (z, y, x) or (y, x), with the channels as the last axis if `channels` is True.
    spacing
        Voxel size in mm, in the order of the array's spatial axes.
    origin
        Physical position (x, y, z or x, y) of the first voxel's centre in mm, LPS.
    direction
        Row-major direction matrix, 9 or 4 numbers; column i is the direction of index axis i, x
        first.
    channels
        Whether the last axis is the channel axis.
    warnings
        Warnings for the user, one sentence each.
    sized
        Whether the voxel size is known; the spacing of other images is 1 pixel.
    anatomical
        Whether the direction is that of a patient, unlike that of a photograph.
    modality
        Modality in the DICOM header, such as ``CT`` or ``MR``; empty if unknown.
    frame_of_reference
        Hash of the DICOM frame of reference, the patient's coordinate system; empty if unknown.
    """

    array: NDArray[Any]
    spacing: tuple[float, ...]
    origin: tuple[float, ...]
    direction: tuple[float, ...]
    channels: bool = False
    warnings: tuple[str, ...] = ()
    sized: bool = True
    anatomical: bool = True
    modality: str = ""
    frame_of_reference: str = ""

    @property
    def ndim(self) -> int:
        """Number of spatial axes."""
        return self.array.ndim - self.channels

    @property
    def shape(self) -> tuple[int, ...]:
        """Size along the spatial axes, in the order of the array."""
        return self.array.shape[: self.ndim]

    @property
    def matrix(self) -> NDArray[np.float64]:
        """Direction as a matrix; column i is the direction of index axis i, x first."""
        return np.array(self.direction, float).reshape(self.ndim, self.ndim)

    @cached_property
    def orientation(self) -> str:
        """Orientation code such as ``LPS``, the nearest one for oblique volumes.

        Empty for 2D images.
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
        """Return a volume with the same geometry and another array of the same spatial shape."""
        spatial = array.shape[: array.ndim - channels]
        if spatial != self.shape:
            raise ValueError(f"the array has shape {spatial}, the volume {self.shape}")
        return replace(self, array=array, channels=channels)

    def oriented(self, code: str = "LPS") -> "Volume":
        """Reorient to `code` by permuting and flipping axes, without interpolation.

        The array of the result is a view. 2D images are returned unchanged.
        """
        return self if self.ndim != 3 or code == self.orientation else self.turned(self.turn(code))

    def turn(self, code: str) -> Turn:
        """Return the permutation and flips of the axes that lead to an orientation code."""
        sources = [
            next(i for i, own in enumerate(self.orientation) if _LETTERS[own][0] == world)
            for world in (_LETTERS[letter][0] for letter in code)
        ]
        flips = [self.orientation[i] != letter for i, letter in zip(sources, code, strict=True)]
        return Turn(tuple(2 - i for i in reversed(sources)), tuple(reversed(flips)))

    def turned(self, turn: Turn) -> "Volume":
        """Permute and flip the axes, without interpolation; the array is a view."""
        last = self.ndim - 1
        sources = [last - axis for axis in reversed(turn.order)]
        flips = turn.flips[::-1]
        origin, matrix = np.array(self.origin), self.matrix
        steps = matrix * self.spacing[::-1]
        for i, flip in zip(sources, flips, strict=True):
            if flip:
                origin = origin + steps[:, i] * (self.shape[last - i] - 1)
        columns = matrix[:, sources] * np.where(flips, -1.0, 1.0)
        return replace(
            self,
            array=turn.apply(self.array),
            spacing=tuple(self.spacing[axis] for axis in turn.order),
            origin=tuple(origin.tolist()),
            direction=tuple(columns.ravel().tolist()),
        )

    def same_grid(self, other: "Volume", tolerance: float = 1e-3) -> bool:
        """Whether the corners of both grids coincide within `tolerance` mm."""
        return self.shape == other.shape and bool(
            np.abs(self.corners() - other.corners()).max() <= tolerance
        )

    def corners(self) -> NDArray[np.float64]:
        """Physical positions of the corner voxels in mm, shape (2^n, n)."""
        ends = np.array(np.meshgrid(*([0, size - 1] for size in self.shape[::-1])))
        steps = self.matrix * self.spacing[::-1]
        positions: NDArray[np.float64] = ends.reshape(self.ndim, -1).T @ steps.T + self.origin
        return positions


def as_volume(
    array: NDArray[Any],
    spacing: Sequence[float] | None,
    orientation: str = "LPS",
    *,
    channels: bool = False,
) -> Volume:
    """Return an array as a volume.

    Parameters
    ----------
    array
        (z, y, x) or (y, x), with the channels as the last axis if `channels` is True.
    spacing
        Voxel size in mm in the order of the array's axes; None if it is unknown.
    orientation
        Directions of increasing x, y and z, such as LPS. Not used for 2D images.

    Raises
    ------
    UserError
        If the number of axes, the spacing or the orientation is not valid.
    """
    axes = array.ndim - channels
    if axes not in (2, 3):
        raise UserError(
            f"An array of shape {array.shape} is neither a volume nor a 2D image.",
            "Pass (z, y, x) or (y, x), with several channels as the last axis.",
        )
    sides = (1.0,) * axes if spacing is None else tuple(map(float, spacing))
    if len(sides) != axes or not all(0 < side < np.inf for side in sides):
        raise UserError(
            f"The spacing {sides} is not one positive number per axis of {array.shape}.",
            "Write the voxel size in mm in the order of the array's axes.",
        )
    matrix = np.eye(axes)
    if axes == 3:
        code = orientation.upper()
        if sorted(_LETTERS.get(one, (-1, 0))[0] for one in code) != [0, 1, 2]:
            raise UserError(
                f"{orientation!r} is not an orientation.",
                "Write the directions of increasing x, y and z, such as LPS or RAS.",
            )
        matrix = np.zeros((3, 3))
        for axis, letter in enumerate(code):
            world, sign = _LETTERS[letter]
            matrix[world, axis] = sign
    direction = tuple(matrix.ravel().tolist())
    return Volume(
        array, sides, (0.0,) * axes, direction, channels,
        sized=spacing is not None, anatomical=axes == 3,
    )  # fmt: skip
