"""Small pictures of cases for the list: a slice of the image with its mask; without Qt."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_graphflow.imaging.labels import IGNORE

#: Height and width in pixels.
SIZE = 26
_OPACITY = 0.5

#: Red, green and blue.
Colour = tuple[int, ...]
Picture = NDArray[np.uint8]


def picture(
    image: NDArray[Any],
    labels: NDArray[Any] | None,
    spacing: Sequence[float],
    colours: Mapping[int, Colour],
    place: int | None = None,
) -> Picture:
    """Return the picture of a case, `SIZE` x `SIZE` x 3.

    Parameters
    ----------
    image
        (z, y, x) or (y, x) as in the window, or RGB in the last axis of (y, x, 3).
    labels
        Class indices on its voxels; None without a mask.
    spacing
        Distance of neighbouring voxels along each axis of the mask.
    colours
        Red, green and blue of each class.
    place
        The slice to show; by default the one with most labelled voxels, or the middle one.
    """
    spatial = len(spacing)
    if spatial == 3:
        if place is None:
            counts = 0 if labels is None else np.count_nonzero(labels, axis=(1, 2))
            place = int(np.argmax(counts)) if np.any(counts) else len(image) // 2
        image = image[place]
        labels = None if labels is None else labels[place]
    height, width = (size * step for size, step in zip(image.shape, spacing[-2:], strict=False))
    rows, columns = _samples(image.shape[0], height, width), _samples(image.shape[1], width, height)
    inside = (rows >= 0)[:, None] & (columns >= 0)[None]
    part = image[np.clip(rows, 0, None)][:, np.clip(columns, 0, None)].astype(np.float32)
    low, high = (float(one) for one in np.percentile(part[inside], (1, 99)))
    grey = np.clip((part - low) / max(high - low, 1e-6), 0, 1) * 255
    found = grey[..., :3] if grey.ndim == 3 else np.repeat(grey[..., None], 3, axis=-1)
    if labels is not None:
        mask = labels[np.clip(rows, 0, None)][:, np.clip(columns, 0, None)]
        for value, colour in colours.items():
            where = (mask == value) & (value != IGNORE)
            found[where] += _OPACITY * (np.array(colour, np.float32) - found[where])
    found[~inside] = 0
    result: Picture = found.astype(np.uint8)
    return result


def _samples(size: int, length: float, other: float) -> NDArray[np.int64]:
    """Return the index of each pixel along an axis of the given length; -1 beside the image."""
    wanted = SIZE * min(1.0, length / max(other, 1e-6))
    start = (SIZE - wanted) / 2
    places = (np.arange(SIZE) + 0.5 - start) / max(wanted, 1e-6)
    return np.where((places >= 0) & (places < 1), (places * size).astype(np.int64), -1)
