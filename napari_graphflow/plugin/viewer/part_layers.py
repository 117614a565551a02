"""What is at a path, part by part, and the layers of a part; without a window."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from napari.types import LayerDataTuple

from napari_graphflow.errors import UserError
from napari_graphflow.imaging.contents import Part, is_mask
from napari_graphflow.imaging.dicom.series import Series
from napari_graphflow.imaging.dicom_seg import embed_in_grid, read_segments
from napari_graphflow.imaging.files import (
    read_labels,
    read_series,
)
from napari_graphflow.imaging.labels import read_class_names
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.plugin.viewer.layers import image_layers, labels_layer

Opened = tuple[list[LayerDataTuple], tuple[str, ...]]


def open_part(
    path: Path, part: Part, resample: bool = False, images: Sequence[Volume] = ()
) -> Opened:
    """Make the layers of a part, and say what the user should know of them.

    A mask becomes Labels, with the names that are kept beside it. A DICOM segmentation is laid
    onto the first of `images` that it fits.

    Raises
    ------
    UserError
        If it cannot be read, or has a problem and may not be resampled.
    """
    if isinstance(part.source, Series) and part.source.is_segmentation:
        return _open_segments(part.source.files[0], part.title, images)
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
    masks, said = read_segments(path), [_ALONE]
    for image in images:
        with suppress(UserError):
            masks = [(embed_in_grid(mask, image, path.name), names) for mask, names in masks]
            said = []
            break
    layers = [
        labels_layer(
            mask, title if len(masks) == 1 else f"{title} {index}", classes=names, path=path
        )
        for index, (mask, names) in enumerate(masks, start=1)
    ]
    if len(masks) > 1:
        said.append(f"Some segments overlap, so they are shown as {len(masks)} masks.")
    return layers, tuple(said)


_ALONE = (
    "The segmentation fits no open image, so it is shown alone. Open its image first to see both "
    "together."
)
