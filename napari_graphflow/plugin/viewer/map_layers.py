"""Layers of maps, such as uncertainty: see-through where they are 0, one shown at a time."""

from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Layer
from napari.utils.colormaps import Colormap, ensure_colormap
from numpy.typing import NDArray

from napari_graphflow.plugin.viewer.cases import cases_of
from napari_graphflow.plugin.viewer.placement import DERIVED
from napari_graphflow.plugin.viewer.record import KEY
from napari_graphflow.plugin.viewer.world import transform_keywords

#: Key in the metadata of a map with its caption, and with what the papers call it.
CAPTION, TERM = "caption", "term"
#: Share of the range over which a map fades in from 0.
FADE = 0.5
STEPS = 128


def fading(name: str, *, signed: bool = False) -> Colormap:
    """Return a colour map of napari that is transparent at 0.

    Parameters
    ----------
    name
        Name of the colour map.
    signed
        Whether 0 is in the middle of the range instead of at its beginning.
    """
    position = np.linspace(0, 1, STEPS)
    colours = np.array(ensure_colormap(name).map(position))
    strength = np.abs(2 * position - 1) if signed else position
    colours[:, 3] = np.clip(strength / FADE, 0, 1)
    return Colormap(colours, name=f"{name} from transparent")


def map_layer(
    array: NDArray[Any],
    image: Image,
    title: str,
    limits: tuple[float, float],
    *,
    colours: str = "inferno",
    signed: bool = False,
    caption: str = "",
    term: str = "",
) -> Image:
    """Make a layer of a map on the grid of an image.

    Parameters
    ----------
    array
        Values on the grid of `image`.
    title
        Name of the layer.
    limits
        Range of the colours.
    colours, signed
        As for `fading`.
    caption, term
        What it means, in words, and what the papers call it.
    """
    return Image(
        array,
        name=title,
        **transform_keywords(image),
        colormap=fading(colours, signed=signed),
        contrast_limits=limits,
        blending="translucent",
        opacity=0.7,
        metadata={
            KEY: image.metadata.get(KEY), DERIVED: image.name, CAPTION: caption, TERM: term,
        },
    )  # fmt: skip


def maps_of(viewer: ViewerModel, key: str) -> list[Image]:
    """Return the maps of a case, in the order in which they were added."""
    layers = cases_of(viewer).layers(key) if key else ()
    return [one for one in layers if is_map(one)]


def is_map(layer: Layer) -> bool:
    """Whether a layer is a map, made by `map_layer`."""
    return isinstance(layer, Image) and DERIVED in layer.metadata and CAPTION in layer.metadata


def show_only(viewer: ViewerModel, key: str, chosen: Image | None) -> None:
    """Show one map of a case and hide the others: two at once cannot be told apart."""
    for layer in maps_of(viewer, key):
        layer.visible = layer is chosen
