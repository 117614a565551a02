"""The recorded place of a layer in the space of the scanner, in ``layer.metadata["graphflow"]``."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from napari.layers import Layer
from numpy.typing import NDArray

from napari_graphflow.imaging.volume import Volume
from napari_graphflow.plugin.viewer.world import Matrix, grid_shape, whole_offset, world_matrix

KEY = "graphflow"


@dataclass(frozen=True)
class Placement:
    """The place of the shown array of a layer in physical space.

    Attributes
    ----------
    shape, spacing
        Size in voxels and voxel size in mm, in the order of the array's axes.
    origin, direction
        As in :class:`~napari_graphflow.imaging.volume.Volume`, of the shown array.
    orientation
        Orientation code of the file; empty if it is that of the shown array.
    path, series
        File or folder of the image and key of its DICOM series; empty if unknown.
    sized, anatomical, modality, frame_of_reference
        As in :class:`~napari_graphflow.imaging.volume.Volume`.
    transform
        The world matrix of the layer for which the place is valid, row by row; empty for the
        spacing alone.
    """

    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    origin: tuple[float, ...]
    direction: tuple[float, ...]
    orientation: str = ""
    path: str = ""
    series: str = ""
    sized: bool = True
    anatomical: bool = True
    modality: str = ""
    frame_of_reference: str = ""
    transform: tuple[float, ...] = ()

    def volume(self, array: NDArray[Any], channels: bool = False) -> Volume:
        """Return the shown array as a volume in the orientation of its file."""
        shown = self.grid().with_array(array, channels)
        return shown.oriented(self.orientation or shown.orientation)

    def shown(self, volume: Volume) -> Volume:
        """Return a volume on the grid of the file in the order of the shown array."""
        return volume.oriented(self.grid().orientation)

    def matrix(self) -> Matrix:
        """Return the transform from voxels to mm in physical space, both in the order z, y, x."""
        ndim = len(self.shape)
        matrix = np.eye(ndim + 1)
        matrix[:ndim, :ndim] = (self.grid().matrix * self.spacing[::-1])[::-1, ::-1]
        matrix[:ndim, ndim] = self.origin[::-1]
        return matrix

    def frame(self) -> Matrix:
        """Return the world matrix of the layer for which the place is valid."""
        size = len(self.spacing) + 1
        if len(self.transform) == size**2:
            return np.array(self.transform, float).reshape(size, size)
        return np.diag([*self.spacing, 1.0])

    def at(self, layer: Layer) -> "Placement":
        """Return the place as that of a layer at its present transform."""
        return replace(self, transform=tuple(world_matrix(layer).ravel().tolist()))

    def cut(self, start: Sequence[int], shape: Sequence[int]) -> "Placement":
        """Return the place of a box of voxels that begins at the voxel `start`."""
        origin = (self.matrix() @ [*start, 1.0])[-2::-1]
        return replace(self, shape=tuple(shape), origin=tuple(origin.tolist()), transform=())

    def same_as(self, other: "Placement", tolerance: float = 1e-3) -> bool:
        """Whether the voxels of both are at the same positions in mm, whatever the file."""
        return self.grid().same_grid(other.grid(), tolerance)

    def grid(self) -> Volume:
        """Return the place as a volume without voxels of its own."""
        nothing = np.broadcast_to(np.uint8(0), self.shape)
        return Volume(
            nothing,
            self.spacing,
            self.origin,
            self.direction,
            sized=self.sized,
            anatomical=self.anatomical,
            modality=self.modality,
            frame_of_reference=self.frame_of_reference,
        )


def placement_keywords(place: Placement) -> dict[str, Any]:
    """Return the layer keywords with which a placed array is shown."""
    ndim = len(place.shape)
    return {
        "scale": place.spacing,
        "units": ("mm" if place.sized else "pixel",) * ndim,
        "axis_labels": ("z", "y", "x")[-ndim:],
        "metadata": {KEY: asdict(place)},
    }


def recorded(layer: Layer) -> Placement | None:
    """Return the place recorded when a layer was opened, or None for a layer of another tool."""
    return placement_from(layer.metadata.get(KEY))


def placement_from(found: Any) -> Placement | None:
    """Return a place from the metadata of a layer or from JSON, None if it is none."""
    if not isinstance(found, Mapping) or "direction" not in found:
        return None
    names = ("shape", "spacing", "origin", "direction", "transform")
    numbers: dict[str, Any] = {name: tuple(found.get(name) or ()) for name in names}
    texts = ("orientation", "path", "series", "modality", "frame_of_reference")
    known: dict[str, Any] = {name: str(found.get(name) or "") for name in texts}
    flags = {name: bool(found.get(name, True)) for name in ("sized", "anatomical")}
    return Placement(**(numbers | known | flags))


def is_at(layer: Layer, place: Placement) -> bool:
    """Whether the transform of a layer is still the one with which it was opened."""
    if len(place.spacing) != layer.ndim:
        return False
    offset = whole_offset(world_matrix(layer), place.frame(), grid_shape(layer))
    return offset is not None and not any(offset)


def has_spacing(layer: Layer, place: Placement) -> bool:
    """Whether a layer was at most moved and turned: its voxels have the size of its place."""
    ndim = layer.ndim
    now, then = world_matrix(layer)[:ndim, :ndim], place.frame()[:ndim, :ndim]
    return bool(np.allclose(now.T @ now, then.T @ then, rtol=1e-3, atol=1e-6 * np.abs(then).max()))


def valid_record(layer: Layer) -> Placement | None:
    """Return the recorded place of a layer that is as it was opened."""
    known = recorded(layer)
    valid = known is not None and known.shape == grid_shape(layer) and is_at(layer, known)
    return known if valid else None
