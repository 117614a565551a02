"""Where a layer lies in the space of the scanner: the one derivation for all uses.

A layer of this plugin shows its voxels in LPS order with `scale` alone, because napari cannot show
an oblique affine in a slice; napari's world is then mm from its first voxel along its own axes. Its
true place is recorded in ``layer.metadata["graphflow"]``. A place is valid only for the grid for
which it was recorded, so what was moved, turned, sheared, stretched or cropped since then is placed
relative to an image of its own viewer, or refused with the reason.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer
from numpy.typing import NDArray

from napari_graphflow.errors import UserError
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.plugin.viewer.world import (
    Matrix,
    grid_shape,
    is_inside,
    unit_factors,
    voxel_offset,
    whole_offset,
    world_matrix,
)

KEY = "graphflow"
#: Metadata key of layers that are derived from another layer; its value is the name of that layer.
DERIVED = "graphflow_derived_from"
#: Axes of a matrix are orthogonal to this cosine; 0.05 voxels over 500.
_ORTHOGONAL = 1e-4
#: Programs round the geometry in their headers, by less than this part of a voxel.
_ROUNDED = 0.1

Choose = Callable[[Labels, list[Image]], Image | None]


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


def image_placement(layer: Image, layers: Iterable[Layer] | None = None) -> Placement:
    """Return where an image lies.

    Parameters
    ----------
    layer
        The image. Opened by this plugin, it has its recorded place, if it is still there. A part of
        such an image, as a crop tool makes it, is placed within it; any other image lies where
        its full transform puts it, in mm.
    layers
        The layers among which an image of which it is a part is searched, by default those of its
        own viewer.

    Raises
    ------
    UserError
        If it was moved or cropped since it was opened, is sheared, or could be a part of several.
    """
    known = recorded(layer)
    if known is not None and known.shape == grid_shape(layer) and not is_at(layer, known):
        raise UserError(
            f"{layer.name} was moved, turned or stretched in napari since it was opened, so its "
            "position is unknown.",
            "Reset its transform, or open it again.",
        )
    return grid_placement(layer, layers)


def grid_placement(layer: Image, layers: Iterable[Layer] | None = None) -> Placement:
    """Return where the voxels of an image lie, wherever the layer was moved in the viewer.

    This is the place of masks that lie on the image, since both may have been moved together.

    Raises
    ------
    UserError
        If it was cropped since it was opened, is sheared, or could be a part of several images.
    """
    check_dimensions(layer)
    shape, known = grid_shape(layer), recorded(layer)
    if known is not None and known.shape == shape:
        return known
    parents = [
        (other, place)
        for other in _images(layer, layers)
        if (place := recorded(other)) is not None and place.shape == grid_shape(other)
    ]
    found = [place.cut(start, shape) for other, place in parents for start in _inside(layer, other)]
    if known is not None and not is_at(layer, known):
        start = whole_offset(world_matrix(layer), known.frame(), shape)
        if start is not None and is_inside(start, shape, known.shape):
            found.append(known.cut(start, shape))
    if found and (known is None or not is_at(layer, known)):
        return _only(found, layer)
    if known is not None:
        raise UserError(
            f"The voxels of {layer.name} were replaced by an array of another shape in napari, so "
            "their position is unknown.",
            "Open it again, and crop it with a tool that sets the translation of its layer.",
        )
    own = _from_transform(layer)
    if any(not _is_plain(place) for _, place in parents):
        raise UserError(
            f"{layer.name} does not lie on the voxels of any image opened by this plugin, so it is "
            "unknown whether its position is relative to one of them.",
            "Open it by this plugin, or in a viewer of its own.",
        )
    return own


def mask_placement(
    layer: Labels, layers: Iterable[Layer] | None = None, choose: Choose | None = None
) -> Placement:
    """Return where a mask lies: as recorded, or as the image on which it lies.

    Parameters
    ----------
    layer
        The mask.
    layers
        The layers among which its image is searched, by default those of its own viewer.
    choose
        Called to choose between several matching images at different positions.

    Raises
    ------
    UserError
        If no image matches, if several do and none is chosen, or if it was moved or cropped.
    """
    check_dimensions(layer)
    shape, known = grid_shape(layer), recorded(layer)
    if known is not None and is_at(layer, known):
        if known.shape == shape:
            return known
        raise UserError(
            f"The voxels of {layer.name} were replaced by an array of another shape in napari, so "
            "their position is unknown.",
            "Open it again, and crop it with a tool that sets the translation of its layer.",
        )
    layers = list(_neighbours(layer) if layers is None else layers)
    images = list(_images(layer, layers))
    on = [image for image in images if _coincide(layer, image)]
    if on:
        return _chosen([(one, grid_placement(one, layers)) for one in on], layer, choose)
    for image in images:
        if grid_shape(image) == shape:
            raise UserError(
                f"{layer.name} was moved, turned or scaled in napari: it does not lie on "
                f"{image.name}, which has the same shape.",
                "Reset its transform to that of the image.",
            )
    parts = [
        (image, grid_placement(image, layers).cut(start, shape))
        for image in images
        for start in _inside(layer, image)
    ]
    if parts:
        return _chosen(parts, layer, choose)
    if known is not None:
        raise UserError(
            f"{layer.name} was moved, turned or cropped in napari since it was opened, and no open "
            "image has its grid.",
            "Reset its transform, or open its image.",
        )
    raise UserError(
        f"No open image has the grid of {layer.name}, so its position in space is unknown.",
        "Open the image it was painted on, then save again.",
    )


def same_place(layer: Layer, other: Layer) -> bool:
    """Whether two layers have the same shape and the same voxels.

    Their voxels fall together in napari's world, and no record says that they were opened at
    different positions, as the masks of two patients may have been.
    """
    if not _coincide(layer, other):
        return False
    places = [known for one in (layer, other) if (known := _valid_record(one)) is not None]
    return len(places) < 2 or places[0].same_as(places[1], _ROUNDED * min(places[0].spacing))


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


def viewer_of(layer: Layer) -> ViewerModel | None:
    """Return the viewer that holds a layer, or None."""
    layer = getattr(layer, "__wrapped__", layer)
    for emitter in layer.events.emitters.values():
        for callback in emitter.callbacks:
            owner = callback[0]() if isinstance(callback, tuple) else None
            if isinstance(owner, ViewerModel) and any(one is layer for one in owner.layers):
                return owner
    return None


def check_dimensions(layer: Layer) -> None:
    """Refuse a layer that is neither 2D nor 3D.

    Raises
    ------
    UserError
        If it has another number of dimensions.
    """
    if layer.ndim in (2, 3):
        return
    what = "mask" if isinstance(layer, Labels) else "image"
    raise UserError(
        f"{layer.name} has {layer.ndim} dimensions, such as time, and is not one {what} in 2D or "
        "3D.",
        "Take one time point out of it as a layer of its own.",
    )


def _coincide(layer: Layer, other: Layer) -> bool:
    if layer.ndim != other.ndim or grid_shape(layer) != grid_shape(other):
        return False
    offset = voxel_offset(layer, other)
    return offset is not None and not any(offset)


def _valid_record(layer: Layer) -> Placement | None:
    """Return the recorded place of a layer that is as it was opened."""
    known = recorded(layer)
    valid = known is not None and known.shape == grid_shape(layer) and is_at(layer, known)
    return known if valid else None


def _neighbours(layer: Layer) -> list[Layer]:
    viewer = viewer_of(layer)
    return [] if viewer is None else list(viewer.layers)


def _images(layer: Layer, layers: Iterable[Layer] | None) -> list[Image]:
    """Return the other images of the same dimensions, without derived maps."""
    layer = getattr(layer, "__wrapped__", layer)
    found = _neighbours(layer) if layers is None else layers
    others = [getattr(one, "__wrapped__", one) for one in found]
    return [
        one
        for one in others
        if isinstance(one, Image)
        and one is not layer
        and DERIVED not in one.metadata
        and one.ndim == layer.ndim
    ]


def _inside(layer: Layer, image: Layer) -> list[tuple[int, ...]]:
    """Return the first voxel of a layer in an image that contains it exactly, else nothing."""
    start = voxel_offset(layer, image)
    inside = start is not None and is_inside(start, grid_shape(layer), grid_shape(image))
    return [start] if start is not None and inside else []


def _only(places: list[Placement], layer: Layer) -> Placement:
    if all(place.same_as(places[0]) for place in places):
        return places[0]
    raise UserError(
        f"{layer.name} could be a part of several open images at different positions.",
        "Close the images to which it does not belong.",
    )


def _chosen(
    places: list[tuple[Image, Placement]], layer: Labels, choose: Choose | None
) -> Placement:
    images = [image for image, _ in places]
    if all(place.same_as(places[0][1]) for _, place in places):
        return places[0][1]
    chosen = choose(layer, images) if choose else None
    for image, place in places:
        if image is chosen:
            return place
    raise UserError(
        f"{layer.name} matches {len(images)} images at different positions: "
        f"{' and '.join(image.name for image in images)}.",
        "Choose the image it was painted on, or close the others.",
    )


def _is_plain(place: Placement) -> bool:
    """Whether the world of a layer opened by this plugin is also that of the scanner."""
    ndim = len(place.shape)
    axes = np.allclose(place.direction, np.eye(ndim).ravel(), atol=_ORTHOGONAL)
    return bool(axes and np.abs(place.origin).max() <= 1e-3)


def _from_transform(layer: Layer) -> Placement:
    """Place an image of another tool by its full transform, z, y, x to x, y, z."""
    ndim = layer.ndim
    matrix = world_matrix(layer)
    steps = matrix[:ndim, :ndim]
    spacing = np.linalg.norm(steps, axis=0)
    axes = steps / np.where(spacing > 0, spacing, np.nan)
    # The negation also refuses what is not finite.
    if not np.abs(axes.T @ axes - np.eye(ndim)).max() <= _ORTHOGONAL:
        raise UserError(
            f"The axes of {layer.name} are sheared in napari, and volumes have perpendicular axes.",
            "Remove the shear from its transform, or resample it.",
        )
    left, _, right = np.linalg.svd(axes)
    direction = (left @ right)[::-1, ::-1] + 0.0
    return Placement(
        grid_shape(layer),
        tuple(spacing.tolist()),
        tuple((matrix[:ndim, ndim][::-1] + 0.0).tolist()),
        tuple(direction.ravel().tolist()),
        # Without units and scale, voxels have no size in mm.
        sized=any(unit_factors(layer)) or not np.allclose(spacing, 1.0),
    )
