"""Read the voxels of a DICOM series slice by slice, each with its own slope and intercept."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_graphflow.errors import UserError
from napari_graphflow.imaging import itk as sitk
from napari_graphflow.imaging.dicom.dose import DOSE
from napari_graphflow.imaging.dicom.headers import Slice
from napari_graphflow.imaging.formats.voxels import EXPORT_AGAIN, check_memory, smallest_type
from napari_graphflow.imaging.intensities import border_regions


def read_stack(slices: Sequence[Slice]) -> NDArray[Any]:
    """Read slices, in their order, as (z, y, x) or (z, y, x, channels).

    Raises
    ------
    UserError
        If pixels cannot be decoded, or the memory is too small.
    """
    decoded = {} if slices[0].frames == 1 or slices[0].start else _decoded_frames(slices)
    array = np.empty(0)
    for index, one in enumerate(slices):
        pixels = decoded[one.frame] if decoded else _pixels(one)
        if not index:
            shape, dtype = (len(slices), *pixels.shape), _value_type(slices, pixels)
            check_memory("The series", shape, math.prod(shape) * dtype.itemsize)
            array = np.empty(shape, dtype)
        if pixels.shape != array.shape[1:] or not pixels.size:
            raise _decode_error(one)
        if array.dtype.kind in "iu" and not _fits(pixels, array.dtype):
            array = array.astype(np.result_type(array.dtype, smallest_type(*_ends(pixels))))
        array[index] = pixels
    return array


def fill_padding(array: NDArray[Any], slices: Sequence[Slice]) -> tuple[str, ...]:
    """Replace the padding outside the field of view, where it is not the smallest value already.

    Parameters
    ----------
    array
        Voxels of `slices`; changed in place.

    Returns
    -------
    warnings
        A sentence if voxels were replaced.
    """
    if array.ndim > 3 or all(one.padding is None for one in slices):
        return ()
    padding = np.zeros(array.shape, bool)
    for plane, found, one in zip(array, padding, slices, strict=True):
        if one.padding is not None:
            half = abs(one.slope) / 2
            np.logical_and(plane > one.padding[0] - half, plane < one.padding[1] + half, out=found)
    if not padding.any() or padding.all():
        return ()
    lowest = array[~padding].min()
    padding &= array > lowest
    outside = border_regions(padding)
    if not outside.any():
        return ()
    array[outside] = lowest
    share = f"{outside.mean():.2%} of the voxels"
    return (f"{share} are padding outside the field of view; they are read as the smallest value.",)


def _ends(pixels: NDArray[Any]) -> tuple[int, int]:
    return int(pixels.min()), int(pixels.max())


def _fits(pixels: NDArray[Any], dtype: np.dtype[Any]) -> bool:
    low, high = _ends(pixels)
    return bool(np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max)


def _value_type(slices: Sequence[Slice], first: NDArray[Any]) -> np.dtype[Any]:
    """Return the initial type: the stored one, or the smallest for the first scaled slice."""
    if first.ndim > 2:
        return first.dtype
    scales = {(one.slope, one.intercept) for one in slices}
    bits, signed = slices[0].stored
    if not all(map(_is_whole, slices)):
        return np.dtype(np.float32 if bits <= 16 else np.float64)
    if scales == {(1.0, 0.0)}:
        width = 8 if bits <= 8 else 16 if bits <= 16 else 32
        return np.dtype(f"{'int' if signed else 'uint'}{width}")
    return np.promote_types(np.int16, smallest_type(*_ends(first)))


def _is_whole(one: Slice) -> bool:
    """Whether slope and intercept of a slice are integers of less than 32 bits."""
    whole = one.slope.is_integer() and one.intercept.is_integer()
    return whole and max(abs(one.slope), abs(one.intercept)) < 1 << 31


def _pixels(one: Slice) -> NDArray[Any]:
    """Read the scaled values of a slice."""
    return _plain(one) if one.start else _decoded(one)[0]


def _plain(one: Slice) -> NDArray[Any]:
    """Read uncompressed values directly from the file."""
    rows, columns = one.shape
    (bits, signed), width = one.stored, one.allocated // 8
    with one.path.open("rb") as file:
        file.seek(one.start + one.frame * rows * columns * width)
        values = np.fromfile(file, f"<{'i' if signed else 'u'}{width}", rows * columns)
    if len(values) < rows * columns:
        raise _decode_error(one)
    if unused := one.allocated - bits:
        # Old files store overlays in the unused high bits.
        values = (values << unused) >> unused
    if (one.slope, one.intercept) == (1.0, 0.0):
        scaled: NDArray[Any] = values
    elif _is_whole(one):
        wide = abs(one.slope) > 1 or one.allocated > 16
        scaled = values.astype(np.int64 if wide else np.int32)
        scaled *= int(one.slope)
        scaled += int(one.intercept)
    else:
        scaled = values * one.slope + one.intercept
    return scaled.reshape(rows, columns)


def _decoded_frames(slices: Sequence[Slice]) -> dict[int, NDArray[Any]]:
    """Read the frames of a compressed file; SimpleITK applies the scale of one frame to all."""
    if len({(one.slope, one.intercept) for one in slices}) > 1:
        raise UserError(
            f"{slices[0].path.name} is compressed with a different intensity scale for each frame, "
            "which is not supported.",
            "Export the series without compression.",
        )
    frames = _decoded(slices[0])
    if max(one.frame for one in slices) >= len(frames):
        raise _decode_error(slices[0])
    return dict(enumerate(frames))


def _decoded(one: Slice) -> NDArray[Any]:
    """Decode all frames of a slice's file, with slope and intercept applied."""
    if one.sop_class == DOSE:
        raise UserError(
            f"The radiotherapy dose {one.path.name} is compressed, which is not supported.",
            "Export it without compression.",
        )
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(one.path))
    try:
        image = reader.Execute()
    except RuntimeError:
        raise _decode_error(one) from None
    array: NDArray[Any] = sitk.GetArrayFromImage(image)
    return array[None] if image.GetDimension() == 2 else array


