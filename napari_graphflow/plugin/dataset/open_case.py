"""The case that is open in the viewer: its layers, and its mask as labelling stores it."""

import time
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from napari import Viewer
from napari.layers import Image, Labels, Layer
from numpy.typing import NDArray

from napari_graphflow.dataset.names import same_name
from napari_graphflow.errors import UserError
from napari_graphflow.labelling.opened import OpenedCase
from napari_graphflow.plugin.dataset.loading import LoadedCase
from napari_graphflow.plugin.dataset.proposals_presenter import Place
from napari_graphflow.plugin.viewer.cases import cases_of
from napari_graphflow.plugin.viewer.edits import keep_original
from napari_graphflow.plugin.viewer.layers import class_names, is_mask
from napari_graphflow.plugin.viewer.placement import mask_placement, same_place
from napari_graphflow.plugin.viewer.world import slice_in_view as place_in_view


@dataclass
class OpenCase:
    """A case in the viewer.

    Attributes
    ----------
    loaded
        The case as it was read.
    opened
        The case as it was opened or last saved.
    images, mask
        Its layers.
    slices, axis
        Slices marked as done, as indices along an axis of the stored array; None without marks.
    changed
        Whether the mask, or which slices are done, may differ from what was opened or saved.
    editable
        False if another window has the case open, or it is excluded.
    since
        Monotonic time of the opening.
    places_seen
        How many of the places where the model is unsure were looked at.
    source
        Program that the mask is from, if it was taken from another one.
    taken
        Indices of the voxels that this program changed, and their values.
    """

    loaded: LoadedCase
    opened: OpenedCase
    images: list[Image]
    mask: Labels
    slices: frozenset[int] | None = None
    axis: int = 0
    changed: bool = False
    editable: bool = False
    since: float = field(default_factory=time.monotonic)
    places_seen: int = 0
    source: str = ""
    taken: tuple[tuple[NDArray[Any], ...], NDArray[Any]] | None = None

    @property
    def name(self) -> str:
        return self.opened.name

    @property
    def blind(self) -> bool:
        """Whether it is drawn again without seeing its mask."""
        return self.loaded.blind

    @property
    def layers(self) -> list[Layer]:
        return [*self.images, self.mask]

    @property
    def slice_count(self) -> int:
        """Number of slices along the axis of the marks."""
        return int(self.opened.image.shape[self.axis])

    @property
    def seconds(self) -> float:
        """Seconds since it was opened."""
        return round(time.monotonic() - self.since, 1)

    def labels(self, layer: Labels | None = None) -> NDArray[Any]:
        """Return the mask, or another one on its voxels, in the axes of the stored image.

        The array is a view of the layer's data.

        Raises
        ------
        UserError
            If the mask was moved away from the image, or has another shape.
        """
        layer = self.mask if layer is None else layer
        if not same_place(layer, self.images[0]):
            mask_placement(layer, self.images)  # says what was done to it
            raise UserError(
                f"{layer.name} does not lie on the voxels of {self.images[0].name}.",
                "Reset its transform in napari, or open the case again.",
            )
        data = np.asarray(layer.data)
        return data if self.loaded.turn is None else self.loaded.turn.undo(data)

    def stored_slice(self, axis: int, index: int) -> tuple[int, int]:
        """Return the stored axis and index of a slice in the window."""
        turn = self.loaded.turn
        if turn is None:
            return axis, index
        size = self.mask.data.shape[axis]
        return turn.order[axis], size - 1 - index if turn.flips[axis] else index

    def shown_slice(self, axis: int, index: int) -> tuple[int, int]:
        """Return the axis and index in the window of a stored slice."""
        turn = self.loaded.turn
        if turn is None:
            return axis, index
        shown = turn.order.index(axis)
        size = self.mask.data.shape[shown]
        return shown, size - 1 - index if turn.flips[shown] else index

    def in_window(self, place: Place) -> Place:
        """Return a place with the numbers that its slices have in the window."""
        ends = sorted(self.shown_slice(0, index)[1] for index in place.slices)
        return replace(place, slices=(ends[0], ends[1]))

    def draft(self) -> "Unsaved":
        """Return the mask and the slices for saving, whatever happens to the layers.

        Raises
        ------
        UserError
            As `labels` does.
        """
        return Unsaved(
            self.opened,
            self.labels(),
            self.slices,
            self.axis,
            self.seconds,
            self._credited(),
            self.blind,
        )

    def _credited(self) -> str:
        """Return the program that the mask is from, unless nothing of it is left, as after undo."""
        if self.taken is None:
            return self.source  # that of the draft
        where, values = self.taken
        return self.source if (np.asarray(self.mask.data)[where] == values).any() else ""


