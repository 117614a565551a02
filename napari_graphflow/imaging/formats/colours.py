"""Colour images: transparency, and colour spaces other than RGB."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_graphflow.errors import UserError

_TRANSPARENCY = "The image is partly transparent; its alpha channel is ignored."


def without_alpha(array: NDArray[Any], notes: list[str]) -> NDArray[Any]:
    """Return the grey or colour channels, and note that others are ignored unless opaque."""
    if array.shape[-1] not in (2, 4):
        return array
    alpha = array[..., -1]
    if alpha.size and alpha.min() != alpha.max():
        notes.append(_TRANSPARENCY)
    return np.ascontiguousarray(array[..., 0] if array.shape[-1] == 2 else array[..., :3])


def as_rgb(path: Path, notes: list[str]) -> NDArray[Any]:
    """Convert an image of another colour space to RGB with Pillow."""
    from PIL import Image

    with Image.open(path) as image:
        if getattr(image, "n_frames", 1) > 1 or image.mode not in ("CMYK", "YCbCr", "RGB"):
            raise UserError(
                f"{path.name} has a colour space that is not supported ({image.mode}).",
                "Save it as RGB.",
            )
        if image.mode != "RGB":
            notes.append(f"The image is stored as {image.mode} and was converted to RGB.")
        return np.array(image.convert("RGB"))
