"""TIFF images and stacks, by tifffile."""

import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_graphflow.errors import UserError
from napari_graphflow.imaging import itk as sitk
from napari_graphflow.imaging.formats.colours import as_rgb, without_alpha
from napari_graphflow.imaging.formats.loaded import Loaded, pixel_grid
from napari_graphflow.imaging.formats.tiff_size import tiff_spacing
from napari_graphflow.imaging.formats.voxels import (
    EXPORT_AGAIN,
    check_memory,
    format_bytes,
    format_shape,
    silenced,
)

if TYPE_CHECKING:
    import tifffile

#: CMYK, YCbCr, CIELab, ICCLab, ITULab; the JPEG decoder returns RGB.
_OTHER_COLOURS, _JPEG = (5, 6, 8, 9, 10), (6, 7)
#: Bytes of a value by type of a tag; the others have one.
_TAG_BYTES = {
    3: 2, 4: 4, 5: 8, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8,
}  # fmt: skip
#: More pixels per byte than any codec of TIFF packs, even of an empty mask.
_MOST_COMPRESSED = 1 << 16


def read_tiff(path: Path, indices: bool) -> Loaded:
    """Read the first series of pages of a TIFF; pages become slices.

    Parameters
    ----------
    path
        The file.
    indices
        Return the palette indices rather than the colours, as for a mask.
    """
    import tifffile

    notes: list[str] = []
    _check_page_links(path)
    with silenced("tifffile"), tifffile.TiffFile(path) as tiff:
        series = tiff.series[0]
        page = series.keyframe
        _check_size(path, series)
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
            array, axes = as_rgb(path, notes), "YXS"
        if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE and array.dtype.kind in "bu":
            array = ~array if array.dtype == bool else np.iinfo(array.dtype).max - array
        array, axes = _channels_last(path, array, axes)
        palette = page.colormap
        if palette is not None and not indices:
            array = np.moveaxis((palette[:, array] >> 8).astype(np.uint8), 0, -1)
            axes += "S"
        spacing, sized, size_notes = tiff_spacing(path, tiff, page, axes.removesuffix("S"))
    if array.dtype == bool:
        array = array.astype(np.uint8) * 255
    if axes.endswith("S") and page.extrasamples and array.shape[-1] in (2, 4):
        array = without_alpha(array, notes)
    channels = array.ndim == len(axes) and axes.endswith("S")
    if len(spacing) == 3:
        what = "time points" if axes.startswith("T") else "pages"
        notes.append(f"The file has {array.shape[0]} {what}; they are shown as slices.")
    grid = pixel_grid(spacing, sized=sized)
    return Loaded(np.ascontiguousarray(array), grid, channels, (*notes, *size_notes))


def _check_size(path: Path, series: "tifffile.TiffPageSeries") -> None:
    """Refuse pixels that cannot be in the file or in memory, before memory is allocated."""
    needed, size = series.size * series.dtype.itemsize, path.stat().st_size
    import tifffile

    plain = series.keyframe.compression == tifffile.COMPRESSION.NONE
    packed = 8 * series.dtype.itemsize // max(1, series.keyframe.bitspersample)
    if needed > size * (max(1, packed) if plain else _MOST_COMPRESSED):
        raise UserError(
            f"{path.name} is damaged: its header states {format_shape(series.shape)}, but the file "
            f"contains {format_bytes(size)}.",
            EXPORT_AGAIN,
        )
    check_memory(path.name, series.shape, needed)


def _check_page_links(path: Path) -> None:
    """Refuse what a reader would hang on or allocate memory for.

    Pages that are linked in a circle or out of the file, and tags whose values are not in it.
    """
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
            (entries,) = struct.unpack(order + count, file.read(struct.calcsize(order + count)))
            if entries * entry > size:
                raise ValueError("the file is too small for its tags")
            for tag in struct.iter_unpack(f"{order}HH{link}{link}", file.read(entries * entry)):
                if tag[2] * _TAG_BYTES.get(tag[1], 1) > size:
                    raise ValueError("the file is too small for the values of a tag")
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


def write_tiff(path: Path, array: NDArray[Any], spacing: tuple[float, ...], *, sized: bool) -> None:
    """Write pixels (y, x), (pages, y, x) or (..., 3) losslessly, with their size in mm."""
    import tifffile

    colour = array.shape[-1] in (3, 4) and array.ndim > len(spacing)
    stack = sized and len(spacing) == 3
    sizes = {
        key: value
        for axis, size in zip("ZYX", spacing, strict=False)
        for key, value in ((f"PhysicalSize{axis}", size), (f"PhysicalSize{axis}Unit", "mm"))
    }
    tifffile.imwrite(
        path,
        array,
        photometric="rgb" if colour else "minisblack",
        compression="zlib",
        resolution=(10 / spacing[-1], 10 / spacing[-2]) if sized else None,
        resolutionunit="CENTIMETER" if sized else None,
        # Only OME-XML stores the distance of slices of any type.
        ome=stack,
        metadata={"axes": "ZYXS" if colour else "ZYX"} | sizes if stack else None,
    )
