"""Preprocess images for a network, and restore its output to the source grid.

The settings are a :class:`~napari_graphflow.config.model_card.Preprocessing`, saved with every
model, so that inference uses the same ones as training.
"""

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_graphflow.errors import UserError
from napari_graphflow.imaging import itk as sitk
from napari_graphflow.imaging.intensities import Filled, fill
from napari_graphflow.imaging.sampling import Sampling, same_extent
from napari_graphflow.imaging.volume import Turn, Volume

if TYPE_CHECKING:  # exports run this file without pydantic
    from napari_graphflow.config.preprocessing import Intensity, Preprocessing

#: Kinds of scaling with numbers from the image itself.
_BY_CASE = ("zscore", "percentile", "range")
#: Smallest share of replaced voxels that is mentioned.
_MENTIONED = 1e-4
#: Relative difference below which values count as equal.
_ROUNDING = 3e-7


@dataclass(frozen=True)
class Preprocessed:
    """A network input, with what is needed to restore the source grid.

    Attributes
    ----------
    array
        float32 of shape (C, z, y, x) or (C, y, x), with the axes in the order of the settings.
    oriented
        The source volume after reorientation and cropping, before resampling.
    source
        The volume as stored.
    turn
        The reorientation.
    warnings
        Sentences about voxels without intensities.
    box
        Part of the reoriented volume that was kept; empty if all of it was.
    back
        Where the voxels of the reoriented volume lie in the network input; None if both have the
        same extent.
    """

    array: NDArray[np.float32]
    oriented: Volume
    source: Volume
    turn: Turn
    warnings: tuple[str, ...] = ()
    box: tuple[slice, ...] = ()
    back: Sampling | None = None

    @property
    def restoring(self) -> Sampling:
        """Where the voxels of the reoriented volume lie in the network input."""
        return self.back or same_extent(self.array.shape[1:], self.oriented.shape)


def prepare(volume: Volume, preprocessing: "Preprocessing") -> Preprocessed:
    """Reorient and resample an image, and scale its intensities.

    NaN, infinite values and fill values are replaced by the extremes of the others, with a
    warning; those outside the field of view by the smallest.

    Raises
    ------
    UserError
        If the target spacing has another number of axes than the image, the settings are for
        another number of channels, or the image has no finite values.
    """
    turn = _turn(volume, preprocessing)
    oriented = volume.turned(turn)
    if preprocessing.nnunet is not None:
        return _prepare_as_nnunet(volume, oriented, turn, preprocessing)
    channels = np.moveaxis(oriented.array, -1, 0) if volume.channels else oriented.array[None]
    kinds = _kinds(len(channels), preprocessing)
    grid = target_grid(oriented, preprocessing)
    resized: list[NDArray[np.float32]] = []
    bounds, warnings = [], []
    for index, (channel, kind) in enumerate(zip(channels, kinds, strict=True)):
        stored_range = kind == "range" and channel.dtype.kind in "iub"
        filled = fill(channel, finite_only=stored_range, keep_metal=kind not in _BY_CASE)
        if filled is None:
            raise UserError("The image contains no finite values.", "Export it again.")
        if filled.share >= _MENTIONED:
            warnings.append(_replaced(filled.share, index, len(channels)))
        bounds.append(_case_bounds(filled, preprocessing))
        resized.append(_resize(filled.array[None], grid, sitk.sitkLinear))
        del filled  # a volume of memory
    prepared = resized.pop() if len(resized) == 1 else np.concatenate(resized)
    del resized
    largest = _largest(prepared, channels.dtype)
    for index, kind in enumerate(kinds):
        _scale(prepared[index], kind, preprocessing, index, bounds[index], largest)
    back = grid.inverse(oriented.shape) if preprocessing.grid == "centres" else None
    return Preprocessed(prepared, oriented, volume, turn, tuple(warnings), back=back)


def _prepare_as_nnunet(
    volume: Volume, oriented: Volume, turn: Turn, preprocessing: "Preprocessing"
) -> Preprocessed:
    """Crop to the voxels that are not zero, scale, and resample by splines."""
    from napari_graphflow.imaging import nnunet

    steps = preprocessing.nnunet
    assert steps is not None
    channels = np.moveaxis(oriented.array, -1, 0) if volume.channels else oriented.array[None]
    kinds = _kinds(len(channels), preprocessing)
    filled = [fill(channel, finite_only=True) for channel in channels]
    shares = [1.0 if one is None else one.share for one in filled]
    known = [one.array for one in filled if one is not None]
    if len(known) < len(channels):
        raise UserError("The image contains no finite values.", "Export it again.")
    warnings = [
        _replaced(share, index, len(channels))
        for index, share in enumerate(shares)
        if share >= _MENTIONED
    ]
    inside = nnunet.nonzero(np.stack(known))
    box = nnunet.box_of(inside)
    cropped = cropped_to(oriented, box)
    shape = target_shape(cropped, preprocessing)
    spacing = target_spacing(cropped, preprocessing)
    axis = nnunet.separate_axis(steps, cropped.spacing, spacing)
    prepared = np.empty((len(channels), *shape), np.float32)
    for index, kind in enumerate(kinds):
        one = np.ascontiguousarray(known[index][box])
        nnunet.scale(one, kind, preprocessing, index, inside[box])
        prepared[index] = nnunet.resample(one, shape, axis, steps.order, steps.order_z)
    return Preprocessed(prepared, cropped, volume, turn, tuple(warnings), box)


