"""A volume with its geometry, and the one way in and out of files.

Conventions, named once: arrays are indexed z, y, x (or y, x); `spacing` follows the array's axes;
`origin` and `direction` are SimpleITK's, world coordinates x, y, z in mm, LPS.
"""

import gzip
import math
import os
import tempfile
import zlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from napari_graphflow.errors import UserError

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
        return ends.reshape(self.ndim, -1).T @ steps.T + np.array(self.origin)


def read_volume(path: str | os.PathLike[str]) -> Volume:
    """Read an image file or a DICOM folder.

    Raises
    ------
    UserError
        If the file is missing, damaged or of a kind that cannot be shown rightly.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"There is no file {path}.", "Check the path.")
    if path.is_dir():
        names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(path))
        if not names:
            raise UserError(f"The folder {path.name} holds no DICOM series.", "Choose another folder.")
        return _from_image(sitk.ReadImage(names))
    _check_gzip(path)
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError:
        raise UserError(
            f"{path.name} cannot be read: it is damaged or of an unknown format.",
            "Export the file again, as NIfTI, NRRD or MetaImage.",
        ) from None
    return _from_image(image)


def _check_gzip(path: Path) -> None:
    if path.suffix != ".gz":
        return
    try:
        with gzip.open(path) as stream:
            while stream.read(1 << 20):
                pass
    except (OSError, EOFError, zlib.error):
        raise UserError(f"{path.name} is cut off or damaged.", "Copy or export the file again.") from None


def _from_image(image: sitk.Image) -> Volume:
    channels = image.GetNumberOfComponentsPerPixel() > 1
    return Volume(
        sitk.GetArrayFromImage(image),
        image.GetSpacing()[::-1],
        image.GetOrigin(),
        image.GetDirection(),
        channels,
    )


def write_volume(path: str | os.PathLike[str], volume: Volume) -> None:
    """Write a volume beside its final place, read it back, compare, then rename."""
    path = Path(path)
    image = sitk.GetImageFromArray(np.ascontiguousarray(volume.array), isVector=volume.channels)
    image.SetSpacing(volume.spacing[::-1])
    image.SetOrigin(volume.origin)
    image.SetDirection(volume.direction)
    suffix = "".join(path.suffixes[-2:]) if path.name.endswith(".gz") else path.suffix
    handle, name = tempfile.mkstemp(prefix=".", suffix=suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        sitk.WriteImage(image, name, useCompression=True)
        back = read_volume(temporary)
        if not (np.array_equal(back.array, volume.array) and back.same_grid(volume)):
            raise UserError(f"{path.name} could not be stored without loss.", "Choose another format.")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_labels(path: str | os.PathLike[str], like: Volume | None = None) -> Volume:
    """Read a mask as unsigned integers, on the grid of `like` if given."""
    volume = read_volume(path)
    array = np.rint(volume.array)
    values = np.unique(array)
    if like is not None and volume.shape != like.shape:
        raise UserError(
            f"The mask {Path(path).name} has shape {volume.shape} but its image {like.shape}.",
            "Choose the mask that belongs to this image.",
        )
    if values.tolist() in ([0, 255], [255]):
        array = array > 0
    largest = int(values.max(initial=0))
    return volume.with_array(array.astype(np.min_scalar_type(max(largest, 1))))


def write_labels(path: str | os.PathLike[str], labels: NDArray[Any], like: Volume) -> None:
    """Write a mask with the geometry of `like`, in the smallest unsigned integer type."""
    largest = int(labels.max(initial=0))
    write_volume(path, like.with_array(labels.astype(np.min_scalar_type(max(largest, 1)))))


def describe(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Tell what a file is, for ``volumes info``."""
    volume = read_volume(path)
    finite = volume.array[np.isfinite(volume.array)] if volume.array.size else volume.array
    return {
        "shape": list(volume.shape),
        "spacing": list(volume.spacing),
        "origin": list(volume.origin),
        "direction": list(volume.direction),
        "orientation": volume.orientation,
        "type": str(volume.array.dtype),
        "range": [float(finite.min()), float(finite.max())] if finite.size else [math.nan] * 2,
        "warnings": list(volume.warnings),
    }
