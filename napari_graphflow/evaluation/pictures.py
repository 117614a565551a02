"""Slices with contours or maps, for reports and for the preview of a job."""

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from skimage.measure import find_contours
from skimage.segmentation import find_boundaries

from napari_graphflow.imaging.labels import IGNORE

#: Colour of the contours of the reference in a preview.
REFERENCE = (255, 255, 255)
#: One colour per class except the background.
COLOURS = ((230, 89, 76), (63, 167, 240), (98, 196, 98), (242, 177, 52), (176, 123, 224))
#: Height of a slice in a report, in pixels.
HEIGHT = 360
#: How much larger outlines are drawn before they are reduced.
_FINER = 3
#: Minimum length of the shorter side of a preview, in pixels.
SIDE = 192
Colour = tuple[int, int, int]
Grey = NDArray[np.floating]
Mask = NDArray[np.integer]


def class_colour(value: int) -> Colour:
    """Return the colour of a class other than the background, by its index."""
    return COLOURS[(value - 1) % len(COLOURS)]


def with_contours(
    pixels: NDArray[np.uint8], mask: Mask, *, width: int = 1, colour: Colour | None = None
) -> NDArray[np.uint8]:
    """Draw the outline of each class just inside its border.

    Parameters
    ----------
    pixels
        (y, x, 3), RGB.
    mask
        (y, x), class indices.
    width
        Line width in pixels.
    colour
        Colour of all lines; None uses one colour per class.
    """
    inside = mask
    for _ in range(width):
        inside = np.where(find_boundaries(inside, mode="inner"), 0, inside)
    lines = np.where(inside == 0, mask, 0)
    drawn = pixels.copy()
    for value in np.unique(lines[lines > 0]):
        drawn[lines == value] = colour or class_colour(int(value))
    return drawn


def slice_with_contours(
    image: Grey,
    mask: Mask | None,
    spacing: Sequence[float],
    limits: tuple[float, float],
    reference: Mask | None = None,
) -> Image.Image:
    """Draw a slice in grey, with its physical aspect ratio and smooth outlines of each class.

    Parameters
    ----------
    image
        (y, x).
    mask
        (y, x), class indices, one colour per class, or None.
    spacing
        (y, x) in mm.
    limits
        Intensities shown as black and white.
    reference
        (y, x), class indices, in white below the others, or None.
    """
    grey = Image.fromarray(_grey(image, limits))
    image_2d = _enlarged(grey, image.shape, spacing, smooth=True).convert("RGB")
    # Drawn larger and reduced, because PIL's lines are not smooth.
    large = image_2d.resize((image_2d.width * _FINER, image_2d.height * _FINER))
    pen = ImageDraw.Draw(large)
    scale = (large.height / image.shape[0], large.width / image.shape[1])
    for labels, colour, width in ((reference, REFERENCE, 3), (mask, None, 4)):
        for value in () if labels is None else np.unique(labels[(labels > 0) & (labels != IGNORE)]):
            for line in smooth_outlines(labels == value):
                points = [((x + 0.5) * scale[1], (y + 0.5) * scale[0]) for y, x in line]
                pen.line(points, colour or class_colour(int(value)), width, joint="curve")
    return large.resize(image_2d.size, Image.Resampling.LANCZOS)


def smooth_outlines(mask: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    """Return the outlines of a mask as closed polygons with rounded corners.

    They run half-way between pixels, and corners are cut (Chaikin, 1974) instead of filtering the
    mask, so that a structure of a single pixel keeps its outline.

    Parameters
    ----------
    mask
        (y, x).

    Returns
    -------
    list of array
        (n, 2) each, y and x in pixels.
    """
    lines = find_contours(np.pad(mask, 1).astype(np.float32), 0.5)
    return [_rounded(_rounded(line)) - 1 for line in lines]


def _rounded(line: NDArray[np.float64]) -> NDArray[np.float64]:
    step = np.diff(line, axis=0)
    cut = np.stack([line[:-1] + step / 4, line[:-1] + 3 * step / 4], 1).reshape(-1, 2)
    return np.concatenate([cut, cut[:1]])


def draw(image: Grey, reference: Mask, labels: Mask) -> Image.Image:
    """Draw the contours of a prediction, one colour per class, and of the reference in white.

    Parameters
    ----------
    image
        (y, x), any intensity range.
    reference, labels
        (y, x), class indices.
    """
    low, high = np.percentile(image, (0.5, 99.5))
    pixels = np.repeat(_grey(image, (float(low), float(high)))[..., None], 3, axis=2)
    zoom = max(1, -(-SIDE // min(image.shape)))
    pixels = pixels.repeat(zoom, 0).repeat(zoom, 1)
    for mask, colour in ((reference, REFERENCE), (labels, None)):
        large = mask.repeat(zoom, 0).repeat(zoom, 1)
        pixels = with_contours(pixels, large, colour=colour)
    return Image.fromarray(pixels)


def png(image_2d: Image.Image) -> bytes:
    """Encode a 2D image as PNG."""
    data = io.BytesIO()
    image_2d.save(data, "PNG", optimize=True)
    return data.getvalue()


def _grey(image: Grey, limits: tuple[float, float]) -> NDArray[np.uint8]:
    low, high = limits
    shades: NDArray[Any] = np.clip((image - low) / max(high - low, 1e-9), 0, 1) * 255
    return shades.astype(np.uint8)


def slice_with_map(
    image: Grey, heat: Grey, spacing: Sequence[float], limits: tuple[float, float], top: float
) -> Image.Image:
    """Overlay a map (y, x) on a slice in warm colours, transparent at 0 and strongest at `top`."""
    base = np.asarray(slice_with_contours(image, None, spacing, limits), float)
    strength = Image.fromarray(np.clip(heat / max(top, 1e-9), 0, 1).astype(np.float32))
    share = np.asarray(_enlarged(strength, image.shape, spacing, smooth=False), float)[..., None]
    warm = np.concatenate([np.full_like(share, 255), 210 * share, np.zeros_like(share)], axis=-1)
    weight = 0.75 * np.sqrt(share)
    return Image.fromarray((base * (1 - weight) + warm * weight).astype(np.uint8))


def sheet(images: Mapping[str, Image.Image], columns: int = 4) -> Image.Image:
    """Arrange 2D images in rows, each under its title."""
    gap, head = 8, 22
    cell_width = max(image.width for image in images.values()) + gap
    cell_height = max(image.height for image in images.values()) + gap + head
    rows = math.ceil(len(images) / columns)
    page = Image.new(
        "RGB", (cell_width * min(columns, len(images)), cell_height * rows), (24, 26, 31)
    )
    draw = ImageDraw.Draw(page)
    for index, (title, image) in enumerate(images.items()):
        left, top = index % columns * cell_width, index // columns * cell_height
        draw.text((left + 2, top + 4), title, fill=(225, 228, 235), font_size=14)
        page.paste(image, (left, top + head))
    return page


def _enlarged(
    image_2d: Image.Image, shape: Sequence[int], spacing: Sequence[float], *, smooth: bool
) -> Image.Image:
    width = round(HEIGHT * (shape[1] * spacing[1]) / (shape[0] * spacing[0]))
    method = Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST
    return image_2d.resize((max(1, width), HEIGHT), method)