def cropped_to(volume: Volume, box: tuple[slice, ...]) -> Volume:
    """Return the part of a volume in a box; an empty box keeps all of it."""
    if not box:
        return volume
    starts = np.array([part.start or 0 for part in box])[::-1]
    origin = np.array(volume.origin) + (volume.matrix * volume.spacing[::-1]) @ starts
    return replace(volume, array=volume.array[box], origin=tuple(origin.tolist()))


def prepare_labels(
    labels: Volume, preprocessing: "Preprocessing", box: tuple[slice, ...] = ()
) -> NDArray[np.integer]:
    """Resample a mask to the grid of the preprocessed image, by nearest neighbour.

    Parameters
    ----------
    labels, preprocessing
        The mask in the grid of the image as stored, and the settings.
    box
        Part of the image that was kept, see `Preprocessed`.
    """
    oriented = cropped_to(labels.turned(_turn(labels, preprocessing)), box)
    grid = target_grid(oriented, preprocessing)
    indices: NDArray[np.integer] = _resize(
        oriented.array[None], grid, sitk.sitkNearestNeighbor
    ).squeeze(0)
    return indices


def prepare_probabilities(
    probabilities: Volume, preprocessing: "Preprocessing", box: tuple[slice, ...] = ()
) -> NDArray[np.float32]:
    """Resample class probabilities to the grid of the preprocessed image, by linear interpolation.

    Parameters
    ----------
    probabilities
        (*spatial, K), in the grid of the image as stored.
    preprocessing, box
        As of `prepare_labels`.

    Returns
    -------
    resampled
        (K, *preprocessed grid).
    """
    oriented = cropped_to(probabilities.turned(_turn(probabilities, preprocessing)), box)
    grid = target_grid(oriented, preprocessing)
    classes = (np.asarray(one, np.float32) for one in np.moveaxis(oriented.array, -1, 0))
    return np.stack([_resize(one[None], grid, sitk.sitkLinear)[0] for one in classes])


def restore_labels(probabilities: NDArray[np.floating], preprocessed: Preprocessed) -> Volume:
    """Convert class probabilities (K, *preprocessed grid) to a label map on the source grid.

    Probabilities are resampled class by class before the argmax, which gives smoother edges than
    resampling a label map and needs memory for two classes only.
    """
    grid = preprocessed.restoring
    if not grid.same:
        shape = grid.shape
        best = np.full(shape, -np.inf, np.float32)
        labels = np.zeros(shape, np.uint8 if len(probabilities) <= 256 else np.uint16)
        for index, one in enumerate(probabilities):
            restored = _resize(np.asarray(one, np.float32)[None], grid, sitk.sitkLinear)[0]
            larger = restored > best
            best[larger] = restored[larger]
            labels[larger] = index
    else:
        dtype = np.uint8 if len(probabilities) <= 256 else np.uint16
        labels = np.argmax(probabilities, axis=0).astype(dtype)
    return to_source_orientation(labels, preprocessed)


def restore_maps(
    maps: NDArray[np.floating], preprocessed: Preprocessed, *, smooth: bool = True
) -> Volume:
    """Resample maps (M, *preprocessed grid) to the source grid, channels last."""
    method = sitk.sitkLinear if smooth else sitk.sitkNearestNeighbor
    restored = _resize(np.asarray(maps, np.float32), preprocessed.restoring, method)
    return to_source_orientation(np.moveaxis(restored, 0, -1), preprocessed, channels=True)


def to_source_orientation(
    array: NDArray[Any], preprocessed: Preprocessed, *, channels: bool = False
) -> Volume:
    """Undo crop and reorientation, and take over the exact geometry of the source."""
    if preprocessed.box:
        turned = preprocessed.turn.apply(preprocessed.source.array)
        whole = np.zeros(
            (*turned.shape[: len(preprocessed.box)], *array.shape[-1:] * channels), array.dtype
        )
        whole[preprocessed.box] = array
        array = whole
    ordered = np.ascontiguousarray(preprocessed.turn.undo(array))
    return preprocessed.source.with_array(ordered, channels=channels)


def target_shape(oriented: Volume, preprocessing: "Preprocessing") -> tuple[int, ...]:
    """Return the spatial shape of the preprocessed array of an oriented volume."""
    if preprocessing.size is not None and oriented.ndim == 2:
        return preprocessing.size
    spacing = preprocessing.spacing
    if spacing is None:
        return oriented.shape
    if len(spacing) != oriented.ndim:
        raise UserError(
            f"The image has {oriented.ndim} axes, but the target spacing has {len(spacing)}.",
            f"Choose a model trained on {oriented.ndim}D images.",
        )
    # Between the centres of the first and last voxel there is one spacing less than voxels.
    apart = preprocessing.grid == "centres"
    return tuple(
        max(1, round(old / new * (size - apart) + apart)) if new else size
        for size, old, new in zip(oriented.shape, oriented.spacing, spacing, strict=True)
    )


