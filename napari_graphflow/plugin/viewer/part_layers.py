"""Read a part of a file or folder into layers; without Qt."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from napari.types import LayerDataTuple

from napari_graphflow.errors import UserError
from napari_graphflow.imaging.class_names import read_class_names
from napari_graphflow.imaging.contents import Part, is_mask
from napari_graphflow.imaging.dicom.reading import read_series
from napari_graphflow.imaging.dicom.series import Series
from napari_graphflow.imaging.files import read_labels
from napari_graphflow.imaging.segments import read_segments
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.plugin.viewer.layers import image_layers, labels_layer

Opened = tuple[list[LayerDataTuple], tuple[str, ...]]


def open_part(
    path: Path, part: Part, resample: bool = False, images: Sequence[Volume] = ()
) -> Opened:
    """Return the layers of a part, and the warnings about them.

    A mask becomes a Labels layer with the class names of its side file. A segmentation with
    named segments is embedded in the grid of the first matching one of `images`.

    Raises
    ------
    UserError
        If it cannot be read, or must be resampled and `resample` is False.
    """
    if part.segments is not None:
        return _open_segments(part.segments, part.title, images)
    if isinstance(part.source, Series):
        volume = read_series(part.source, resample=resample)
    elif is_mask(part.source):
        volume = read_labels(path)
        names = read_class_names(path)
        return [labels_layer(volume, part.title, classes=names, path=path)], volume.warnings
    else:
        volume = part.source
    return image_layers(volume, part.title, path, part.key), volume.warnings


def _open_segments(path: Path, title: str, images: Sequence[Volume]) -> Opened:
    warnings = []
    for image in images:
        with suppress(UserError):
            masks = read_segments(path, image)
            break
    else:
        masks, warnings = read_segments(path), [_NO_IMAGE]
    layers = [
        labels_layer(
            mask, title if len(masks) == 1 else f"{title} {index}", classes=names, path=path
        )
        for index, (mask, names) in enumerate(masks, start=1)
    ]
    if len(masks) > 1:
        warnings.append(f"Some segments overlap, so they are shown as {len(masks)} masks.")
    warnings += dict.fromkeys(sentence for mask, _ in masks for sentence in mask.warnings)
    return layers, tuple(warnings)


_NO_IMAGE = (
    "The segmentation does not match any open image and is shown in its own grid. Open its image "
    "first to overlay it."
)
