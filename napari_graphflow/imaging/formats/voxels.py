"""Read the voxels of a file into one array, and check the stream to its end."""

import logging
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from napari_graphflow.errors import UserError
from napari_graphflow.imaging import itk as sitk
from napari_graphflow.imaging.formats.loaded import Geometry, Loaded, spatial

INFLATER: Any = zlib


with suppress(ImportError):
    # Intel's decoder, about three times as fast; not available for every platform.
    from isal import isal_zlib as INFLATER  # noqa: N812


EXPORT_AGAIN = "Copy or export the file again."
#: Block size in bytes; a block and its decompressed data fit into the CPU cache.
_BLOCK = 1 << 16
#: Largest compression ratio of deflate.
_MAX_RATIO = 1032


@dataclass(frozen=True)
class Stored:
    """How the voxels are stored, from the header.

    Attributes
    ----------
    path
        The file with the voxels.
    start
        Byte offset of the voxel stream in the file.
    skip
        Bytes of the decompressed stream before the first voxel.
    deflated
        Whether the stream is compressed (gzip or zlib).
    dtype
        Stored type with byte order.
    shape
        Stored shape, slowest axis first.
    channel_axis
        The axis of `shape` that is not spatial.
    scale
        Slope and intercept applied to the stored values.
    """

    format: str
    path: Path
    start: int
    skip: int
    deflated: bool
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    channel_axis: int | None
    geometry: Geometry
    scale: tuple[float, float] = (1.0, 0.0)
    warnings: tuple[str, ...] = ()


@contextmanager
def silenced(name: str) -> Iterator[None]:
    """Disable the logger of a library whose errors are reported as a `UserError`."""
    logger = logging.getLogger(name)
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def itk_header(path: Path, io: str, name: str) -> tuple[tuple[int, ...], int, Geometry]:
    """Read size (x first), number of components and geometry of a file with SimpleITK.

    Parameters
    ----------
    path, io
        The file, and the name of SimpleITK's reader.
    name
        File name for messages.

    Raises
    ------
    UserError
        If the header does not describe a valid grid.
    """
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.SetImageIO(io)
    try:
        reader.ReadImageInformation()
        geometry = Geometry(reader.GetSpacing(), reader.GetOrigin(), reader.GetDirection())
        geometry = spatial(geometry)
        sound = _is_sound(geometry)
    except RuntimeError:
        sound = False
    if not sound:
        raise UserError(
            f"The header of {name} is not valid: the shape, voxel spacing or direction is missing, "
            "zero or not orthogonal.",
            "Resample the image to a rectangular grid, or export it again.",
        )
    return reader.GetSize(), reader.GetNumberOfComponents(), geometry


def _is_sound(geometry: Geometry) -> bool:
    """Whether the spacing is positive and the axes are orthogonal, up to rounding."""
    count = len(geometry.spacing)
    axes = np.array(geometry.direction).reshape(count, count)
    numbers = np.array([*geometry.spacing, *geometry.origin])
    return bool(
        np.isfinite(numbers).all()
        and min(geometry.spacing) > 0
        and np.abs(axes.T @ axes - np.eye(count)).max() < 1e-2
    )


def read_voxels(stored: Stored) -> Loaded:
    """Read the array in native byte order and apply its scale.

    Raises
    ------
    UserError
        If the file is truncated or damaged, or its voxels do not fit into memory.
    """
    check_size(stored)
    array = np.empty(stored.shape, stored.dtype)
    target = array.reshape(-1).view(np.uint8).data
    try:
        with stored.path.open("rb", buffering=0) as file:
            file.seek(stored.start)
            filled, warnings = (
                _inflate(file, target, stored.skip)
                if stored.deflated
                else _copy(file, target, stored.start + stored.skip)
            )
    except (INFLATER.error, EOFError):
        raise UserError(
            f"{stored.path.name} is damaged: its compressed data is truncated or altered.",
            EXPORT_AGAIN,
        ) from None
    if filled < len(target):
        raise _cut(stored, filled)
    if not array.dtype.isnative:
        array = array.byteswap(inplace=True).view(array.dtype.newbyteorder("="))
    if stored.channel_axis is not None:
        array = np.moveaxis(array, stored.channel_axis, -1)
    warnings = (*stored.warnings, *warnings)
    if stored.channel_axis == 0:
        warnings = (
            *warnings,
            f"The file contains {array.shape[-1]} volumes (4D), read as channels.",
        )
    channels = stored.channel_axis is not None
    frames = stored.channel_axis == 0
    array = _scaled(array, *stored.scale)
    return Loaded(array, stored.geometry, channels, warnings, frames=frames)


def check_size(stored: Stored) -> None:
    """Refuse a shape that the file or the memory cannot hold, before allocating it.

    Raises
    ------
    UserError
        If the file is empty or truncated, or the memory is too small.
    """
    needed = math.prod(stored.shape) * stored.dtype.itemsize
    if needed <= 0:
        raise UserError(f"{stored.path.name} contains no voxels.", EXPORT_AGAIN)
    present = stored.path.stat().st_size - stored.start
    if not stored.deflated:
        present -= stored.skip
    if needed > present * _MAX_RATIO if stored.deflated else needed > present:
        raise _cut(stored, present)
    check_memory(stored.path.name, stored.shape, needed)


