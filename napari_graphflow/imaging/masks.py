"""Named segments as masks: segments may overlap, labels may not, so they may need several masks."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_graphflow.errors import UserError
from napari_graphflow.imaging.volume import Volume

#: A mask, and the labels of its segments by name.
Mask = tuple[Volume, dict[str, int]]


def distinct(titles: Sequence[str], values: Sequence[int]) -> dict[str, int]:
    """Return the labels of segments by title; a repeated title is followed by its label."""
    names: dict[str, int] = {}
    for title, value in zip(titles, values, strict=True):
        names[title if title not in names else f"{title} {value}"] = value
    return names


def without_overlap(
    segments: Iterable[tuple[str, NDArray[np.bool_]]], names: Mapping[str, int]
) -> list[tuple[NDArray[Any], dict[str, int]]]:
    """Add each segment to the first mask in which it overlaps no other.

    Parameters
    ----------
    segments
        Name and voxels of each segment, all of the same shape.
    names
        Labels of all segments by name.
    """
    dtype = np.min_scalar_type(max(names.values()))
    masks: list[tuple[NDArray[Any], dict[str, int]]] = []
    for name, inside in segments:
        free = [mask for mask in masks if not np.any(mask[0][inside])]
        if not free:
            masks.append((np.zeros(inside.shape, dtype), {}))
        array, used = (free or masks[-1:])[0]
        array[inside] = used[name] = names[name]
    return masks


def only_mask(masks: Sequence[Mask], name: str) -> Mask:
    """Return the only mask of a file.

    Raises
    ------
    UserError
        If its segments overlap, so that it needs several masks.
    """
    if len(masks) > 1:
        raise UserError(
            f"Segments of {name} overlap, so a voxel may belong to several classes.",
            "Convert it with “napari-graphflow volumes convert”, and choose one of the masks.",
        )
    return masks[0]
