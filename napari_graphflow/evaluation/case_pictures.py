"""The picture of a case in a report: the slice that differs most, with every mask beside it."""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from napari_graphflow.dataset.compatibility import are_hounsfield_units
from napari_graphflow.evaluation.pictures import png, sheet, slice_with_contours
from napari_graphflow.evaluation.report import Picture
from napari_graphflow.imaging.labels import IGNORE
from napari_graphflow.imaging.volume import Volume

#: Soft tissue in Hounsfield units.
_SOFT_TISSUE = (-160.0, 240.0)


def case_picture(
    name: str,
    image: Volume,
    reference: NDArray[np.integer] | None,
    masks: Mapping[str, tuple[NDArray[np.integer], float | None]],
    index: int | None,
) -> Picture:
    """Draw a slice once per mask: its outlines in colour, those of the reference in white.

    Parameters
    ----------
    name
        Name of the case.
    image
        The image, oriented (z, y, x) or (y, x).
    reference
        Class indices on the same grid; None without one.
    masks
        Mask and mean Dice by title.
    index
        The slice; None takes the one with most of the structures.
    """
    grey = plain(image)
    shown = reference if reference is not None else next(iter(masks.values()))[0]
    if image.ndim == 3:
        if index is None:
            index = int(((shown > 0) & (shown != IGNORE)).sum(axis=(1, 2)).argmax())
        grey = grey[index]
    spacing = image.spacing[-2:]
    limits = display_range(image)

    def cut(mask: NDArray[np.integer]) -> NDArray[np.integer]:
        return mask[index] if image.ndim == 3 else mask

    truth = None if reference is None else cut(reference)
    panels = {}
    if truth is not None:
        panels["reference"] = slice_with_contours(grey, None, spacing, limits, truth)
    for title, (mask, dice) in masks.items():
        score = "" if dice is None or math.isnan(dice) else f"  Dice {dice:.3f}"
        panels[f"{title}{score}"] = slice_with_contours(grey, cut(mask), spacing, limits, truth)
    where = f", slice {index}" if image.ndim == 3 else ""
    caption = f"{name}{where}: {', '.join(masks)}, with the reference in white."
    if truth is None:
        caption = f"{name}{where}: {', '.join(masks)}."
    return Picture(name, caption, png(sheet(panels, columns=min(4, len(panels)))))


def plain(image: Volume) -> NDArray[np.floating]:
    """Return the intensities in grey, without channels."""
    array = np.asarray(image.array, np.float32)
    return array.mean(-1) if image.channels else array


def display_range(image: Volume) -> tuple[float, float]:
    """Return the intensities shown as black and white: soft tissue in CT, else percentiles."""
    if not image.channels and are_hounsfield_units(image.array):
        return _SOFT_TISSUE
    low, high = np.percentile(plain(image), (0.5, 99.5))
    return float(low), float(high)
