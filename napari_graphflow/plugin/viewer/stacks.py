"""File > Open as Stack: 2D images as the slices of one volume; without Qt."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from napari_graphflow.errors import UserError
from napari_graphflow.imaging.contents import is_mask
from napari_graphflow.imaging.files import read_volume
from napari_graphflow.imaging.formats.endings import split_ending
from napari_graphflow.imaging.labels import as_labels
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.plugin.viewer.layers import image_layers, labels_layer
from napari_graphflow.plugin.viewer.part_layers import Opened

_DISTANCE = "The distance between the slices of the stack is unknown; 1 mm is assumed."


def open_stack(paths: Sequence[Path]) -> Opened:
    """Return the layer of 2D images of one size, in the given order, and the warnings about it.

    Raises
    ------
    UserError
        If one cannot be read, is a volume, or has another size than the first.
    """
    slices = [read_volume(path) for path in paths]
    first = slices[0]
    for path, one in zip(paths, slices, strict=True):
        if one.ndim != 2:
            raise UserError(
                f"{path.name} is a volume, and only 2D images are opened as a stack.",
                "Open the volumes one by one, or the folder of a DICOM series.",
            )
        if one.array.shape != first.array.shape:
            raise UserError(
                f"{path.name} has another size or other channels than {paths[0].name}.",
                "Open 2D images of one size as a stack.",
            )
        if not np.allclose(one.spacing, first.spacing):
            raise UserError(
                f"{path.name} has other pixel sizes than {paths[0].name}.",
                "Open 2D images of one pixel size as a stack.",
            )
    volume = Volume(
        np.stack([one.array for one in slices]),
        (1.0, *first.spacing),
        (0.0, 0.0, 0.0),
        tuple(np.eye(3).ravel().tolist()),
        first.channels,
        sized=False,
        anatomical=False,
        modality=first.modality,
    )
    warnings = [text for one in slices for text in one.warnings]
    warnings += [_DISTANCE] if first.sized else []
    name = f"{split_ending(paths[0].name)[0]} … {split_ending(paths[-1].name)[0]}"
    if is_mask(volume):
        labels, notes = as_labels(volume.array, name=name, image_2d=True)
        layers = [labels_layer(volume.with_array(labels), name)]
        return layers, tuple(dict.fromkeys((*warnings, *notes)))
    return image_layers(volume, name), tuple(dict.fromkeys(warnings))
