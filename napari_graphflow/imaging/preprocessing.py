"""Preprocess images for a network, and restore its output to the source grid.

The settings are a :class:`~napari_graphflow.config.model_card.Preprocessing`, saved with every
model, so that inference uses the same ones as training.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from napari_graphflow.config.preprocessing import Preprocessing
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.volume import Volume

#: Every volume is reoriented to this code: x to the left, y to the back, z to the head.
ORIENTATION = "LPS"


@dataclass(frozen=True)
class Preprocessed:
    """A network input, with what is needed to restore the source grid.

    Attributes
    ----------
    array
        float32 of shape (C, z, y, x) or (C, y, x).
    oriented
        The source volume after reorientation, before resampling.
    source
        The volume as stored.
    """

    array: NDArray[np.float32]
    oriented: Volume
    source: Volume

    @property
    def resampled(self) -> bool:
        """Whether the network input has another grid than the oriented volume."""
        return self.array.shape[1:] != self.oriented.shape


def prepare(volume: Volume, preprocessing: Preprocessing) -> Preprocessed:
    """Reorient and resample an image, and scale its intensities.

    Raises
    ------
    UserError
        If the target spacing has another number of axes than the image.
    """
    oriented = volume.oriented(ORIENTATION) if volume.ndim == 3 else volume
    channels = np.moveaxis(oriented.array, -1, 0) if volume.channels else oriented.array[None]
    dtype = channels.dtype
    shape = target_shape(oriented, preprocessing)
    finite = np.nan_to_num(channels.astype(np.float32), copy=False)
    resampled = _resize(finite, shape, sitk.sitkLinear)
    return Preprocessed(scale_intensity(resampled, preprocessing, dtype), oriented, volume)


def prepare_labels(labels: Volume, preprocessing: Preprocessing) -> NDArray[np.integer]:
    """Resample a mask to the grid of the preprocessed image, by nearest neighbour."""
    oriented = labels.oriented(ORIENTATION) if labels.ndim == 3 else labels
    shape = target_shape(oriented, preprocessing)
    indices: NDArray[np.integer] = _resize(
        oriented.array[None], shape, sitk.sitkNearestNeighbor
    ).squeeze(0)
    return indices


def restore_labels(probabilities: NDArray[np.floating], preprocessed: Preprocessed) -> Volume:
    """Convert class probabilities (K, *preprocessed grid) to a label map on the source grid.

    Probabilities are resampled class by class before the argmax, which gives smoother edges than
    resampling a label map and needs memory for two classes only.
    """
    if preprocessed.resampled:
        shape = preprocessed.oriented.shape
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
    return to_source_orientation(preprocessed.oriented.with_array(labels), preprocessed.source)


def restore_maps(
    maps: NDArray[np.floating], preprocessed: Preprocessed, *, smooth: bool = True
) -> Volume:
    """Resample maps (M, *preprocessed grid) to the source grid, channels last."""
    method = sitk.sitkLinear if smooth else sitk.sitkNearestNeighbor
    restored = _resize(np.asarray(maps, np.float32), preprocessed.oriented.shape, method)
    stacked = preprocessed.oriented.with_array(np.moveaxis(restored, 0, -1), channels=True)
    return to_source_orientation(stacked, preprocessed.source)


def to_source_orientation(volume: Volume, source: Volume) -> Volume:
    """Undo the reorientation, and take over the exact geometry of the source."""
    ordered = volume.oriented(source.orientation) if source.ndim == 3 else volume
    return source.with_array(np.ascontiguousarray(ordered.array), channels=volume.channels)


def target_shape(oriented: Volume, preprocessing: Preprocessing) -> tuple[int, ...]:
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
    return tuple(
        max(1, round(size * old / new)) if new else size
        for size, old, new in zip(oriented.shape, oriented.spacing, spacing, strict=True)
    )


def scale_intensity(
    array: NDArray[np.float32], preprocessing: Preprocessing, dtype: np.dtype[Any]
) -> NDArray[np.float32]:
    """Scale the intensities of (C, *spatial) channel by channel; `dtype` is the stored type."""
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
    """Resample (C, *spatial) to `shape` voxels over the same extent; edges are extended."""
    if array.shape[1:] == shape:
        return array
    old = np.array(array.shape[:0:-1], float)
    new = np.array(shape[::-1], float)
    ratio = old / new
    resampler = sitk.ResampleImageFilter()
    resampler.SetSize([int(n) for n in shape[::-1]])
    resampler.SetOutputSpacing(ratio.tolist())
    # Aligns the outer edges of the first and last voxel, not their centres.
    resampler.SetOutputOrigin((0.5 * (ratio - 1)).tolist())
    resampler.SetInterpolator(interpolator)
    resampler.UseNearestNeighborExtrapolatorOn()
    out = np.empty((len(array), *shape), array.dtype)
    for index, channel in enumerate(array):
        image = sitk.GetImageFromArray(np.ascontiguousarray(channel))
        out[index] = sitk.GetArrayFromImage(resampler.Execute(image))
    return out
