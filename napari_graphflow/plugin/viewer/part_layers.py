"""Read a part of a file or folder into layers; without Qt."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from napari.types import LayerDataTuple

from napari_graphflow.errors import UserError
from napari_graphflow.imaging.class_names import read_class_names
from napari_graphflow.imaging.contents import Part, is_mask
from napari_graphflow.imaging.dicom.reading import read_series
from napari_graphflow.imaging.dicom.series import Series
from napari_graphflow.imaging.files import read_labels
from napari_graphflow.imaging.grid import lacks_one_slice
from napari_graphflow.imaging.masks import Mask
from napari_graphflow.imaging.segments import read_segments
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.plugin.viewer.layers import image_layers, labels_layer

Opened = tuple[list[LayerDataTuple], tuple[str, ...]]


def open_part(
    path: Path, part: Part, resample: bool = False, images: Sequence[Volume] = ()
) -> Opened:
    """Return the layers of a part, and the warnings about them.

    A mask becomes a Labels layer with the class names of its side file. It is laid onto the grid
    of the first one of `images` of whose voxels it covers all or a part; a structure set requires
    one.

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
        volume = _read_mask(path, part.source, images)
        names = read_class_names(path)
        return [labels_layer(volume, part.title, classes=names, path=path)], volume.warnings
    else:
        volume = part.source
    return image_layers(volume, part.title, path, part.key), volume.warnings


def _read_mask(path: Path, stored: Volume, images: Sequence[Volume]) -> Volume:
    alike = [image for image in images if image.ndim == stored.ndim]
    if not stored.anatomical:
        # A picture may belong to any image of its size, but to one position alone.
        alike = [image for image in alike if image.shape == stored.shape]
        alike = alike if all(image.same_grid(alike[0]) for image in alike) else []
    for image in alike:
        with suppress(UserError):
            return read_labels(path, image)
    volume = read_labels(path)
    if any(lacks_one_slice(stored, image) for image in alike):
        return replace(volume, warnings=(*volume.warnings, _ONE_SLICE_SHORT))
    return volume


def _open_segments(path: Path, title: str, images: Sequence[Volume]) -> Opened:
    masks, warnings = _read_onto(path, images)
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


def _read_onto(path: Path, images: Sequence[Volume]) -> tuple[list[Mask], list[str]]:
    """Read segments on the grid of the first image that they match, else on their own."""
    refusals = []
    for image in images:
        if image.ndim != 3:
            continue
        try:
            return read_segments(path, image), []
        except UserError as error:
            refusals.append(error)
    try:
        return read_segments(path), [_NO_IMAGE] * (not images)
    except UserError as error:
        # A structure set has no grid of its own.
        raise (refusals or [error])[-1] from None


_NO_IMAGE = (
    "The image of the segmentation is not open, so it is shown in its own grid. Open its image "
    "first to overlay it."
)
_ONE_SLICE_SHORT = "The mask is one slice short of the image, so its place on it is not certain."