def target_grid(oriented: Volume, preprocessing: "Preprocessing") -> Sampling:
    """Return where the voxels of the preprocessed array lie in those of an oriented volume."""
    shape = target_shape(oriented, preprocessing)
    if preprocessing.grid == "extent" or preprocessing.spacing is None:
        return same_extent(oriented.shape, shape)
    spacing = target_spacing(oriented, preprocessing)
    ratio = tuple(new / old for new, old in zip(spacing, oriented.spacing, strict=True))
    return Sampling(shape, ratio, (0.0,) * len(ratio))


def target_spacing(oriented: Volume, preprocessing: "Preprocessing") -> tuple[float, ...]:
    """Return the voxel spacing of the preprocessed array of an oriented volume."""
    wanted = preprocessing.spacing or oriented.spacing
    return tuple(new or old for new, old in zip(wanted, oriented.spacing, strict=True))


def _turn(volume: Volume, preprocessing: "Preprocessing") -> Turn:
    if volume.ndim == 3:
        return volume.turn(preprocessing.code(volume.orientation))
    flat = [axis for axis in preprocessing.axes if axis != "z"]
    return Turn(tuple("yx".index(axis) for axis in flat), (False, False))


def _kinds(channels: int, preprocessing: "Preprocessing") -> "tuple[Intensity, ...]":
    known = preprocessing.channels
    if known not in (None, channels):
        raise UserError(
            f"The preprocessing has numbers for {known} channels, but the image has {channels}.",
            "Correct the preprocessing in model.json, or choose another image.",
        )
    return preprocessing.channel_intensity or (preprocessing.intensity,) * channels


def _replaced(share: float, index: int, channels: int) -> str:
    where = f" of channel {index}" if channels > 1 else ""
    return (
        f"{share:.2%} of the voxels{where} are not finite or far outside all intensities; they "
        "count as the smallest or largest intensity."
    )


def _case_bounds(filled: Filled, preprocessing: "Preprocessing") -> tuple[float, float] | None:
    """Return the percentiles of the intensities; None if nothing was replaced."""
    if filled.intensities is None:
        return None
    low, high = np.percentile(filled.array[filled.intensities], preprocessing.percentiles)
    return float(low), float(high)


def _largest(array: NDArray[np.float32], stored: np.dtype[Any]) -> float:
    """Return the largest value of the stored integer type, or of the array."""
    if np.issubdtype(stored, np.integer):
        return float(np.iinfo(stored).max)
    return float(array.max(initial=0)) or 1.0


def _scale(
    array: NDArray[np.float32],
    kind: "Intensity",
    preprocessing: "Preprocessing",
    channel: int,
    bounds: tuple[float, float] | None,
    largest: float,
) -> None:
    """Scale the intensities of a channel in place; see `_case_bounds` and `_largest`."""
    clip = preprocessing.clip[2 * channel :][:2] or preprocessing.clip[:2]
    if clip:
        np.clip(array, clip[0], clip[1], out=array)
    if kind == "none":
        return
    if kind == "mean_std":
        mean, std = (
            one[channel if len(one) > 1 else 0] for one in (preprocessing.mean, preprocessing.std)
        )
        array -= mean
        array /= std
        return
    if kind == "ct_window":
        low, high = preprocessing.window
        np.clip(array, low, high, out=array)
        array -= low
        array /= high - low
        return
    if kind == "range":
        array /= largest
        return
    found = np.percentile(array, preprocessing.percentiles) if bounds is None else bounds
    lower, upper = (float(one) for one in found)
    np.clip(array, lower, upper, out=array)
    if kind == "zscore":
        lower = float(array.mean(dtype=np.float64))
        # By slices, since std() takes the memory of the whole array.
        squares = sum(float(np.square(one - lower).sum(dtype=np.float64)) for one in array)
        upper = lower + math.sqrt(squares / array.size)
    spread = upper - lower
    # Rounding errors are no contrast.
    if spread <= _ROUNDING * max(abs(lower), abs(upper)):
        array[...] = 0
        return
    array -= lower
    array /= spread


def _resize(array: NDArray[Any], grid: Sampling, interpolator: int) -> NDArray[Any]:
    """Resample (C, *spatial) to another grid; edges are extended."""
    if grid.same:
        return array
    resampler = sitk.ResampleImageFilter()
    resampler.SetSize([int(n) for n in grid.shape[::-1]])
    resampler.SetOutputSpacing(grid.ratio[::-1])
    resampler.SetOutputOrigin(grid.offset[::-1])
    resampler.SetInterpolator(interpolator)
    resampler.UseNearestNeighborExtrapolatorOn()
    out = np.empty((len(array), *grid.shape), array.dtype)
    for index, channel in enumerate(array):
        image = sitk.GetImageFromArray(np.ascontiguousarray(channel))
        out[index] = sitk.GetArrayFromImage(resampler.Execute(image))
    return out
