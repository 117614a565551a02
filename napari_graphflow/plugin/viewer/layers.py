"""Conversion between volumes and napari layers; where they lie is derived in `placement.py`.

A layer shows its volume in LPS orientation by axis permutations and flips only.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Image, Labels, Layer
from napari.types import LayerDataTuple
from napari.utils.colormaps import CyclicLabelColormap
from numpy.typing import NDArray

from napari_graphflow.errors import UserError
from napari_graphflow.imaging.files import write_labels, write_volume
from napari_graphflow.imaging.labels import IGNORE
from napari_graphflow.imaging.paths import refuse_replacing
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.imaging.windows import contrast_limits
from napari_graphflow.plugin.viewer.placement import (
    DERIVED,
    Choose,
    image_placement,
    mask_placement,
    same_place,
    size_and_axes,
    viewer_of,
)
from napari_graphflow.plugin.viewer.record import (
    Placement,
    has_spacing,
    is_at,
    placement_keywords,
    recorded,
)
from napari_graphflow.plugin.viewer.world import grid_shape, voxels

ORDER = "LPS"
#: Metadata key of the number of a channel of a file with several.
CHANNEL = "graphflow_channel"
#: One colour per class, distinct from each other and from grey values.
COLOURS = (
    "#e6594c", "#3fa7f0", "#62c462", "#f2b134", "#b07be0", "#2fc1b2",
    "#f28cb1", "#9c8b3c", "#7f9cff", "#d97f2e", "#8fd3ff", "#c0e05a",
)  # fmt: skip


def image_layers(
    volume: Volume, name: str, path: Path | None = None, series: str = ""
) -> list[LayerDataTuple]:
    """Make the layer of an image, or one layer per channel if the channels are not RGB(A).

    `path` and the key of the DICOM `series` are stored in the metadata to reopen the image.
    """
    shown = volume.oriented(ORDER)
    keywords = _shown_keywords(shown, volume, path, series) | {"name": name}
    colours = shown.channels and shown.array.shape[-1] in (3, 4) and shown.array.dtype == np.uint8
    if colours:
        return [(shown.array, keywords | {"rgb": True}, "image")]
    if not shown.channels:
        return [
            (shown.array, keywords | {"contrast_limits": contrast_limits(shown.array)}, "image")
        ]
    return [
        (
            shown.array[..., channel],
            keywords
            | {
                "name": f"{name} [{channel}]",
                "contrast_limits": contrast_limits(shown.array[..., channel]),
                "visible": channel == 0,
                "metadata": {**keywords["metadata"], CHANNEL: channel},
            },
            "image",
        )
        for channel in range(shown.array.shape[-1])
    ]


def labels_layer(
    volume: Volume,
    name: str,
    *,
    classes: Mapping[str, int] | None = None,
    path: Path | None = None,
    colours: Mapping[int, str] | None = None,
) -> LayerDataTuple:
    """Make an editable mask layer with class names in `features` and one colour per class.

    `colours` are those that were chosen for some labels.
    """
    shown = volume.oriented(ORDER)
    # Painting needs a contiguous copy.
    array = np.ascontiguousarray(shown.array)
    keywords = _shown_keywords(shown, volume, path) | {
        "name": name,
        "features": class_table(classes or {}),
        "colormap": class_colours(colours),
        "opacity": 0.5,
    }
    return array, keywords, "labels"


def class_table(classes: Mapping[str, int]) -> dict[str, list[Any]]:
    """Return the table of class names for ``Labels.features``, which napari's status bar shows."""
    ordered = sorted(classes.items(), key=lambda item: item[1])
    return {"index": [value for _, value in ordered], "name": [name for name, _ in ordered]}


def class_names(layer: Labels) -> dict[int, str]:
    """Return the class names of ``Labels.features`` by label."""
    table = layer.features
    if "index" not in table or "name" not in table:
        return {}
    rows = table[["index", "name"]].dropna()
    names: dict[int, str] = {}
    for value, name in zip(rows["index"], rows["name"], strict=True):
        # Tables of other tools may hold text or measurements in this column.
        with suppress(ValueError, TypeError, OverflowError):
            if float(value).is_integer():
                names[int(value)] = str(name)
    return names


def class_values(layer: Labels) -> dict[str, int]:
    """Return the label of each class name; a name of several labels is numbered."""
    names = class_names(layer)
    values: dict[str, int] = {}
    for value, name in sorted(names.items()):
        free = name
        if name in values:
            numbered = (f"{name} {number}" for number in count(2))
            free = next(one for one in numbered if one not in {*values, *names.values()})
        values[free] = value
    return values


def class_colours(chosen: Mapping[int, str] | None = None) -> CyclicLabelColormap:
    """Return a colormap with the same colour for a class in every layer.

    `chosen` are the colours of some classes; the others keep theirs.
    """
    colours = list(COLOURS)
    if chosen:
        count = max(*chosen, len(COLOURS))
        colours = [COLOURS[place % len(COLOURS)] for place in range(count)]
        for label, colour in chosen.items():
            colours[label - 1] = colour
    return CyclicLabelColormap(colors=["transparent", *colours], name="graphflow")


