"""The channels of a case, which a model of several channels gets as one image."""

from pathlib import Path

import numpy as np
from napari.layers import Image

from napari_graphflow.config.model_card import ModelCard
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.channel_files import channel_group, numbers_beside
from napari_graphflow.imaging.formats.endings import split_channel, split_ending
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.plugin.viewer.case_files import origin_file
from napari_graphflow.plugin.viewer.cases import Cases
from napari_graphflow.plugin.viewer.layers import CHANNEL, image_volume, is_image
from napari_graphflow.plugin.viewer.placement import same_place


def channel_layers(image: Image, cases: Cases) -> list[Image]:
    """Return the layers that can be channels of one image, in the order of their numbers.

    They are the layers of one file with several channels, or of the files CASE_0000, CASE_0001, ...
    of one folder. Any other image is alone.
    """
    number = _number(image)
    if number is None:
        return [image]
    own, stem = cases.key(image), _stem(image)
    others = {*cases.keys()} - {own} if stem is not None else set()
    found: dict[int, Image] = {}
    # Those of its own case last, in case a file is opened twice.
    for layer in (layer for key in (*others, own) for layer in cases.layers(key)):
        if not isinstance(layer, Image) or not is_image(layer) or not same_place(layer, image):
            continue
        other = _number(layer)
        if other is not None and (cases.key(layer) == own or _stem(layer) == stem):
            found[other] = layer
    found[number] = image
    return [found[one] for one in sorted(found)]


def missing_channels(image: Image, card: ModelCard, cases: Cases) -> str:
    """Return why the channels of a case do not suit a model, as a clause; empty if they do."""
    if doubt := _too_many_files(image, card):
        return f"it needs {card.in_channels} channels, and {doubt}"
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
    if doubt := _too_many_files(image, card):
        raise UserError(
            f"The model {card.name} needs {card.in_channels} channels, and {doubt}.",
            "Put the channels of the case into a folder of their own, or choose another model.",
        )
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
    return split_channel(split_ending(file.name)[0])[1] if file is not None else None


def _stem(layer: Image) -> tuple[Path, str, str] | None:
    """Return what the files CASE_0000, CASE_0001, ... of one folder have in common."""
    file = origin_file(layer)
    if file is None or CHANNEL in layer.metadata:
        return None
    stem, ending = split_ending(file.name)
    return file.parent, split_channel(stem)[0], ending


def _too_many_files(image: Image, card: ModelCard) -> str:
    """Return why numbered files may be of several patients, as a clause; empty if they are not."""
    file = origin_file(image)
    if file is None or CHANNEL in image.metadata or channel_group(file):
        return ""
    numbers = numbers_beside(file)
    if numbers <= set(range(card.in_channels)):
        return ""
    return f"the {len(numbers)} files numbered like {image.name} may be of several patients"


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
    case, own = split_channel(stem)
    if file is None or own is None:
        return []
    present = {_number(layer) for layer in layers}
    names = (
        f"{case}_{number:04}{ending}" for number in range(card.in_channels) if number not in present
    )
    return [name for name in names if Path(file.with_name(name)).is_file()]
