"""Natural 2D images: PNG, JPEG, GIF, BMP and WebP by Pillow, TIFF by tifffile.

Pixels are read as stored. An EXIF rotation causes a warning but is not applied, so that an image
and its mask stay aligned. A resolution in dots per inch is a print size, not a pixel size, and is
ignored.
"""

import struct
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import tifffile
from numpy.typing import NDArray
from PIL import Image

from napari_graphflow.errors import UserError
from napari_graphflow.imaging.formats.loaded import Loaded, pixel_grid
from napari_graphflow.imaging.formats.voxels import EXPORT_AGAIN, check_memory, silenced

_EXIF_ORIENTATION = 274
#: CMYK, YCbCr, CIELab, ICCLab, ITULab; the JPEG decoder returns RGB.
_OTHER_COLOURS, _JPEG = (5, 6, 8, 9, 10), (6, 7)
_GREY_AND_ALPHA = 4
_TRANSPARENCY = "The image is partly transparent; its alpha channel is ignored."


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
    reader = _read_tiff if kind == "TIFF" else _read_pillow
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


def _page(path: Path, image: Image.Image, indices: bool, notes: list[str]) -> NDArray[Any]:
    if deep := _deep_png(path):
        if deep == _GREY_AND_ALPHA:
            raise UserError(
                f"{path.name} is 16-bit grey with an alpha channel, which is not supported.",
                "Save it without transparency.",
            )
        return _without_alpha(sitk.GetArrayFromImage(sitk.ReadImage(str(path))), notes)
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
        return _without_alpha(np.array(image.convert(plain)), notes)
    notes.append(f"The image is stored as {mode} and was converted to RGB.")
    return np.array(image.convert("RGB"))


def _deep_png(path: Path) -> int:
    """Return the colour type of a 16-bit PNG with channels, which Pillow would cut to 8 bits."""
    with path.open("rb") as file:
        start = file.read(26)
    deep = start.startswith(b"\x89PNG") and start[24] == 16 and start[25] in (2, 4, 6)
    return start[25] if deep else 0


def _without_alpha(array: NDArray[Any], notes: list[str]) -> NDArray[Any]:
    if array.shape[-1] not in (2, 4):
        return array
    alpha = array[..., -1]
    if alpha.size and alpha.min() != alpha.max():
        notes.append(_TRANSPARENCY)
    return np.ascontiguousarray(array[..., 0] if array.shape[-1] == 2 else array[..., :3])


def _read_tiff(path: Path, indices: bool) -> Loaded:
    notes: list[str] = []
    _check_page_links(path)
    with silenced("tifffile"), tifffile.TiffFile(path) as tiff:
        series = tiff.series[0]
        page = series.keyframe
        check_memory(path.name, series.shape, series.size * series.dtype.itemsize)
        if len(tiff.series) > 1:
            notes.append(
                f"The file contains {len(tiff.series)} series of pages; the first is shown."
            )
        try:
            array, axes = series.asarray(), series.axes
        except (ValueError, ImportError):
            if len(series.pages) > 1:
                raise
            # tifffile needs imagecodecs for this compression, SimpleITK does not.
            array = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
            axes = "YXS" if array.ndim == 3 else "YX"
        if page.photometric in _OTHER_COLOURS and page.compression not in _JPEG:
            array, axes = _converted(path, notes), "YXS"
        if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE and array.dtype.kind in "bu":
            array = ~array if array.dtype == bool else np.iinfo(array.dtype).max - array
        array, axes = _channels_last(path, array, axes)
        palette = page.colormap
        if palette is not None and not indices:
            array = np.moveaxis((palette[:, array] >> 8).astype(np.uint8), 0, -1)
            axes += "S"
        spacing = _tiff_spacing(tiff, page, len(axes) - axes.endswith("S"))
    if array.dtype == bool:
        array = array.astype(np.uint8) * 255
    if axes.endswith("S") and page.extrasamples and array.shape[-1] in (2, 4):
        array = _without_alpha(array, notes)
    channels = array.ndim == len(axes) and axes.endswith("S")
    if len(axes) - axes.endswith("S") == 3:
        notes.append(f"The file has {array.shape[0]} pages; they are shown as slices.")
    grid = pixel_grid(spacing, sized=any(size != 1 for size in spacing))
    return Loaded(np.ascontiguousarray(array), grid, channels, tuple(notes))


