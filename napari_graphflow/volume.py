"""A volume with its geometry, and the one way in and out of files.

Conventions, named once: arrays are indexed z, y, x (or y, x); `spacing` follows the array's axes;
`origin` and `direction` are SimpleITK's, world coordinates x, y, z in mm, LPS.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_graphflow import dicom
from napari_graphflow.errors import UserError
from napari_graphflow.formats import PICTURES, load, sniff
from napari_graphflow.formats.voxels import AGAIN, Geometry, Loaded, looked_at
from napari_graphflow.formats.writing import write
from napari_graphflow.masks import as_labels, write_class_names

Pathlike = str | os.PathLike[str]
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


def read_volume(path: Pathlike, *, series: str = "", resample: bool = False) -> Volume:
    """Read an image: a file of any supported format, or a folder that holds a DICOM series.

    Parameters
    ----------
    path
        The file or folder.
    series
        Description or number (from 1) of the DICOM series, where a folder holds several.
    resample
        Whether DICOM slices that do not make a box may be resampled, where that is sound.

    Raises
    ------
    UserError
        If there is nothing to read, if it is damaged, or if it cannot be shown rightly.
    """
    path = existing(path)
    with speaking(path):
        if (kind := kind_of(path)) == "DICOM":
            return _read_dicom(path, series, resample)
        return _volume(looked_at(load(path, kind)))


def read_series(series: dicom.Series, *, resample: bool = False) -> Volume:
    """Read one of the series that :func:`napari_graphflow.dicom.list_series` found.

    Raises
    ------
    UserError
        With the problem of the series, if it has one and may not be or cannot be resampled.
    """
    with speaking(series.files[0]):
        return _volume(looked_at(dicom.load(series, resampled=resample)))


def write_volume(path: Pathlike, volume: Volume, *, overwrite: bool = True) -> None:
    """Write a volume with its geometry: first beside its place, then read back, compared, renamed.

    Raises
    ------
    UserError
        If the format cannot keep the voxels and the geometry without loss, or the disk or the
        folder refuses. Whatever was there before is then untouched.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise UserError(f"There is already a file {path.name}.", "Choose another name.")
    with speaking(path, writing=True):
        geometry = Geometry(volume.spacing[::-1], volume.origin, volume.direction)
        write(path, Loaded(volume.array, geometry, volume.channels))


def read_labels(path: Pathlike, like: Volume | None = None) -> Volume:
    """Read a mask as labels of the smallest unsigned type, whatever program it comes from.

    Parameters
    ----------
    path
        The file.
    like
        The image that the mask belongs to. A mask stored in another order of axes is brought to
        the image's; a picture takes over its geometry.

    Raises
    ------
    UserError
        If the values cannot be taken for labels, or the mask lies on another grid than `like`.
    """
    path = existing(path)
    with speaking(path):
        if (kind := kind_of(path)) == "DICOM":
            volume = replace(_read_dicom(path, "", False), warnings=())
        else:
            volume = _volume(load(path, kind, indices=True))
        picture = kind in PICTURES
        if like is not None:
            volume = _fitted(volume, like, path.name, picture)
        labels, said = as_labels(
            volume.array,
            name=path.name,
            channels=volume.channels,
            picture=picture,
            lossy=kind == "JPEG",
        )
    return replace(volume.with_array(labels), warnings=(*volume.warnings, *said))


def write_labels(
    path: Pathlike,
    labels: NDArray[Any],
    like: Volume,
    *,
    overwrite: bool = True,
    classes: Mapping[str, int] | None = None,
) -> None:
    """Write a mask on the grid of `like`, in the smallest unsigned type, as `write_volume` does.

    Names in `classes` are kept in ``NAME.labels.json`` beside it; None leaves what is there.
    """
    if labels.dtype.kind not in "iub" or (labels.size and labels.min() < 0):
        raise ValueError("labels must be whole numbers from 0 on")
    dtype = np.min_scalar_type(int(labels.max(initial=0)))
    write_volume(path, like.with_array(labels.astype(dtype, copy=False)), overwrite=overwrite)
    if classes is not None:
        with speaking(path := Path(path), writing=True):
            write_class_names(path, classes)


