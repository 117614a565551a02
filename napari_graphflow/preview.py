"""The live preview of a job: one slice, with the contours of the reference and of the network.

The window chooses the case by its name in a file of the job's folder, and shows the picture.
"""

import io
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from napari_graphflow.system import replace_file

PREVIEW = "artifacts/preview.png"
CHOICE = "preview_case"
#: Shorter side of the picture in pixels, at least.
SIDE = 192
REFERENCE = (255, 255, 255)
NETWORK = (255, 180, 84)


def choose_case(folder: Path, name: str) -> None:
    """Ask the job in a folder to show another validation case from its next validation on."""
    replace_file(folder / CHOICE, name.encode())


def chosen_case(folder: Path, names: Sequence[str]) -> str | None:
    """The case that was asked for, or the first; None if there is none."""
    with suppress(OSError, UnicodeDecodeError):
        wanted = (folder / CHOICE).read_text("utf-8").strip()
        if wanted in names:
            return wanted
    return names[0] if names else None


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
