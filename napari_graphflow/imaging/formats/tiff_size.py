"""The voxel size of a TIFF: from a JSON file beside it, OME-XML, ImageJ, or its resolution."""

import html
import math
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_graphflow.imaging.formats.endings import FORMATS, split_channel, split_ending
from napari_graphflow.system.files import parse_json
from napari_graphflow.system.regular_file import read_regular

if TYPE_CHECKING:
    import tifffile

#: Units in mm, by symbol.
_SYMBOLS = {
    "m": 1e3, "dm": 1e2, "cm": 10.0, "mm": 1.0, "um": 1e-3, "nm": 1e-6, "pm": 1e-9,
    "å": 1e-7, "a": 1e-7, "in": 25.4, '"': 25.4, "km": 1e6, "ft": 304.8,
}  # fmt: skip
#: Names of units, in the singular and American spelling.
_NAMES = {
    "meter": "m", "decimeter": "dm", "centimeter": "cm", "millimeter": "mm", "micrometer": "um",
    "micron": "um", "nanometer": "nm", "picometer": "pm", "angstrom": "a", "ångström": "a",
    "inch": "in", "inche": "in", "kilometer": "km", "foot": "ft", "feet": "ft", "mc": "um",
}  # fmt: skip
#: Units of the tag ResolutionUnit. An inch is a unit of print, not of the object.
_RESOLUTION = {3: 10.0, 4: 1.0, 5: 1e-3}
_UNKNOWN = "The voxel size is unknown; 1 mm is assumed, so distances and volumes may be wrong."
_NO_DISTANCE = (
    "The slice distance is unknown; 1 mm is assumed, so distances and volumes may be wrong."
)
#: Sizes (z, y, x) in mm; None if unknown.
Sizes = tuple[float | None, float | None, float | None]


def unit_in_mm(text: str) -> float | None:
    """Return a unit of length in mm, such as 0.001 for ``micron`` or ``µm``; None if unknown."""
    plain = re.sub(r"\\u00b5|[µμ]", "u", text.strip(), flags=re.IGNORECASE)
    if plain in _SYMBOLS:
        return _SYMBOLS[plain]
    name = plain.lower().replace("metre", "meter")
    symbol = _NAMES.get(name) or _NAMES.get(name.removesuffix("s")) or name
    return _SYMBOLS.get(symbol)


def tiff_spacing(
    path: Path, tiff: "tifffile.TiffFile", page: Any, axes: str
) -> tuple[tuple[float, ...], bool, tuple[str, ...]]:
    """Return the voxel size of a TIFF.

    Parameters
    ----------
    path, tiff, page
        The file, and one of its pages.
    axes
        Axes of the image without channels, such as ``ZYX``, ``TYX`` or ``YX``.

    Returns
    -------
    spacing
        In mm, in the order of the axes; 1 where it is unknown.
    sized
        Whether the pixel size is known.
    warnings
        For a stack whose size is not known completely. Photographs have none.
    """
    ndim, stack = len(axes), len(axes) > 2
    beside, notes = _beside(path, ndim)
    if beside is not None:
        return beside, True, notes
    z, y, x = _of_ome(tiff.ome_metadata) if tiff.ome_metadata else (None, None, None)
    if y is None or x is None:
        (z, y, x), unit_notes = _of_resolution(tiff.imagej_metadata or {}, page)
        notes += unit_notes
    if y is None or x is None:
        return (1.0,) * ndim, False, (*notes, _UNKNOWN) if stack and not notes else notes
    if z is None or axes[0] == "T":
        z = 1.0
        notes = (*notes, _NO_DISTANCE) if stack else notes
    return (z, y, x)[-ndim:], True, notes


def _beside(path: Path, ndim: int) -> tuple[tuple[float, ...] | None, tuple[str, ...]]:
    """Read ``CASE.json`` of nnU-Net beside CASE.tif or CASE_0000.tif: the spacing of the axes."""
    stem = split_ending(path.name, FORMATS["TIFF"].endings)[0]
    for name in dict.fromkeys((stem, split_channel(stem)[0])):
        found = None
        with suppress(OSError, ValueError):
            found = parse_json(read_regular(path.with_name(f"{name}.json")))
        if not isinstance(found, dict) or "spacing" not in found:
            continue
        with suppress(TypeError, ValueError):
            sizes = tuple(float(size) for size in found["spacing"])
            if len(sizes) == ndim and all(math.isfinite(size) and size > 0 for size in sizes):
                return sizes, ()
        return None, (f"The voxel size in {name}.json is not valid and is ignored.",)
    return None, ()


def _of_ome(text: str) -> Sizes:
    """Read PhysicalSizeZ, Y and X of the first image; their default unit is µm."""
    pixels = re.search(r"<(?:\w+:)?Pixels\b[^>]*>", text)
    found = dict(re.findall(r"""(\w+)=["']([^"']*)["']""", pixels[0])) if pixels else {}
    z, y, x = (
        _positive(found.get(key), html.unescape(found.get(f"{key}Unit", "µm")))
        for key in ("PhysicalSizeZ", "PhysicalSizeY", "PhysicalSizeX")
    )
    return z, y, x


def _of_resolution(imagej: Mapping[str, Any], page: Any) -> tuple[Sizes, tuple[str, ...]]:
    """Read the resolution of a page, in the unit of ImageJ or else in its own."""
    unit, name = _RESOLUTION.get(int(page.resolutionunit)), str(imagej.get("unit") or "")
    if name and name.lower() not in ("pixel", "pixels"):
        unit = unit_in_mm(name)
        if unit is None:
            warning = f"The voxel size has the unit “{name}”, which is unknown; 1 mm is assumed."
            return (None, None, None), (warning,)
    if unit is None:
        return (None, None, None), ()
    values = [page.tags.get(tag) for tag in ("YResolution", "XResolution")]
    y, x = (
        value.value[1] / value.value[0] * unit if value and all(value.value) else None
        for value in values
    )
    return (_positive(imagej.get("spacing"), "mm", unit), y, x), ()


def _positive(value: Any, unit: str, factor: float = 1.0) -> float | None:
    in_mm = unit_in_mm(unit)
    with suppress(TypeError, ValueError):
        size = float(value) * factor * (in_mm or math.nan)
        return size if math.isfinite(size) and size > 0 else None
    return None
