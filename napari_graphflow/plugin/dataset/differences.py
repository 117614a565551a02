"""The masks of two readers, and where they differ, as layers on the open case."""

from typing import Any

import numpy as np
from napari import Viewer
from napari.layers import Labels
from napari.utils.colormaps import CyclicLabelColormap
from numpy.typing import NDArray

from napari_graphflow.labelling.agreement import FINISHED
from napari_graphflow.plugin.dataset.open_case import OpenCase
from napari_graphflow.plugin.viewer.cases import cases_of
from napari_graphflow.plugin.viewer.layers import class_table
from napari_graphflow.plugin.viewer.placement import DERIVED, record_on
from napari_graphflow.plugin.viewer.world import transform_keywords

#: One colour each: only the first reader, only the second, both with other structures.
_COLOURS = ("#4fb3ff", "#ffb454", "#ff4fb0")
_TITLE = "differences of "


def show_differences(
    viewer: Viewer, case: OpenCase, differs: NDArray[np.uint8], readers: tuple[str, str]
) -> Labels:
    """Show where two masks differ, in place of the last such layer.

    Parameters
    ----------
    differs
        1 where only the first mask has a structure, 2 where only the second has one, 3 where both
        have another one; in the axes of the stored image.
    """
    cases, image = cases_of(viewer), case.images[0]
    remove_differences(viewer, case)
    turn = case.loaded.turn
    names: dict[str, Any] = {f"only {readers[0]}": 1, f"only {readers[1]}": 2, "another one": 3}
    layer = Labels(
        np.ascontiguousarray(differs if turn is None else turn.apply(differs)),
        name=f"{_TITLE}{readers[0]} and {readers[1]} · {case.name}",
        **transform_keywords(image),
        colormap=CyclicLabelColormap(colors=["transparent", *_COLOURS]),
        metadata={DERIVED: image.name},
        features=class_table(names),
        opacity=0.7,
    )
    layer.editable = False
    cases.add(layer, image)
    cases.set_visible(layer, True)
    viewer.layers.selection.active = case.mask
    return layer


def show_reader(viewer: Viewer, case: OpenCase, labels: NDArray[Any], reader: str) -> Labels:
    """Show the mask of a reader as a locked layer, in place of the last one of that reader.

    Parameters
    ----------
    labels
        In the axes of the stored image.
    """
    cases, image, turn = cases_of(viewer), case.images[0], case.loaded.turn
    title = reader if reader == FINISHED else f"{reader}'s mask"
    name = f"{title} · {case.name}"
    for old in cases.layers(cases.key(image)):
        if old.name == name and not old.editable:
            viewer.layers.remove(old)
    layer = Labels(
        np.array(labels if turn is None else turn.apply(labels)),
        name=name,
        **transform_keywords(image),
        colormap=case.mask.colormap,
        metadata=record_on(image),
        features=case.mask.features,
        opacity=case.mask.opacity,
    )
    layer.editable = False
    cases.add(layer, image)
    viewer.layers.selection.active = case.mask
    return layer


def remove_differences(viewer: Viewer, case: OpenCase) -> None:
    """Remove the layer of the last comparison."""
    cases = cases_of(viewer)
    for old in cases.layers(cases.key(case.images[0])):
        if DERIVED in old.metadata and old.name.startswith(_TITLE):
            viewer.layers.remove(old)
