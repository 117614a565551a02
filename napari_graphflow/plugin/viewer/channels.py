"""The channels of a case, which a model of several channels gets as one image."""

import re
from pathlib import Path

import numpy as np
from napari.layers import Image

from napari_graphflow.config.model_card import ModelCard
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.formats.endings import split_ending
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.plugin.viewer.case_files import origin_file
from napari_graphflow.plugin.viewer.cases import Cases
from napari_graphflow.plugin.viewer.layers import CHANNEL, image_volume, is_image
from napari_graphflow.plugin.viewer.placement import same_place

_NUMBERED = re.compile(r"(.+)_(\d{4})")


def channel_layers(image: Image, cases: Cases) -> list[Image]:
    """Return the layers that are channels of one image, in the order of their numbers.

    They are the layers of one file with several channels, or of the files CASE_0000, CASE_0001, ...
    of one case. Any other image is alone.
    """
    number = _number(image)
    if number is None:
        return [image]
    numbers = {
        layer: _number(layer)
        for layer in cases.layers(cases.key(image))
        if isinstance(layer, Image) and is_image(layer) and same_place(layer, image)
    }
    found = {found: layer for layer, found in numbers.items() if found is not None}
    found[number] = image
    return [found[one] for one in sorted(found)]


def missing_channels(image: Image, card: ModelCard, cases: Cases) -> str:
    """Return which channels of a case a model lacks, as a clause; empty if none."""
    layers = channel_layers(image, cases)
    if _are_complete(layers, card):
        return ""
    names = " and ".join(layer.name for layer in layers)
    verb = "is" if len(layers) == 1 else "are"
    text = f"it needs {card.in_channels} channels, and {names} {verb} open"
    files = _files_to_open(image, card, layers)
    return f"{text}; open also {', '.join(files)}" if files else text


def volume_for(image: Image, card: ModelCard, cases: Cases) -> Volume:
    """Return an image as a model gets it: alone, or with the other channels of its case.

    Raises
    ------
    UserError
        If channels are missing or too many, or the position of a layer is unknown.
    """
    if not takes_channels(image, card):
        return image_volume(image)  # the worker says if its channels do not fit
    layers = channel_layers(image, cases)
    if not _are_complete(layers, card):
        raise _other_channels(image, card, layers, cases)
    volumes = [image_volume(layer) for layer in layers]
    array = np.stack([volume.array for volume in volumes], axis=-1)
    return volumes[0].with_array(array, channels=True)


def takes_channels(image: Image, card: ModelCard) -> bool:
    """Whether a model gets an image together with the other channels of its case."""
    return card.in_channels > 1 and not image.rgb and _number(image) is not None


def _are_complete(layers: list[Image], card: ModelCard) -> bool:
    return [_number(layer) for layer in layers] == list(range(card.in_channels))


def _number(layer: Image) -> int | None:
    """Return the number of a channel, from its file with several channels or its file name."""
    known = layer.metadata.get(CHANNEL)
    if isinstance(known, int):
        return known
    file = origin_file(layer)
    match = _NUMBERED.fullmatch(split_ending(file.name)[0]) if file is not None else None
    return int(match[2]) if match else None


def _other_channels(image: Image, card: ModelCard, layers: list[Image], cases: Cases) -> UserError:
    names = ", ".join(layer.name for layer in layers)
    text = (
        f"The model {card.name} needs {card.in_channels} channels, but of "
        f"{cases.name(cases.key(image))} {'only ' * (len(layers) < card.in_channels)}"
        f"{names} {'is' if len(layers) == 1 else 'are'} open."
    )
    missing = _files_to_open(image, card, layers)
    if missing:
        return UserError(text, f"Open also {', '.join(missing)}.")
    return UserError(text, "Open all channels of the image, or choose another model.")


def _files_to_open(image: Image, card: ModelCard, layers: list[Image]) -> list[str]:
    """Return the names of the files of further channels beside that of the image."""
    file = origin_file(image)
    stem, ending = split_ending(file.name) if file is not None else ("", "")
    match = _NUMBERED.fullmatch(stem)
    if file is None or match is None:
        return []
    present = {_number(layer) for layer in layers}
    names = (
        f"{match[1]}_{number:04}{ending}"
        for number in range(card.in_channels)
        if number not in present
    )
    return [name for name in names if Path(file.with_name(name)).is_file()]