def existing(path: Pathlike) -> Path:
    """The path, if there is something."""
    path = Path(path)
    if not path.exists():
        raise UserError(f"There is no file or folder {path}.", "Check the path.")
    if not (path.is_file() or path.is_dir()):
        # A pipe or a device would keep us waiting for ever.
        raise UserError(f"{path} is neither a file nor a folder.", "Check the path.")
    return path


def kind_of(path: Path) -> str:
    """Name the format of a file; a folder can only hold DICOM."""
    return "DICOM" if path.is_dir() else sniff(path)


@contextmanager
def speaking(path: Path, writing: bool = False) -> Iterator[None]:
    """Turn what the system refuses into one sentence."""
    try:
        yield
    except MemoryError:
        raise UserError(
            f"The memory of this computer does not suffice for {path.name}.",
            "Close other programs, or crop the image first.",
        ) from None
    except PermissionError:
        what = f"{path.parent} cannot be written to" if writing else f"{path} cannot be read"
        raise UserError(f"{what}: permission is denied.", "Choose another place.") from None
    except OSError as error:
        reason = (error.strerror or "the system refuses").lower()
        verb = "written" if writing else "read"
        raise UserError(
            f"{path.name} cannot be {verb}: {reason}.",
            "Free some space or choose another disk." if writing else "Check the disk.",
        ) from None


def _read_dicom(path: Path, name: str, resample: bool) -> Volume:
    found = dicom.list_series(path)
    if not found:
        raise no_dicom(path)
    volume = read_series(chosen := dicom.choose(found, name), resample=resample)
    if path.is_file() and volume.ndim == 3 and chosen.count == 1:
        volume = replace(volume, warnings=(*volume.warnings, _ONE_SLICE))
    return volume


_ONE_SLICE = "This is one slice; open its folder to see the whole series."


def no_dicom(path: Path) -> UserError:
    """What to say of a file or folder without a DICOM image."""
    if path.name.upper() == "DICOMDIR":
        return UserError(f"{path.name} is a list of other files.", "Open the folder it lies in.")
    if path.is_dir():
        what = "only DICOM files that are no images or are damaged"
        held = what if dicom.has_dicom(path) else "no DICOM images"
        return UserError(f"The folder {path.name} holds {held}.", "Choose another folder.")
    return UserError(f"{path.name} is no DICOM image, or is damaged.", AGAIN)


def _volume(loaded: Loaded) -> Volume:
    geometry = loaded.geometry
    return Volume(
        loaded.array,
        tuple(geometry.spacing[::-1]),
        tuple(geometry.origin),
        tuple(geometry.direction),
        loaded.channels,
        loaded.warnings,
    )


def _fitted(labels: Volume, like: Volume, name: str, picture: bool) -> Volume:
    """Bring a mask to the grid of its image, if that needs no interpolation."""
    if labels.ndim == like.ndim == 3 and not picture and labels.orientation != like.orientation:
        turned = labels.oriented(like.orientation)
        if turned.shape == like.shape and _close(turned, like):
            labels = replace(turned, array=np.ascontiguousarray(turned.array))
    if labels.shape != like.shape:
        raise UserError(
            f"The mask {name} has the shape {_size(labels)}, but its image {_size(like)}.",
            "Choose the mask that was drawn on this image.",
        )
    if not picture and not _close(labels, like):
        apart = np.linalg.norm(labels.corners() - like.corners(), axis=1).max()
        raise UserError(
            f"The mask {name} lies elsewhere than its image: up to {apart:.3g} mm apart.",
            "Choose the mask that was drawn on this image, or resample it to the image.",
        )
    return replace(like.with_array(labels.array, labels.channels), warnings=labels.warnings)


def _close(labels: Volume, like: Volume) -> bool:
    """Programs round what they write: a tenth of a voxel is no other place."""
    return labels.same_grid(like, tolerance=0.1 * min(like.spacing))


def _size(volume: Volume) -> str:
    return " x ".join(map(str, volume.shape))
