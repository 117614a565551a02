"""Voxels from a file: read once, checked to their end, straight into one array."""

import logging
import math
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import SimpleITK as sitk
from numpy.typing import NDArray

from napari_graphflow.errors import UserError

INFLATER: Any = zlib


with suppress(ImportError):
    # Intel's decoder, three times as fast; not built for every machine.
    from isal import isal_zlib as INFLATER  # noqa: N812


# ITK would print on the console, without a word of ours, what is told as a warning of the volume.
sitk.ProcessObject.SetGlobalWarningDisplay(False)


AGAIN = "Copy or export the file again."


#: Small enough for a block and what comes out of it to stay in the processor's cache.
_BLOCK = 1 << 16


#: Deflate cannot make anything smaller than this.
_LARGEST_RATIO = 1032


@dataclass(frozen=True)
class Geometry:
    """Where a grid lies, as SimpleITK tells it: x first, mm, LPS."""

    spacing: tuple[float, ...]
    origin: tuple[float, ...]
    direction: tuple[float, ...]


@dataclass(frozen=True)
class Loaded:
    """An array, spatial axes first in the order z, y, x, channels last, and where it lies."""

    array: NDArray[Any]
    geometry: Geometry
    channels: bool = False
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Stored:
    """What a header says about the voxels that follow it.

    Attributes
    ----------
    path
        The file that holds the voxels.
    start
        Where their stream begins in the file.
    skip
        Bytes of that stream, after decompression, before the first voxel.
    deflated
        Whether the stream is compressed (gzip or zlib).
    dtype
        Stored type, with its byte order.
    shape
        As stored, slowest axis first.
    channel_axis
        The axis of `shape` that is none of space.
    scale
        Slope and intercept from stored to true values.
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
    """Keep a library from logging what we say in a sentence."""
    logger = logging.getLogger(name)
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def itk_header(path: Path, io: str, name: str) -> tuple[tuple[int, ...], int, Geometry]:
    """Ask SimpleITK for size (x first), number of components and geometry of a file.

    Parameters
    ----------
    path, io
        The file, and SimpleITK's name of its format.
    name
        What to call the file in a sentence.
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
            f"The header of {name} describes no valid image: sizes, voxel size or axes are "
            "missing, zero or not at right angles.",
            "Resample the image to a box, or export it again.",
        )
    return reader.GetSize(), reader.GetNumberOfComponents(), geometry


def _is_sound(geometry: Geometry) -> bool:
    """Whether voxels have a size, and axes are at right angles to the rounding of a header."""
    count = len(geometry.spacing)
    axes = np.array(geometry.direction).reshape(count, count)
    numbers = np.array([*geometry.spacing, *geometry.origin])
    return bool(
        np.isfinite(numbers).all()
        and min(geometry.spacing) > 0
        and np.abs(axes.T @ axes - np.eye(count)).max() < 1e-2
    )


def pixel_grid(spacing: Sequence[float]) -> Geometry:
    """The geometry of a picture, which lies nowhere; `spacing` in the order of the array's axes."""
    count = len(spacing)
    return Geometry(tuple(spacing[::-1]), (0.0,) * count, tuple(np.eye(count).ravel().tolist()))


def spatial(geometry: Geometry) -> Geometry:
    """Leave out the fourth axis, which is time or another count."""
    if len(geometry.spacing) <= 3:
        return geometry
    count = len(geometry.spacing)
    rows = np.array(geometry.direction).reshape(count, count)[:3, :3]
    return Geometry(geometry.spacing[:3], geometry.origin[:3], tuple(rows.ravel().tolist()))


def read_voxels(stored: Stored) -> Loaded:
    """Read the array, in native byte order, with its scale applied.

    Raises
    ------
    UserError
        If the file is cut off or damaged, or if its voxels do not fit into memory.
    """
    check_size(stored)
    array = np.empty(stored.shape, stored.dtype)
    target = array.reshape(-1).view(np.uint8).data
    try:
        with stored.path.open("rb", buffering=0) as file:
            file.seek(stored.start)
            filled, said = (
                _inflate(file, target, stored.skip)
                if stored.deflated
                else _copy(file, target, stored.start + stored.skip)
            )
    except (INFLATER.error, EOFError):
        raise UserError(
            f"{stored.path.name} is damaged: its compressed data are cut off or altered.", AGAIN
        ) from None
    if filled < len(target):
        raise _cut(stored, filled)
    if not array.dtype.isnative:
        array = array.byteswap(inplace=True).view(array.dtype.newbyteorder("="))
    if stored.channel_axis is not None:
        array = np.moveaxis(array, stored.channel_axis, -1)
    said = (*stored.warnings, *said)
    if stored.channel_axis == 0:
        said = (*said, f"The file holds {array.shape[-1]} volumes (4D), kept as channels.")
    channels = stored.channel_axis is not None
    return Loaded(_scaled(array, *stored.scale), stored.geometry, channels, said)