def _converted(path: Path, notes: list[str]) -> NDArray[Any]:
    """Convert a colour space other than RGB with Pillow."""
    with Image.open(path) as image:
        if getattr(image, "n_frames", 1) > 1 or image.mode not in ("CMYK", "YCbCr", "RGB"):
            raise UserError(
                f"{path.name} has a colour space that is not supported ({image.mode}).",
                "Save it as RGB.",
            )
        if image.mode != "RGB":
            notes.append(f"The image is stored as {image.mode} and was converted to RGB.")
        return np.array(image.convert("RGB"))


def _check_page_links(path: Path) -> None:
    """Refuse pages that are linked in a circle or out of the file, where a reader would hang."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(16)
        order = "<" if start[:2] == b"II" else ">"
        big = start[2:4] in (b"+\0", b"\0+")
        count, entry, link = ("Q", 20, "Q") if big else ("H", 12, "I")
        (offset,) = struct.unpack_from(order + link, start, 8 if big else 4)
        seen = set()
        while offset:
            if offset in seen or offset >= size:
                raise ValueError("the pages are linked in a circle")
            seen.add(offset)
            file.seek(offset)
            (entries,) = struct.unpack(order + count, file.read(struct.calcsize(count)))
            file.seek(entries * entry, 1)
            (offset,) = struct.unpack(order + link, file.read(struct.calcsize(link)))


def _channels_last(path: Path, array: NDArray[Any], axes: str) -> tuple[NDArray[Any], str]:
    """Reorder axes as named by tifffile to (Z)YX(S); drop those of length one."""
    kept = [i for i, axis in enumerate(axes) if axis in "YX" or array.shape[i] > 1]
    array = array.reshape([array.shape[i] for i in kept])
    axes = "".join("S" if axes[i] == "C" and "S" not in axes else axes[i] for i in kept)
    if axes.count("S") == 1:
        array = np.moveaxis(array, axes.index("S"), -1)
        axes = axes.replace("S", "") + "S"
    spatial = axes.removesuffix("S")
    if len(spatial) > 3 or not spatial.endswith("YX") or axes.count("S") > 1:
        raise UserError(
            f"{path.name} has too many axes ({' x '.join(map(str, array.shape))}).",
            "Export a single stack.",
        )
    return array, axes


def _tiff_spacing(tiff: tifffile.TiffFile, page: Any, ndim: int) -> tuple[float, ...]:
    """Return the pixel size in mm, if stored in centimetres or in the unit of ImageJ, else 1."""
    extra = tiff.imagej_metadata or {}
    unit = {"mm": 1.0, "cm": 10.0, "um": 1e-3, "µm": 1e-3, "micron": 1e-3, "\\u00B5m": 1e-3}.get(
        str(extra.get("unit", ""))
    )
    if page.resolutionunit == tifffile.RESUNIT.CENTIMETER and unit is None:
        unit = 10.0
    with suppress(KeyError, ZeroDivisionError, ValueError):
        if unit is not None:
            x, y = (
                _per_pixel(page.tags[name].value) * unit for name in ("XResolution", "YResolution")
            )
            z = float(extra.get("spacing", 0)) * unit or 1.0
            return (z, y, x)[-ndim:]
    return (1.0,) * ndim


def _per_pixel(resolution: tuple[int, int]) -> float:
    if not resolution[1]:
        raise ZeroDivisionError
    return resolution[1] / resolution[0]


def write_image_2d(
    path: Path, array: NDArray[Any], spacing: tuple[float, ...], *, sized: bool
) -> None:
    """Write pixels (y, x), (pages, y, x) or (..., 3) losslessly as PNG or TIFF."""
    if path.suffix.lower() == ".png":
        Image.fromarray(array).save(path)
        return
    colour = array.shape[-1] in (3, 4) and array.ndim > len(spacing)
    tifffile.imwrite(
        path,
        array,
        photometric="rgb" if colour else "minisblack",
        compression="zlib",
        resolution=(10 / spacing[-1], 10 / spacing[-2]) if sized else None,
        resolutionunit="CENTIMETER" if sized else None,
        metadata=None,
    )