def in_values_of(mask: Labels, other: Labels) -> NDArray[Any]:
    """Return another mask with its structures, matched by name, in the values of `mask`.

    Raises
    ------
    UserError
        If it contains a structure, or a value without a name, that `mask` does not have.
    """
    known, names = class_names(mask), class_names(other)
    values = {same_name(name): value for value, name in known.items()}
    array = np.asarray(other.data)
    found = np.unique(array)
    table = {0: 0}
    for value in map(int, found[found != 0]):
        name = names.get(value, "")
        target = values.get(same_name(name)) if name else (value if value in known else None)
        if target is None:
            raise UserError(
                f"{other.name} contains {name or f'the value {value}'}, which is not a structure "
                f"of {mask.name}.",
                f"The structures are {', '.join(known[one] for one in sorted(known) if one)}.",
            )
        table[value] = target
    if all(old == new for old, new in table.items()):
        return array
    new = np.array([table[int(value)] for value in found], np.asarray(mask.data).dtype)
    return new[np.searchsorted(found, array)]


@dataclass(frozen=True)
class Unsaved:
    """A mask on its way to the disk."""

    opened: OpenedCase
    labels: NDArray[Any]
    slices: frozenset[int] | None
    axis: int
    seconds: float
    source: str = ""
    blind: bool = False

    @property
    def name(self) -> str:
        return self.opened.name

    @property
    def painted(self) -> bool:
        """Whether a voxel differs from what was opened."""
        return not np.array_equal(self.labels, self.opened.labels)

    @property
    def marked(self) -> bool:
        """Whether other slices are marked as done."""
        known = self.opened.facts.slices
        return self.slices != (None if known is None else frozenset(known))

    @property
    def done(self) -> list[int] | None:
        """The slices that are done, as labelling wants them."""
        return None if self.slices is None else sorted(self.slices)

    def saved(self, opened: OpenedCase) -> OpenedCase:
        """Return the case after it was saved: what was saved is what it is compared with."""
        return replace(opened, labels=self.labels)


def show(viewer: Viewer, loaded: LoadedCase) -> OpenCase:
    """Add the layers of a case, and look at the largest slice of its mask."""
    layers = [Layer.create(*one) for one in (*loaded.images, loaded.mask)]
    stored = loaded.opened.labels
    keep_original(layers[-1], stored if loaded.turn is None else loaded.turn.apply(stored))
    for layer in layers:
        viewer.add_layer(layer)
    images, mask = layers[:-1], layers[-1]
    facts = loaded.opened.facts
    mask.editable = False
    classes = [value for value in mask.features["index"] if value]
    mask.selected_label = int(classes[0]) if classes else 1
    viewer.layers.selection.active = mask
    viewer.reset_view()
    look_at(viewer, mask, loaded.focus)
    slices = None if facts.slices is None else frozenset(facts.slices)
    source = loaded.opened.source
    return OpenCase(loaded, loaded.opened, images, mask, slices, facts.axis, source=source)


def look_at(viewer: Viewer, layer: Layer, voxel: tuple[int, ...]) -> None:
    """Move the sliders of the window to a voxel of a layer."""
    world = layer.data_to_world(voxel)
    missing = viewer.dims.ndim - len(world)
    viewer.dims.point = (*viewer.dims.point[:missing], *(float(one) for one in world))


def slice_in_view(viewer: Viewer, case: OpenCase) -> tuple[int, int]:
    """Return the axis of the mask across the view, and the index of the slice in view.

    Raises
    ------
    UserError
        If no single slice is in view.
    """
    found = place_in_view(viewer.dims, case.mask)
    if found is None:
        raise UserError("No single slice is in view.", "Switch to the 2D view of a volume.")
    return found


def slice_is_done(viewer: Viewer, case: OpenCase) -> bool:
    """Whether the slice in view is marked as done."""
    if not case.slices:
        return False
    try:
        axis, index = case.stored_slice(*slice_in_view(viewer, case))
    except UserError:
        return False
    return axis == case.axis and index in case.slices


def look_at_slice(viewer: Viewer, case: OpenCase, index: int) -> None:
    """Move the sliders to a stored slice along the first stored axis."""
    axis, shown = case.shown_slice(0, index)
    voxel = list(case.mask.world_to_data(viewer.dims.point[-3:]))
    voxel[axis] = shown
    look_at(viewer, case.mask, tuple(round(one) for one in voxel))


def remove(viewer: Viewer, case: OpenCase) -> None:
    """Remove the layers of a case: two patients never share one space.

    What else lies on it goes with it, except masks, which somebody may have painted.
    """
    cases = cases_of(viewer)
    of_case = cases.layers(cases.key(case.images[0])) if case.images[0] in viewer.layers else []
    # napari rebuilds its scene once for all of them, where it can.
    with getattr(viewer.layers, "batched_update", nullcontext)():
        for layer in (*case.layers, *(one for one in of_case if not is_mask(one))):
            if layer in viewer.layers:
                viewer.layers.remove(layer)