def _decode_error(one: Slice) -> UserError:
    return UserError(f"The pixels of {one.path.name} cannot be decoded.", EXPORT_AGAIN)


def resample(
    array: NDArray[Any], positions: NDArray[np.float64], step: float, pixel: tuple[float, float]
) -> tuple[NDArray[Any], tuple[float, float]]:
    """Resample uneven or tilted slices to a regular grid by linear interpolation.

    Parameters
    ----------
    array
        Slices (n, y, x).
    positions
        Offsets of the slices along x, y and their normal in mm, shape (n, 3), increasing.
    step
        Slice distance of the regular grid in mm.
    pixel
        Pixel size (y, x) in mm.

    Returns
    -------
    array
        (z, y, x) of the same type; the minimum where no slice reaches.
    corner
        Offset (x, y) of its first voxel in mm.
    """
    shifts = np.round(positions[:, :2] / np.array(pixel[::-1]), 3)
    low = np.floor(shifts.min(axis=0)).astype(int)
    more = np.ceil(shifts.max(axis=0)).astype(int) - low
    count = int(np.floor((positions[-1, 2] - positions[0, 2]) / step + 1e-3)) + 1
    shape = (count, array.shape[1] + more[1], array.shape[2] + more[0])
    check_memory("The series", shape, math.prod(shape) * array.itemsize)
    fill = array.min()
    out = np.empty(shape, array.dtype)
    whole = array.dtype.kind in "iu"
    for index in range(count):
        position = positions[0, 2] + index * step
        upper = int(np.clip(np.searchsorted(positions[:, 2], position), 1, len(positions) - 1))
        gap = positions[upper, 2] - positions[upper - 1, 2]
        weight = np.clip((position - positions[upper - 1, 2]) / gap, 0, 1)
        plane = np.zeros(shape[1:], np.float32)
        for one, share in ((upper - 1, 1 - weight), (upper, weight)):
            if share > 0:
                _add(
                    plane,
                    array[one].astype(np.float32) - np.float32(fill),
                    shifts[one] - low,
                    share,
                )
        plane += np.float32(fill)
        out[index] = np.rint(plane) if whole else plane
    return out, (float(low[0] * pixel[1]), float(low[1] * pixel[0]))


def _add(plane: NDArray[Any], pixels: NDArray[Any], shift: NDArray[Any], share: float) -> None:
    """Add a slice to a plane, shifted by a fraction of pixels (x, y)."""
    x, y = np.floor(shift).astype(int)
    along_x, along_y = shift - (x, y)
    rows, columns = pixels.shape
    for j, weight_y in ((0, 1 - along_y), (1, along_y)):
        for i, weight_x in ((0, 1 - along_x), (1, along_x)):
            if weight := share * weight_x * weight_y:
                plane[y + j : y + j + rows, x + i : x + i + columns] += np.float32(weight) * pixels
