"""Where a layer lies in the space of the scanner: the one derivation for all uses.

A layer of this plugin shows its voxels in LPS order with `scale` alone, because napari cannot show
an oblique affine in a slice; napari's world is then mm from its first voxel along its own axes. Its
true place is recorded in ``layer.metadata["graphflow"]``. A place is valid only for the grid for
which it was recorded, so what was moved, turned, sheared, stretched or cropped since then is placed
relative to an image of its own viewer, or refused with the reason.
"""

from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer

from napari_graphflow.errors import UserError
from napari_graphflow.plugin.viewer.record import (
    KEY,
    Placement,
    is_at,
    recorded,
    valid_record,
)
from napari_graphflow.plugin.viewer.world import (
    grid_shape,
    is_inside,
    part_of,
    unit_factors,
    voxel_offset,
    whole_offset,
    world_matrix,
)

#: Metadata key of layers that are derived from another layer; its value is the name of that layer.
DERIVED = "graphflow_derived_from"
#: Metadata key of the case of a layer, as found by `cases.py`; copies of the layer inherit it.
CASE = "graphflow_case"
#: Axes of a matrix are orthogonal to this cosine; 0.05 voxels over 500.
_ORTHOGONAL = 1e-4
#: Programs round the geometry in their headers, by less than this part of a voxel.
_ROUNDED = 0.1

Choose = Callable[[Labels, list[Image]], Image | None]


class UncertainPositionError(UserError):
    """The position of an image is uncertain; `place` has the one of its own transform."""

    def __init__(self, place: Placement, text: str, remedy: str) -> None:
        super().__init__(text, remedy)
        self.place = place


def record_on(image: Image) -> dict[str, Any]:
    """Return the metadata of a new layer laid onto an image; empty if its place is unknown."""
    try:
        return {KEY: asdict(grid_placement(image).at(image))}
    except UserError:
        return {}


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
    found = [
        place.cut(start, shape)
        for other, place in parents
        if (start := part_of(layer, other)) is not None
    ]
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
    # A layer without a file may have been computed from one of the others.
    if layer.source.path is None and any(not _is_plain(place) for _, place in parents):
        raise UncertainPositionError(
            own,
            f"{layer.name} does not lie on the voxels of any image opened by this plugin, so it is "
            "unknown whether its position is relative to one of them.",
            "Open it from a file, or in a viewer of its own.",
        )
    return own


def size_and_axes(layer: Image) -> Placement:
    """Return the place of an image for what depends on its voxel size and axes alone.

    Raises
    ------
    UserError
        As `grid_placement`, except if only the position of its first voxel is uncertain.
    """
    try:
        return grid_placement(layer)
    except UncertainPositionError as error:
        return error.place


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
    images = [one for one in _images(layer, layers) if _of_one_case(layer, one)]
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
        if (start := part_of(layer, image)) is not None
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
    places = [known for one in (layer, other) if (known := valid_record(one)) is not None]
    return len(places) < 2 or places[0].same_as(places[1], _ROUNDED * min(places[0].spacing))


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
    """Refuse a layer that is neither 2D nor 3D in space.

    Raises
    ------
    UserError
        If it has another number of dimensions, or one of them is measured in seconds.
    """
    what = "mask" if isinstance(layer, Labels) else "image"
    if any(unit.is_compatible_with("s") for unit in layer.units):
        raise UserError(
            f"A dimension of {layer.name} is time, so it is not one {what} in 2D or 3D.",
            "Take one time point out of it as a layer of its own.",
        )
    if layer.ndim in (2, 3):
        return
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


def _of_one_case(layer: Layer, other: Layer) -> bool:
    cases = {one.metadata.get(CASE) for one in (layer, other)} - {None}
    return len(cases) < 2


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