def image_volume(layer: Image) -> Volume:
    """Convert an image layer back to the volume that was read, in the orientation of its file.

    It is that volume wherever the layer was moved in the viewer; see :func:`save_image` for
    writing it to a file.

    Raises
    ------
    UserError
        If its position or its voxel size is not known; see :mod:`.placement`.
    """
    place = size_and_axes(layer)
    known = recorded(layer)
    if known is not None and not has_spacing(layer, place):
        raise UserError(
            f"The voxels of {layer.name} were stretched or sheared in napari since it was opened.",
            "Reset its scale and shear.",
        )
    return place.volume(np.asarray(voxels(layer)), layer.rgb)


def placed_volumes(layers: Iterable[Layer]) -> list[Volume]:
    """Return the open images of known place as volumes, visible first, without copying."""
    images = [layer for layer in layers if is_image(layer)][::-1]
    # A mask is laid onto the image that is shown before one that is hidden.
    ordered = [one for one in images if one.visible] + [one for one in images if not one.visible]
    return [
        known.volume(np.asarray(voxels(layer)), layer.rgb)
        for layer in ordered
        if (known := recorded(layer)) is not None
        and known.shape == grid_shape(layer)
        and is_at(layer, known)
    ]


def labels_volume(
    layer: Labels, images: Iterable[Layer] | None = None, choose: Choose | None = None
) -> Volume:
    """Convert a Labels layer to a volume with the geometry and orientation of its image.

    See :func:`~napari_graphflow.plugin.viewer.placement.mask_placement` for the parameters and the
    errors.
    """
    return mask_placement(layer, images, choose).volume(np.asarray(voxels(layer)))


def is_image(layer: Layer) -> bool:
    """Whether a layer is an image and not a derived map."""
    return isinstance(layer, Image) and DERIVED not in layer.metadata


def is_mask(layer: Layer) -> bool:
    """Whether a layer is a mask and not a derived view."""
    return isinstance(layer, Labels) and DERIVED not in layer.metadata


def save_image(path: Path, layer: Image, layers: Iterable[Layer] | None = None) -> None:
    """Write an image where it lies, and verify the file by reading it back."""
    place = image_placement(layer, layers)
    write_volume(path, place.volume(np.asarray(voxels(layer)), layer.rgb))


def save_labels(
    path: Path,
    layer: Labels,
    images: Iterable[Layer] | None = None,
    choose: Choose | None = None,
) -> Volume:
    """Write a mask with the geometry of its image, and verify the file by reading it back.

    Raises
    ------
    UserError
        If its place is unknown, its values cannot be written, or the file is that of an open image.
    """
    place = mask_placement(layer, images, choose)
    refuse_replacing([path], _image_files(layer))
    array = np.asarray(voxels(layer))
    _check_values(array, layer.name)
    volume, names = place.volume(array), class_values(layer)
    if path.suffix.lower() != ".dcm":
        write_labels(path, volume.array, volume, classes=names)
        return volume
    source = _source(layer, place, images)
    if not source.path:
        raise UserError(
            "Saving a DICOM segmentation requires the DICOM series of its image.",
            "Open the series and paint on it, or choose another format.",
        )
    from napari_graphflow.imaging.dicom_seg import write_segments

    write_segments(path, volume, source.path, names, series=source.series)
    return volume


def _image_files(layer: Labels) -> list[Path]:
    """Return the files of the images that are open beside a mask."""
    viewer = viewer_of(layer)
    records = (recorded(one) for one in (viewer.layers if viewer else ()) if is_image(one))
    return [Path(known.path) for known in records if known is not None and known.path]


def _source(layer: Labels, place: Placement, images: Iterable[Layer] | None) -> Placement:
    """Return the record of the image on which a mask lies, else that of the mask.

    The record of a mask that was opened from a file has the path of that file.
    """
    if images is None:
        images = () if (viewer := viewer_of(layer)) is None else viewer.layers
    on = [image for image in images if is_image(image) and same_place(layer, image)]
    return next((known for one in on if (known := recorded(one)) is not None and known.path), place)


def _check_values(array: NDArray[Any], name: str) -> None:
    below = array < 0
    if below.any():
        values = np.unique(array[below])
        listed = ", ".join(map(str, values[:4])) + " …" * (len(values) > 4)
        raise UserError(
            f"{name} has {int(below.sum()):,} voxels with negative labels ({listed}), which mask "
            "files cannot store.",
            f"Replace them, by {IGNORE} where they are to be ignored or by 0 for background.",
        )


def _shown_keywords(
    shown: Volume, volume: Volume, path: Path | None, series: str = ""
) -> dict[str, Any]:
    place = Placement(
        tuple(shown.shape),
        tuple(shown.spacing),
        tuple(shown.origin),
        tuple(shown.direction),
        volume.orientation,
        str(path or ""),
        series,
        sized=volume.sized,
        anatomical=volume.anatomical,
        modality=volume.modality,
        frame_of_reference=volume.frame_of_reference,
    )
    return placement_keywords(place)
