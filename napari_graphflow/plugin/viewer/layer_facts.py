"""What decides whether a model fits an image layer."""

from contextlib import suppress
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from napari.layers import Image

from napari_graphflow.config.model_card import ModelCard
from napari_graphflow.dataset.compatibility import (
    ImageFacts,
    are_hounsfield_units,
    reason_not_to_fit,
)
from napari_graphflow.errors import UserError
from napari_graphflow.plugin.viewer.cases import Cases
from napari_graphflow.plugin.viewer.channels import (
    channel_layers,
    missing_channels,
    takes_channels,
)
from napari_graphflow.plugin.viewer.placement import size_and_axes
from napari_graphflow.plugin.viewer.world import voxels

#: Voxels looked at along each axis.
_SAMPLED = 64
#: The facts of each layer, with the array and the voxel size for which they hold.
_known: "WeakKeyDictionary[Image, tuple[Any, Any, ImageFacts]]" = WeakKeyDictionary()


def layer_facts(layer: Image) -> ImageFacts:
    """Return the facts of an image layer, from a few of its voxels."""
    layer = getattr(layer, "__wrapped__", layer)
    array = voxels(layer)
    size = tuple(layer.scale), layer.units
    known = _known.get(layer)
    if known is None or known[0] is not array or known[1] != size:
        known = _known[layer] = array, size, _facts(layer, array)
    return known[2]


def reason_not_to_fit_layer(card: ModelCard, image: Image, cases: Cases) -> str | None:
    """Return why a model cannot be used on an image layer, as a clause; None if it can.

    A model of several channels gets those of the case, which are layers of their own.
    """
    facts = layer_facts(image)
    if takes_channels(image, card):
        if missing := missing_channels(image, card, cases):
            return missing
        facts = replace(facts, channels=card.in_channels)
    return reason_not_to_fit(card, facts)


def what_decides(image: Image | None, cases: Cases) -> tuple[Any, ...]:
    """Return what changes when models may fit that did not, or the other way round."""
    if image is None:
        return ()
    return layer_facts(image), *(one.name for one in channel_layers(image, cases))


def _facts(layer: Image, array: Any) -> ImageFacts:
    steps = tuple(slice(None, None, max(1, size // _SAMPLED)) for size in array.shape[: layer.ndim])
    few = np.asarray(array[steps])
    modality, spacing = "", None
    with suppress(UserError):  # told when it is segmented
        place = size_and_axes(layer)
        modality = place.modality
        spacing = place.grid().oriented().spacing if place.sized else None
    return ImageFacts(
        axes=layer.ndim,
        channels=array.shape[-1] if layer.rgb else 1,
        rgb=layer.rgb,
        modality=modality,
        spacing=spacing,
        hounsfield=None if layer.rgb else are_hounsfield_units(few),
    )
