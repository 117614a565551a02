"""Layers at known places, and what users, scripts and other readers do to them."""

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer

from napari_graphflow.imaging.volume import Volume
from napari_graphflow.plugin.viewer.layers import image_layers, labels_layer
from napari_graphflow.plugin.viewer.world import transform_keywords

SHAPE = (5, 7, 9)
OBLIQUE = (0.96, -0.28, 0.0, 0.28, 0.96, 0.0, 0.0, 0.0, 1.0)
COS, SIN = np.cos(0.26), np.sin(0.26)
TURN = np.array([[1, 0, 0], [0, COS, -SIN], [0, SIN, COS]])


def shift(*offset: float) -> np.ndarray:
    matrix = np.eye(len(offset) + 1)
    matrix[:-1, -1] = offset
    return matrix


#: What a user or a script can do to a layer whose spacing is 2.5, 0.8, 0.8.
CHANGES = {
    "translated": {"translate": (0, 4, 0)},
    "translated by less than a voxel": {"translate": (0, 0.2, 0)},
    "dragged": {"affine": shift(0, 12, 0)},
    "turned": {"rotate": TURN},
    "sheared": {"shear": (0.0, 0.0, 0.1)},
    "stretched": {"scale": (5, 0.8, 0.8)},
    "flipped": {"scale": (2.5, -0.8, 0.8)},
    "in other units": {"units": ("um",) * 3},
}
FOREIGN = {
    "scale and translate": {"scale": (2.5, 0.8, 0.7), "translate": (10, 20, 30)},
    "affine alone": {"affine": shift(10, 20, 30) @ np.diag([2.5, 0.8, 0.7, 1])},
    "micrometres": {
        "scale": (2500, 800, 700),
        "translate": (1e4, 2e4, 3e4),
        "units": ("um",) * 3,
    },
    "centimetres": {
        "scale": (0.25, 0.08, 0.07),
        "translate": (1, 2, 3),
        "units": ("cm",) * 3,
    },
    "metres": {
        "scale": (0.0025, 0.0008, 0.0007),
        "translate": (0.01, 0.02, 0.03),
        "units": ("m",) * 3,
    },
    "nanometres and mm": {
        "scale": (2.5e6, 0.8, 0.7),
        "translate": (1e7, 20, 30),
        "units": ("nm", "mm", "mm"),
    },
    "scale within the affine": {
        "scale": (2.5, 1, 1),
        "translate": (10, 0, 0),
        "affine": shift(0, 20, 30) @ np.diag([1, 0.8, 0.7, 1]),
    },
}


def scan(shape=SHAPE, *, origin=None, direction=None, seed=0) -> Volume:
    ndim = len(shape)
    array = np.random.default_rng(seed).integers(-900, 900, shape).astype(np.int16)
    origin = origin or (-30.0, 12.5, 100.0)[:ndim]
    plane = (0.8, -0.6, 0.6, 0.8)
    direction = direction or (OBLIQUE if ndim == 3 else plane)
    return Volume(array, (2.5, 0.8, 0.8)[-ndim:], origin, direction)


def opened(viewer: ViewerModel, volume: Volume, name: str = "scan") -> Image:
    (layer,) = (Layer.create(*one) for one in image_layers(volume, name))
    return viewer.add_layer(layer)


def opened_mask(viewer: ViewerModel, volume: Volume, name: str = "seg") -> Labels:
    labels = volume.with_array((volume.array > 0).astype(np.uint8))
    return viewer.add_layer(Layer.create(*labels_layer(labels, name)))


def painted(viewer: ViewerModel, like: Layer, name: str = "mine") -> Labels:
    """A mask by another tool: transform of the image, no metadata."""
    keywords = transform_keywords(like)
    return viewer.add_labels(np.ones(like.data.shape[: like.ndim], np.uint8), name=name, **keywords)