def check_memory(name: str, shape: tuple[int, ...], needed: int) -> None:
    """Refuse an array that is larger than the free memory of this computer."""
    free = psutil.virtual_memory().available
    if needed > free:
        raise UserError(
            f"{name} needs {format_bytes(needed)} of memory for {format_shape(shape)}, "
            f"but only {format_bytes(free)} is free.",
            "Close other programs, or crop the image first.",
        )


def format_bytes(count: float) -> str:
    """Format a number of bytes, such as ``1.5 GB``."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def format_shape(shape: tuple[int, ...]) -> str:
    """Format a shape, such as ``4 x 256 x 256 voxels``."""
    return " x ".join(str(size) for size in shape) + " voxels"


def _cut(stored: Stored, present: int) -> UserError:
    needed = math.prod(stored.shape) * stored.dtype.itemsize
    return UserError(
        f"{stored.path.name} is truncated or its header is wrong: the header states "
        f"{format_shape(stored.shape)} ({format_bytes(needed)}), but the file contains "
        f"{format_bytes(max(0, present))}"
        f"{' of compressed data' if stored.deflated else ''}.",
        EXPORT_AGAIN,
    )


def _copy(file: FileIO, target: memoryview, offset: int) -> tuple[int, tuple[str, ...]]:
    file.seek(offset)
    filled = 0
    while filled < len(target) and (count := file.readinto(target[filled : filled + (64 << 20)])):
        filled += count
    return filled, _trailing_warning(file.seek(0, 2) - offset - filled)


def _trailing_warning(left: int) -> tuple[str, ...]:
    warning = (
        f"The file contains {format_bytes(left)} more than its header states; they are ignored."
    )
    return (warning,) if left > 0 else ()


def _inflate(file: FileIO, target: memoryview, skip: int) -> tuple[int, tuple[str, ...]]:
    """Decompress into `target`, and read on to the checksum at the end of the stream."""
    filled = total = 0
    trailing: list[str] = []
    for block in _inflated(file, trailing):
        total += len(block)
        dropped = min(skip, len(block))
        skip -= dropped
        part = memoryview(block)[dropped : dropped + len(target) - filled]
        target[filled : filled + len(part)] = part
        filled += len(part)
        total -= dropped
    return filled, (*_trailing_warning(total - filled), *trailing)


def _inflated(file: FileIO, trailing: list[str]) -> Iterator[bytes]:
    """Decompress a zlib or gzip stream of one or several members, and verify its checksums.

    A warning of trailing data is appended to `trailing`; zeros are padding.

    Raises
    ------
    INFLATER.error, EOFError
        If a checksum does not match or the stream ends early.
    """
    decoder = INFLATER.decompressobj(wbits=47)
    block = b""
    while block := block or file.read(_BLOCK):
        if decoder.eof:
            block += file.read(_BLOCK) if len(block) < 2 else b""
            if not block.startswith(b"\x1f\x8b"):
                if any(block):
                    trailing.append(
                        "The compressed data is followed by other data, which is ignored."
                    )
                return
            decoder = INFLATER.decompressobj(wbits=47)
        yield decoder.decompress(block)
        block = decoder.unused_data
    if not decoder.eof:
        raise EOFError


def _scaled(array: NDArray[Any], slope: float, intercept: float) -> NDArray[Any]:
    """Apply slope and intercept; integers stay integers for slope 1 and an integer intercept."""
    if (slope, intercept) == (1.0, 0.0):
        return array
    whole_shift = slope == 1.0 and intercept.is_integer() and abs(intercept) < 1 << 62
    if array.dtype.kind in "iu" and whole_shift:
        low, high = (int(end) + int(intercept) for end in (array.min(), array.max()))
        whole: NDArray[Any] = array.astype(smallest_type(low, high))
        whole += whole.dtype.type(int(intercept))
        return whole
    narrow = array.dtype.itemsize <= 2 or array.dtype == np.float32
    with np.errstate(all="ignore"):
        if abs(slope) > 1 << 20 or abs(intercept) > 1 << 100:
            # The scaled values may overflow float32.
            narrow &= bool(abs(slope) * float(np.abs(array).max()) + abs(intercept) < 1e38)
        scaled: NDArray[Any] = array.astype(np.float32 if narrow else np.float64)
        np.multiply(scaled, slope, out=scaled)
        np.add(scaled, intercept, out=scaled)
    return scaled


def smallest_type(low: int, high: int) -> np.dtype[Any]:
    """Return the smallest of uint8 and the integer types of 16 bits or more that holds both."""
    for kind in (np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64):
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return np.dtype(kind)
    raise UserError("The image contains numbers that are too large.", EXPORT_AGAIN)