def looked_at(loaded: Loaded) -> Loaded:
    """Look at the values of an image: complex ones become magnitudes, odd ones are told."""
    array, said = loaded.array, list(loaded.warnings)
    if array.dtype.kind == "c":
        array = np.abs(array)
        said.append("The voxels are complex numbers; their magnitude is shown.")
    with np.errstate(all="ignore"):
        odd = array.dtype.kind == "f" and not np.isfinite(array.sum())
    if odd and (share := 1 - float(np.isfinite(array).mean())):
        said.append(f"{share:.2%} of the voxels are no finite numbers (NaN or infinite).")
    if array.size > 1 and _is_constant(array):
        said.append(f"All voxels have the same value, {array.flat[0]}.")
    return replace(loaded, array=array, warnings=tuple(said))


def _is_constant(array: NDArray[Any]) -> bool:
    """Whether all values are equal; a few of them mostly tell."""
    first = array.flat[0]
    few = array[tuple(slice(None, None, max(1, size // 16)) for size in array.shape)]
    return bool((few == first).all() and (array == first).all())


def check_size(stored: Stored) -> None:
    """Refuse, before any memory is taken, what the file or the memory cannot hold."""
    needed = math.prod(stored.shape) * stored.dtype.itemsize
    if needed <= 0:
        raise UserError(f"{stored.path.name} holds no voxels.", AGAIN)
    present = stored.path.stat().st_size - stored.start
    if not stored.deflated:
        present -= stored.skip
    if needed > present * _LARGEST_RATIO if stored.deflated else needed > present:
        raise _cut(stored, present)
    check_memory(stored.path.name, stored.shape, needed)


def check_memory(name: str, shape: tuple[int, ...], needed: int) -> None:
    """Refuse what is larger than the free memory of this computer."""
    free = psutil.virtual_memory().available
    if needed > free:
        raise UserError(
            f"{name} needs {in_bytes(needed)} of memory for {in_voxels(shape)}, "
            f"but only {in_bytes(free)} are free.",
            "Close other programs, or crop the image first.",
        )


def in_bytes(count: float) -> str:
    """A number of bytes in words."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def in_voxels(shape: tuple[int, ...]) -> str:
    """A shape in words."""
    return " x ".join(str(size) for size in shape) + " voxels"


def _cut(stored: Stored, present: int) -> UserError:
    needed = math.prod(stored.shape) * stored.dtype.itemsize
    return UserError(
        f"{stored.path.name} is cut off or its header is wrong: it announces "
        f"{in_voxels(stored.shape)} ({in_bytes(needed)}), but holds {in_bytes(max(0, present))}"
        f"{' of compressed data' if stored.deflated else ''}.",
        AGAIN,
    )


def _copy(file: FileIO, target: memoryview, offset: int) -> tuple[int, tuple[str, ...]]:
    file.seek(offset)
    filled = 0
    while filled < len(target) and (count := file.readinto(target[filled : filled + (64 << 20)])):
        filled += count
    return filled, _more(file.seek(0, 2) - offset - filled)


def _more(left: int) -> tuple[str, ...]:
    said = f"The file holds {in_bytes(left)} more than its header announces; they are left out."
    return (said,) if left > 0 else ()


def _inflate(file: FileIO, target: memoryview, skip: int) -> tuple[int, tuple[str, ...]]:
    """Decompress into `target`, and go on to the end of the stream, where its checksum is."""
    filled = total = 0
    behind: list[str] = []
    for block in _inflated(file, behind):
        total += len(block)
        dropped = min(skip, len(block))
        skip -= dropped
        part = memoryview(block)[dropped : dropped + len(target) - filled]
        target[filled : filled + len(part)] = part
        filled += len(part)
        total -= dropped
    return filled, (*_more(total - filled), *behind)


def _inflated(file: FileIO, behind: list[str]) -> Iterator[bytes]:
    """Yield what a zlib or gzip stream of one or several members holds; verify its checksums.

    What is to be told of the bytes `behind` it is put into that list; zeros fill up a tape.

    Raises
    ------
    INFLATER.error, EOFError
        If a checksum disagrees or the stream ends early.
    """
    decoder = INFLATER.decompressobj(wbits=47)
    block = b""
    while block := block or file.read(_BLOCK):
        if decoder.eof:
            block += file.read(_BLOCK) if len(block) < 2 else b""
            if not block.startswith(b"\x1f\x8b"):
                if any(block):
                    behind.append("Something follows the compressed data; it is left out.")
                return
            decoder = INFLATER.decompressobj(wbits=47)
        yield decoder.decompress(block)
        block = decoder.unused_data
    if not decoder.eof:
        raise EOFError


def _scaled(array: NDArray[Any], slope: float, intercept: float) -> NDArray[Any]:
    """Apply slope and intercept; whole numbers stay whole numbers where both are."""
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
            # Such numbers may be too large for 32 bits.
            narrow &= bool(abs(slope) * float(np.abs(array).max()) + abs(intercept) < 1e38)
        scaled: NDArray[Any] = array.astype(np.float32 if narrow else np.float64)
        np.multiply(scaled, slope, out=scaled)
        np.add(scaled, intercept, out=scaled)
    return scaled


def smallest_type(low: int, high: int) -> np.dtype[Any]:
    """The smallest integer type of at least 16 bits, or uint8, that holds both numbers."""
    for kind in (np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64):
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return np.dtype(kind)
    raise UserError("The image holds numbers that are too large.", AGAIN)
