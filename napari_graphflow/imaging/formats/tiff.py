"""TIFF images and stacks, by tifffile."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import tifffile
from numpy.typing import NDArray

from napari_graphflow.errors import UserError
from napari_graphflow.imaging.formats.colours import as_rgb, without_alpha
from napari_graphflow.imaging.formats.loaded import Loaded, pixel_grid
from napari_graphflow.imaging.formats.tiff_size import tiff_spacing
from napari_graphflow.imaging.formats.voxels import check_memory, silenced

#: CMYK, YCbCr, CIELab, ICCLab, ITULab; the JPEG decoder returns RGB.
_OTHER_COLOURS, _JPEG = (5, 6, 8, 9, 10), (6, 7)


def read_tiff(path: Path, indices: bool) -> Loaded:
    """Read the first series of pages of a TIFF; pages become slices.

    Parameters
    ----------
    path
        The file.
    indices
        Return the palette indices rather than the colours, as for a mask.
    """
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


def write_tiff(path: Path, array: NDArray[Any], spacing: tuple[float, ...], *, sized: bool) -> None:
    """Write pixels (y, x), (pages, y, x) or (..., 3) losslessly, with their size in mm."""
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
