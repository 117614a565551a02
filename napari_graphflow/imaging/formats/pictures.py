"""Natural 2D images: PNG, JPEG, GIF, BMP and WebP by Pillow, TIFF by tifffile.

Pixels are read as stored. An EXIF rotation causes a warning but is not applied, so that an image
and its mask stay aligned. A resolution in dots per inch is a print size, not a pixel size, and is
ignored.
"""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_graphflow.errors import UserError
from napari_graphflow.imaging import itk as sitk
from napari_graphflow.imaging.formats.colours import without_alpha
from napari_graphflow.imaging.formats.loaded import Loaded, pixel_grid
from napari_graphflow.imaging.formats.tiff import read_tiff, write_tiff
from napari_graphflow.imaging.formats.voxels import EXPORT_AGAIN, check_memory

if TYPE_CHECKING:
    from PIL import Image

_EXIF_ORIENTATION = 274
_GREY_AND_ALPHA = 4


def read_image_2d(path: Path, kind: str, *, indices: bool = False) -> Loaded:
    """Read a 2D image; the frames of an animation and the pages of a TIFF become slices.

    Parameters
    ----------
    path, kind
        The file, and its format by content.
    indices
        Return the palette indices rather than the colours, as for a mask.

    Raises
    ------
    UserError
        If the file is damaged, too large or not supported.
    """
    from PIL import Image

    reader = read_tiff if kind == "TIFF" else _read_pillow
    try:
        return reader(path, indices)
    except (UserError, MemoryError, PermissionError):
        raise
    except Image.DecompressionBombError:
        raise UserError(f"{path.name} has more pixels than are supported.", EXPORT_AGAIN) from None
    except Exception:  # each codec raises its own errors
        raise UserError(
            f"{path.name} is damaged: it is truncated or altered.", EXPORT_AGAIN
        ) from None


def _read_pillow(path: Path, indices: bool) -> Loaded:
    from PIL import Image

    with warnings.catch_warnings():
        # Pillow warns of large images; the memory is checked below.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        image = Image.open(path)
    with image:
        frames = getattr(image, "n_frames", 1)
        shape = (frames, image.height, image.width)
        check_memory(path.name, shape, frames * image.height * image.width * 4)
        notes = []
        if image.getexif().get(_EXIF_ORIENTATION, 1) != 1:
            notes.append(
                "The image has an EXIF rotation, which is not applied, so that it stays aligned "
                "with its mask."
            )
        if frames > 1:
            notes.append(f"The image is animated; its {frames} frames are shown as slices.")
        pages = []
        for index in range(frames):
            image.seek(index)
            pages.append(_page(path, image, indices, notes))
    array = pages[0] if frames == 1 else _stack(pages)
    channels = array.ndim - (frames > 1) == 3
    grid = pixel_grid((1.0,) * (array.ndim - channels), sized=False)
    return Loaded(array, grid, channels, tuple(dict.fromkeys(notes)))


def _stack(pages: list[NDArray[Any]]) -> NDArray[Any]:
    """Stack frames as slices; Pillow returns all but the first in colour, even grey ones."""
    colour = np.stack([page if page.ndim == 3 else np.stack([page] * 3, -1) for page in pages])
    grey = (colour == colour[..., :1]).all()
    return np.ascontiguousarray(colour[..., 0]) if grey else colour


def _page(path: Path, image: "Image.Image", indices: bool, notes: list[str]) -> NDArray[Any]:
    if deep := _deep_png(path):
        if deep == _GREY_AND_ALPHA:
            raise UserError(
                f"{path.name} is 16-bit grey with an alpha channel, which is not supported.",
                "Save it without transparency.",
            )
        return without_alpha(sitk.GetArrayFromImage(sitk.ReadImage(str(path))), notes)
    image.load()
    mode = image.mode
    if mode in ("P", "PA"):
        if indices:
            return np.asarray(image.getchannel(0) if mode == "PA" else image).copy()
        return np.asarray(image.convert("RGB")).copy()
    if mode in ("1", "L", "I", "F", "RGB") or mode.startswith("I;16"):
        array = np.array(image.convert("L") if mode == "1" else image)
        return array.astype(array.dtype.newbyteorder("="), copy=False)
    if mode in ("LA", "La", "RGBA", "RGBa"):
        plain = "LA" if mode.startswith("L") else "RGBA"
        return without_alpha(np.array(image.convert(plain)), notes)
    notes.append(f"The image is stored as {mode} and was converted to RGB.")
    return np.array(image.convert("RGB"))


def _deep_png(path: Path) -> int:
    """Return the colour type of a 16-bit PNG with channels, which Pillow would cut to 8 bits."""
    with path.open("rb") as file:
        start = file.read(26)
    deep = start.startswith(b"\x89PNG") and start[24] == 16 and start[25] in (2, 4, 6)
    return start[25] if deep else 0


def write_image_2d(
    path: Path, array: NDArray[Any], spacing: tuple[float, ...], *, sized: bool
) -> None:
    """Write pixels (y, x), (pages, y, x) or (..., 3) losslessly as PNG or TIFF."""
    if path.suffix.lower() == ".png":
        from PIL import Image

        Image.fromarray(array).save(path)
        return
    write_tiff(path, array, spacing, sized=sized)
