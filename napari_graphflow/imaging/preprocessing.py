"""From a stored volume to the array that a network sees, and back to the stored grid.

The parameters are a :class:`~napari_graphflow.config.model_card.Preprocessing`, saved with every
model, so that inference cannot disagree with training.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from napari_graphflow.config.preprocessing import Preprocessing
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.volume import Volume

#: Every volume is brought to this anatomical order: z to the head, y to the back, x to the left.
ORIENTATION = "LPS"


@dataclass(frozen=True)
class Prepared:
    """An image as a network sees it, with what is needed to go back.

    Attributes
    ----------
    array
        float32 of shape (C, z, y, x) or (C, y, x).
    oriented
        The source after permutation and flips, before resampling.
    source
        The volume as it was stored.
    """

    array: NDArray[np.float32]
    oriented: Volume
    source: Volume

    @property
    def resampled(self) -> bool:
        return self.array.shape[1:] != self.oriented.shape


def prepare(volume: Volume, preprocessing: Preprocessing) -> Prepared:
    """Orient, resample and scale the intensities of an image.

    Raises
    ------
    UserError
        If the image has another number of axes than the spacing that it is resampled to.
    """
    oriented = volume.oriented(ORIENTATION) if volume.ndim == 3 else volume
    channels = np.moveaxis(oriented.array, -1, 0) if volume.channels else oriented.array[None]
    dtype = channels.dtype
    shape = target_shape(oriented, preprocessing)
    finite = np.nan_to_num(channels.astype(np.float32), copy=False)
    resampled = _resize(finite, shape, sitk.sitkLinear)
    return Prepared(scale_intensity(resampled, preprocessing, dtype), oriented, volume)


def prepare_labels(labels: Volume, preprocessing: Preprocessing) -> NDArray[np.integer]:
    """Bring a mask to the grid of the prepared image, by nearest neighbour."""
    oriented = labels.oriented(ORIENTATION) if labels.ndim == 3 else labels
    shape = target_shape(oriented, preprocessing)
    indices: NDArray[np.integer] = _resize(
        oriented.array[None], shape, sitk.sitkNearestNeighbor
    ).squeeze(0)
    return indices


def restore_labels(probabilities: NDArray[np.floating], prepared: Prepared) -> Volume:
    """Turn class probabilities (K, *prepared grid) into a mask in the source's own grid.

    Probabilities are interpolated class by class before the largest one is taken, which gives
    smoother edges than resampling a mask and needs memory for two classes only.
    """
    if prepared.resampled:
        shape = prepared.oriented.shape
        best = np.full(shape, -np.inf, np.float32)
        labels = np.zeros(shape, np.uint8 if len(probabilities) <= 256 else np.uint16)
        for index, one in enumerate(probabilities):
            restored = _resize(np.asarray(one, np.float32)[None], shape, sitk.sitkLinear)[0]
            larger = restored > best
            best[larger] = restored[larger]
            labels[larger] = index
    else:
        dtype = np.uint8 if len(probabilities) <= 256 else np.uint16
        labels = np.argmax(probabilities, axis=0).astype(dtype)
    return to_source_order(prepared.oriented.with_array(labels), prepared.source)


def restore_maps(maps: NDArray[np.floating], prepared: Prepared, *, smooth: bool = True) -> Volume:
    """Bring maps (M, *prepared grid) to the source's own grid, channels last."""
    method = sitk.sitkLinear if smooth else sitk.sitkNearestNeighbor
    restored = _resize(np.asarray(maps, np.float32), prepared.oriented.shape, method)
    stacked = prepared.oriented.with_array(np.moveaxis(restored, 0, -1), channels=True)
    return to_source_order(stacked, prepared.source)


def to_source_order(volume: Volume, source: Volume) -> Volume:
    """Undo the permutation and the flips, and take over the source's geometry to the last bit."""
    ordered = volume.oriented(source.orientation) if source.ndim == 3 else volume
    return source.with_array(np.ascontiguousarray(ordered.array), channels=volume.channels)


def target_shape(oriented: Volume, preprocessing: Preprocessing) -> tuple[int, ...]:
    """Shape of the prepared array of an oriented volume."""
    if preprocessing.size is not None and oriented.ndim == 2:
        return preprocessing.size
    spacing = preprocessing.spacing
    if spacing is None:
        return oriented.shape
    if len(spacing) != oriented.ndim:
        raise UserError(
            f"The image has {oriented.ndim} axes, but its spacing is to be {len(spacing)} numbers.",
            "Choose a model that was trained on images of this kind.",
        )
    return tuple(
        max(1, round(size * old / new)) if new else size
        for size, old, new in zip(oriented.shape, oriented.spacing, spacing, strict=True)
    )


def scale_intensity(
    array: NDArray[np.float32], preprocessing: Preprocessing, dtype: np.dtype[Any]
) -> NDArray[np.float32]:
    """Scale the intensities of (C, *spatial), each channel by itself; `dtype` is as stored."""
    kind = preprocessing.intensity
    axes = tuple(range(1, array.ndim))
    if kind == "ct_window":
        low, high = preprocessing.window
        scaled = (np.clip(array, low, high) - low) / (high - low)
    elif kind == "range":
        largest = np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else array.max(initial=0)
        scaled = array / (largest or 1)
    else:
        low, high = np.percentile(array, (0.5, 99.5), axis=axes, keepdims=True)
        clipped = np.clip(array, low, high)
        if kind == "zscore":
            low = clipped.mean(axis=axes, keepdims=True)
            high = low + clipped.std(axis=axes, keepdims=True)
        scaled = (clipped - low) / np.maximum(high - low, 1e-6)
    return np.asarray(scaled, np.float32)


def _resize(array: NDArray[Any], shape: tuple[int, ...], interpolator: int) -> NDArray[Any]:
    """Resize (C, *spatial) to the same extent in `shape` voxels; edges are extended."""
    if array.shape[1:] == shape:
        return array
    old = np.array(array.shape[:0:-1], float)
    new = np.array(shape[::-1], float)
    ratio = old / new
    resampler = sitk.ResampleImageFilter()
    resampler.SetSize([int(n) for n in shape[::-1]])
    resampler.SetOutputSpacing(ratio.tolist())
    # The outer edges of the first and last voxel stay where they are, not the centres.
    resampler.SetOutputOrigin((0.5 * (ratio - 1)).tolist())
    resampler.SetInterpolator(interpolator)
    resampler.UseNearestNeighborExtrapolatorOn()
    out = np.empty((len(array), *shape), array.dtype)
    for index, channel in enumerate(array):
        image = sitk.GetImageFromArray(np.ascontiguousarray(channel))
        out[index] = sitk.GetArrayFromImage(resampler.Execute(image))
    return out
