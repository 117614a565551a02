"""Slices with contours or maps, for reports and for the preview of a job."""

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from napari_graphflow.system.files import replace_file

#: One colour per class, the background without one; apart also for most colour-blind readers.
COLOURS = ((230, 89, 76), (63, 167, 240), (98, 196, 98), (242, 177, 52), (176, 123, 224))


HEIGHT = 300


Grey = NDArray[np.floating]


Mask = NDArray[np.integer]


def slice_with_contours(
    image: Grey, mask: Mask | None, spacing: Sequence[float], limits: tuple[float, float]
) -> Image.Image:
    """Draw a slice in grey, in the proportions of the body, with the outline of each class.

    Parameters
    ----------
    image
        (y, x).
    mask
        (y, x), class indices, or None.
    spacing
        (y, x) in mm.
    limits
        Intensities shown black and white.
    """
    low, high = limits
    grey = np.clip((image - low) / max(high - low, 1e-9), 0, 1) * 255
    picture = _enlarged(Image.fromarray(grey.astype(np.uint8)), image.shape, spacing, smooth=True)
    picture = picture.convert("RGB")
    if mask is None:
        return picture
    large = np.asarray(
        _enlarged(Image.fromarray(mask.astype(np.uint8)), image.shape, spacing, smooth=False)
    )
    pixels = np.asarray(picture).copy()
    for value in np.unique(large[large > 0]):
        inside = large == value
        outline = inside & ~ndimage.binary_erosion(inside, iterations=2)
        pixels[outline] = COLOURS[(int(value) - 1) % len(COLOURS)]
    return Image.fromarray(pixels)


def slice_with_map(
    image: Grey, heat: Grey, spacing: Sequence[float], limits: tuple[float, float], top: float
) -> Image.Image:
    """Draw a map (y, x) in warm colours over a slice: nothing at 0, full at `top`."""
    base = np.asarray(slice_with_contours(image, None, spacing, limits), float)
    strength = Image.fromarray(np.clip(heat / max(top, 1e-9), 0, 1).astype(np.float32))
    share = np.asarray(_enlarged(strength, image.shape, spacing, smooth=False), float)[..., None]
    warm = np.concatenate([np.full_like(share, 255), 210 * share, np.zeros_like(share)], axis=-1)
    weight = 0.75 * np.sqrt(share)
    return Image.fromarray((base * (1 - weight) + warm * weight).astype(np.uint8))


def sheet(pictures: Mapping[str, Image.Image], columns: int = 4) -> Image.Image:
    """Put pictures in rows, each under its title."""
    gap, head = 8, 22
    wide = max(picture.width for picture in pictures.values()) + gap
    high = max(picture.height for picture in pictures.values()) + gap + head
    rows = math.ceil(len(pictures) / columns)
    page = Image.new("RGB", (wide * min(columns, len(pictures)), high * rows), (24, 26, 31))
    draw = ImageDraw.Draw(page)
    for place, (title, picture) in enumerate(pictures.items()):
        left, top = place % columns * wide, place // columns * high
        draw.text((left + 2, top + 4), title, fill=(225, 228, 235), font_size=14)
        page.paste(picture, (left, top + head))
    return page


def _enlarged(
    picture: Image.Image, shape: Sequence[int], spacing: Sequence[float], *, smooth: bool
) -> Image.Image:
    width = round(HEIGHT * (shape[1] * spacing[1]) / (shape[0] * spacing[0]))
    method = Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST
    return picture.resize((max(1, width), HEIGHT), method)


#: Shorter side of the picture in pixels, at least.
SIDE = 192


REFERENCE = (255, 255, 255)


NETWORK = (255, 180, 84)


def draw(image: NDArray[Any], reference: NDArray[Any], labels: NDArray[Any], path: Path) -> None:
    """Draw contours on a slice: white for the reference, orange for the network.

    Parameters
    ----------
    image
        (Y, X), any range.
    reference, labels
        (Y, X) class indices.
    path
        PNG file, replaced as a whole.
    """
    low, high = np.percentile(image, (0.5, 99.5))
    grey = np.clip((image - low) / max(float(high - low), 1e-6), 0, 1)
    zoom = max(1, -(-SIDE // min(image.shape)))
    canvas = np.repeat((grey * 255).astype(np.uint8)[..., None], 3, axis=2)
    canvas, reference, labels = (
        array.repeat(zoom, 0).repeat(zoom, 1) for array in (canvas, reference, labels)
    )
    for mask, colour in ((reference, REFERENCE), (labels, NETWORK)):
        edge = np.zeros(mask.shape, bool)
        for value in np.unique(mask[mask > 0]):
            inside = mask == value
            edge |= inside & ~ndimage.binary_erosion(inside, border_value=1)
        canvas[edge] = colour
    picture = io.BytesIO()
    Image.fromarray(canvas).save(picture, "PNG")
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, picture.getvalue())
