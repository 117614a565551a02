"""Conversion between volumes and napari layers, with their geometry.

A layer shows its volume in LPS orientation by axis permutations and flips only, with `scale` but no
affine, because napari cannot show an oblique affine in a slice. The true geometry of the shown
array and the orientation of the file are stored in ``layer.metadata["graphflow"]``.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Image, Labels, Layer
from napari.types import LayerDataTuple
from napari.utils.colormaps import CyclicLabelColormap
from numpy.typing import NDArray

from napari_graphflow.errors import UserError
from napari_graphflow.imaging.dicom_seg import write_segments
from napari_graphflow.imaging.files import write_labels
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.imaging.windows import contrast_limits

KEY = "graphflow"
#: Metadata key of layers that are derived from another layer; its value is the name of that layer.
DERIVED = "graphflow_derived_from"
ORDER = "LPS"
AXES = ("z", "y", "x")
#: One colour per class, distinct from each other and from grey values.
COLOURS = (
    "#e6594c", "#3fa7f0", "#62c462", "#f2b134", "#b07be0", "#2fc1b2",
    "#f28cb1", "#9c8b3c", "#7f9cff", "#d97f2e", "#8fd3ff", "#c0e05a",
)  # fmt: skip

Choose = Callable[[Labels, list[Image]], Image | None]


def image_layers(
    volume: Volume, name: str, path: Path | None = None, series: str = ""
) -> list[LayerDataTuple]:
    """Make the layer of an image, or one layer per channel if the channels are not RGB(A).

    `path` and the key of the DICOM `series` are stored in the metadata to reopen the image.
    """
    shown = volume.oriented(ORDER)
    keywords = _placement(shown, volume, path, series) | {"name": name}
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
) -> LayerDataTuple:
    """Make an editable mask layer with class names in `features` and one colour per class."""
    shown = volume.oriented(ORDER)
    # Painting needs a contiguous copy.
    array = np.ascontiguousarray(shown.array)
    keywords = _placement(shown, volume, path) | {
        "name": name,
        "features": class_table(classes or {}),
        "colormap": class_colours(),
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
    return {
        int(value): str(name) for value, name in zip(table["index"], table["name"], strict=True)
    }


def class_colours() -> CyclicLabelColormap:
    """Return a colormap with the same colour for a class in every layer."""
    return CyclicLabelColormap(colors=["transparent", *COLOURS], name="graphflow")


def geometry(layer: Layer) -> dict[str, Any] | None:
    """Return the geometry stored with a layer, or None for a layer of another tool."""
    found = layer.metadata.get(KEY)
    return found if isinstance(found, dict) and "direction" in found else None


def find_geometry(layer: Labels, layers: Iterable[Layer]) -> dict[str, Any] | None:
    """Return the geometry for saving a mask without one, or None if it is ambiguous."""
    try:
        return _geometry_of_grid(layer, layers, None)
    except UserError:
        return None


def mask_keywords(known: Mapping[str, Any] | None, scale: Iterable[float]) -> dict[str, Any]:
    """Return the layer keywords for a restored mask: its geometry, or only its scale if unknown."""
    scale = tuple(known["spacing"] if known else scale)
    return {
        "scale": scale,
        "units": ("mm",) * len(scale),
        "axis_labels": AXES[-len(scale) :],
        "metadata": {KEY: dict(known)} if known else {},
    }


def image_volume(layer: Image) -> Volume:
    """Convert an image layer back to the volume that was read, in the orientation of its file.

    For a layer of another reader, scale and translation are used with an identity direction.

    Raises
    ------
    UserError
        If the layer is neither 2D nor 3D, or is multiscale.
    """
    if layer.multiscale or layer.ndim not in (2, 3):
        raise UserError(
            f"{layer.name} is not a single-scale 2D or 3D image.",
            "Choose a single 2D image or volume.",
        )
    return _stored(np.asarray(layer.data), geometry(layer) or _plain_geometry(layer), layer.rgb)


def placed_volumes(layers: Iterable[Layer]) -> list[Volume]:
    """Return the volumes of open images with known geometry, topmost first, without copying."""
    images = [layer for layer in layers if isinstance(layer, Image) and is_image(layer)]
    return [
        image_volume(layer) for layer in reversed(images) if layer.ndim == 3 and geometry(layer)
    ]


def labels_volume(layer: Labels, images: Iterable[Layer], choose: Choose | None = None) -> Volume:
    """Convert a Labels layer to a volume with the geometry and orientation of its image.

    A layer created by the user has no geometry; it is taken from the image of the same grid.

    Parameters
    ----------
    layer
        The mask.
    images
        Layers in which to search for the image.
    choose
        Called to choose between several matching images with different geometry.

    Raises
    ------
    UserError
        If no image matches, if several do and none is chosen, or if the layer was moved.
    """
    known = geometry(layer) or _geometry_of_grid(layer, images, choose)
    if not np.allclose(layer.scale, known["spacing"]) or not np.allclose(layer.translate, 0):
        raise UserError(
            f"{layer.name} was moved or scaled in napari, so it no longer matches its image.",
            "Reset its scale and translation before saving.",
        )
    return _stored(np.asarray(layer.data), known, False)


def is_image(layer: Layer) -> bool:
    """Whether a layer is an image and not a derived map."""
    return isinstance(layer, Image) and DERIVED not in layer.metadata


def is_mask(layer: Layer) -> bool:
    """Whether a layer is a mask and not a derived view."""
    return isinstance(layer, Labels) and DERIVED not in layer.metadata


def same_shape(layer: Layer, other: Layer) -> bool:
    """Whether two layers have the same spatial shape."""
    return _grid_shape(layer) == _grid_shape(other)


def save_labels(
    path: Path, layer: Labels, images: Iterable[Layer], choose: Choose | None = None
) -> Volume:
    """Write a mask with the geometry of its image, and verify the file by reading it back."""
    volume = labels_volume(layer, images, choose)
    names = {name: value for value, name in class_names(layer).items()}
    if path.suffix.lower() != ".dcm":
        write_labels(path, volume.array, volume, classes=names)
        return volume
    known = geometry(layer) or find_geometry(layer, images) or {}
    source = str(known.get("path") or "")
    if not source:
        raise UserError(
            "Saving a DICOM segmentation requires the DICOM series of its image.",
            "Open the series and paint on it, or choose another format.",
        )
    write_segments(path, volume, source, names)
    return volume


def _stored(array: NDArray[Any], known: Mapping[str, Any], channels: bool) -> Volume:
    shown = Volume(
        array, tuple(known["spacing"]), tuple(known["origin"]), tuple(known["direction"]), channels
    )
    return shown.oriented(known["orientation"] or shown.orientation)


def _placement(
    shown: Volume, volume: Volume, path: Path | None, series: str = ""
) -> dict[str, Any]:
    return {
        "scale": shown.spacing,
        "units": ("mm",) * shown.ndim,
        "axis_labels": AXES[-shown.ndim :],
        "metadata": {
            KEY: {
                "spacing": tuple(shown.spacing),
                "origin": tuple(shown.origin),
                "direction": tuple(shown.direction),
                "orientation": volume.orientation,
                "path": str(path or ""),
                "series": series,
            }
        },
    }


def _plain_geometry(layer: Layer) -> dict[str, Any]:
    return {
        "spacing": tuple(float(value) for value in layer.scale),
        "origin": tuple(float(value) for value in layer.translate[::-1]),
        "direction": tuple(np.eye(layer.ndim).ravel().tolist()),
        "orientation": "",
    }


def _grid_shape(layer: Layer) -> tuple[int, ...]:
    return tuple(layer.data.shape[: layer.ndim])


def _geometry_of_grid(
    layer: Labels, layers: Iterable[Layer], choose: Choose | None
) -> dict[str, Any]:
    matching = [
        other
        for other in layers
        if isinstance(other, Image)
        and same_shape(layer, other)
        and np.allclose(layer.scale, other.scale)
    ]
    if not matching:
        raise UserError(
            f"No open image has the grid of {layer.name}, so its position in space is unknown.",
            "Open the image it was painted on, then save again.",
        )
    placements = [geometry(image) or _plain_geometry(image) for image in matching]
    files = ("path", "series")
    keys = [{k: v for k, v in placement.items() if k not in files} for placement in placements]
    if all(key == keys[0] for key in keys):
        return placements[0]
    chosen = choose(layer, matching) if choose else None
    if chosen is None:
        names = " and ".join(image.name for image in matching)
        raise UserError(
            f"{layer.name} matches {len(matching)} images at different positions: {names}.",
            "Choose the image it was painted on, or close the others.",
        )
    return geometry(chosen) or _plain_geometry(chosen)
