"""Between volumes and napari layers: the one place where geometry crosses.

A layer shows its volume in the fixed order LPS by axis permutation and flips only, with `scale`
alone, because napari cannot show an oblique affine in a slice. The true geometry of the shown
array, and the letters of the order in the file, wait in ``layer.metadata["graphflow"]``.
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


#: Marks layers that are drawn from others, by the name of the other.
DERIVED = "graphflow_derived_from"


ORDER = "LPS"


AXES = ("z", "y", "x")


#: One colour per class, apart from each other and from the greys of a scan.
COLOURS = (
    "#e6594c", "#3fa7f0", "#62c462", "#f2b134", "#b07be0", "#2fc1b2",
    "#f28cb1", "#9c8b3c", "#7f9cff", "#d97f2e", "#8fd3ff", "#c0e05a",
)  # fmt: skip


Choose = Callable[[Labels, list[Image]], Image | None]


def image_layers(
    volume: Volume, name: str, path: Path | None = None, series: str = ""
) -> list[LayerDataTuple]:
    """Make the layer of an image, or one layer per channel where the channels are no colours.

    `path` and the key of the DICOM `series` are kept with it, to find the image again.
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
    """Make the editable layer of a mask, with class names in `features` and a colour per class."""
    shown = volume.oriented(ORDER)
    # Painting needs memory of its own, in one piece.
    array = np.ascontiguousarray(shown.array)
    keywords = _placement(shown, volume, path) | {
        "name": name,
        "features": class_table(classes or {}),
        "colormap": class_colours(),
        "opacity": 0.5,
    }
    return array, keywords, "labels"


def class_table(classes: Mapping[str, int]) -> dict[str, list[Any]]:
    """Arrange class names for ``Labels.features``, where napari's status bar finds them."""
    ordered = sorted(classes.items(), key=lambda item: item[1])
    return {"index": [value for _, value in ordered], "name": [name for name, _ in ordered]}


def class_names(layer: Labels) -> dict[int, str]:
    """Read class names back from ``Labels.features``."""
    table = layer.features
    if "index" not in table or "name" not in table:
        return {}
    return {
        int(value): str(name) for value, name in zip(table["index"], table["name"], strict=True)
    }


def class_colours() -> CyclicLabelColormap:
    """Give class n the n-th colour in every layer, so that two masks can be compared by eye."""
    return CyclicLabelColormap(colors=["transparent", *COLOURS], name="graphflow")


def geometry(layer: Layer) -> dict[str, Any] | None:
    """Return the true geometry kept with a layer, or None for a layer that another tool made."""
    found = layer.metadata.get(KEY)
    return found if isinstance(found, dict) and "direction" in found else None


def find_geometry(layer: Labels, layers: Iterable[Layer]) -> dict[str, Any] | None:
    """The geometry that a mask made by hand would be saved with, or None where it is not clear."""
    try:
        return _geometry_of_grid(layer, layers, None)
    except UserError:
        return None


def mask_keywords(known: Mapping[str, Any] | None, scale: Iterable[float]) -> dict[str, Any]:
    """What places a mask whose geometry was kept elsewhere, or of which only the scale is known."""
    scale = tuple(known["spacing"] if known else scale)
    return {
        "scale": scale,
        "units": ("mm",) * len(scale),
        "axis_labels": AXES[-len(scale) :],
        "metadata": {KEY: dict(known)} if known else {},
    }


def image_volume(layer: Image) -> Volume:
    """Turn an image layer back into the volume that was read, in the file's own order.

    An image that another reader opened has only its scale: axes are taken as they stand.

    Raises
    ------
    UserError
        If the layer is neither 2D nor 3D, or is a pyramid.
    """
    if layer.multiscale or layer.ndim not in (2, 3):
        raise UserError(
            f"{layer.name} has {layer.ndim} dimensions; only single 2D and 3D images can be used.",
            "Choose or split out one volume.",
        )
    return _stored(np.asarray(layer.data), geometry(layer) or _plain_geometry(layer), layer.rgb)


def placed_volumes(layers: Iterable[Layer]) -> list[Volume]:
    """The volumes of open images whose place is known, those on top first; nothing is copied."""
    images = [layer for layer in layers if isinstance(layer, Image) and is_image(layer)]
    return [
        image_volume(layer) for layer in reversed(images) if layer.ndim == 3 and geometry(layer)
    ]


def labels_volume(layer: Labels, images: Iterable[Layer], choose: Choose | None = None) -> Volume:
    """Turn a Labels layer into a volume with true geometry, in the order of the image's file.

    A layer that the user made by hand carries no geometry; it is taken from the image of the
    same grid.

    Parameters
    ----------
    layer
        The mask.
    images
        Layers among which the image is looked for.
    choose
        Asked which image is meant where several with different geometry fit.

    Raises
    ------
    UserError
        If no image fits, or several do and nobody chose, or the layer was moved in napari.
    """
    known = geometry(layer) or _geometry_of_grid(layer, images, choose)
    if not np.allclose(layer.scale, known["spacing"]) or not np.allclose(layer.translate, 0):
        raise UserError(
            f"{layer.name} was moved or scaled in napari, so it no longer lies on its image.",
            "Put its scale and translation back before saving.",
        )
    return _stored(np.asarray(layer.data), known, False)


def is_image(layer: Layer) -> bool:
    """Whether a layer is a scan or picture, and not one of the maps that we drew of it."""
    return isinstance(layer, Image) and DERIVED not in layer.metadata


def is_mask(layer: Layer) -> bool:
    """Whether a layer is a mask of the user's, and not a view that we drew of it."""
    return isinstance(layer, Labels) and DERIVED not in layer.metadata


def same_shape(layer: Layer, other: Layer) -> bool:
    """Whether two layers have voxels that can be compared one by one."""
    return _grid_shape(layer) == _grid_shape(other)


def save_labels(
    path: Path, layer: Labels, images: Iterable[Layer], choose: Choose | None = None
) -> Volume:
    """Write a mask with the geometry of its image; read back and compared before it returns."""
    volume = labels_volume(layer, images, choose)
    names = {name: value for value, name in class_names(layer).items()}
    if path.suffix.lower() != ".dcm":
        write_labels(path, volume.array, volume, classes=names)
        return volume
    known = geometry(layer) or find_geometry(layer, images) or {}
    source = str(known.get("path") or "")
    if not source:
        raise UserError(
            "A mask becomes a DICOM segmentation only with its DICOM series.",
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
    fitting = [
        other
        for other in layers
        if isinstance(other, Image)
        and same_shape(layer, other)
        and np.allclose(layer.scale, other.scale)
    ]
    if not fitting:
        raise UserError(
            f"No open image has the grid of {layer.name}, so its place in the body is unknown.",
            "Open the image it was painted on, then save again.",
        )
    placements = [geometry(image) or _plain_geometry(image) for image in fitting]
    files = ("path", "series")
    keys = [{k: v for k, v in placement.items() if k not in files} for placement in placements]
    if all(key == keys[0] for key in keys):
        return placements[0]
    chosen = choose(layer, fitting) if choose else None
    if chosen is None:
        names = " and ".join(image.name for image in fitting)
        raise UserError(
            f"{layer.name} fits {len(fitting)} images that lie differently in space: {names}.",
            "Say which one it was painted on, or close the others.",
        )
    return geometry(chosen) or _plain_geometry(chosen)
