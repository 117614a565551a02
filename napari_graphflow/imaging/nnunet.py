"""The steps of nnU-Net v2 around its network: crop, scaling, resampling by splines.

They are those of its default preprocessor, scaling schemes and ``resample_data_or_seg_to_shape``
(Isensee et al., Nature Methods 2021), so that an imported network receives what it learnt from, and
its logits come back to the grid of the image as nnU-Net brings them back.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from napari_graphflow.config.preprocessing import Intensity, NnUNetSteps, Preprocessing

Array = NDArray[np.float32]
#: Ratio of spacings from which the axis with the largest one is resampled by itself.
ANISOTROPIC = 3
#: Smallest divisor of the scaling.
_LEAST = 1e-8


def box_of(inside: NDArray[np.bool_]) -> tuple[slice, ...]:
    """Return the box around the voxels of a mask; the whole array if there are none."""
    found = []
    for axis in range(inside.ndim):
        lines = inside.any(tuple(other for other in range(inside.ndim) if other != axis))
        places = np.flatnonzero(lines)
        found.append(slice(int(places[0]), int(places[-1]) + 1) if places.size else slice(None))
    return tuple(found)


def nonzero(channels: NDArray[Any]) -> NDArray[np.bool_]:
    """Return where a channel of (C, *spatial) is not zero, with holes filled."""
    from scipy.ndimage import binary_fill_holes

    mask: NDArray[np.bool_] = binary_fill_holes((channels != 0).any(0))
    return mask


def scale(
    array: Array, kind: "Intensity", steps: "Preprocessing", channel: int, inside: NDArray[np.bool_]
) -> None:
    """Scale the intensities of a cropped channel in place.

    Parameters
    ----------
    array, inside
        The channel, and its voxels within the non-zero mask.
    kind
        ``zscore``, ``mean_std`` (nnU-Net's CT scheme) after clipping, ``percentile`` (to 0..1),
        ``range`` (8-bit colours) or ``none``.
    steps, channel
        The settings, and which of their numbers are used.
    """
    clip = steps.clip[2 * channel :][:2] or steps.clip[:2]
    if clip:
        np.clip(array, clip[0], clip[1], out=array)
    if kind == "mean_std":
        array -= steps.mean[channel if len(steps.mean) > 1 else 0]
        array /= max(steps.std[channel if len(steps.std) > 1 else 0], _LEAST)
    elif kind == "percentile":
        array -= array.min()
        array /= max(float(array.max()), _LEAST)
    elif kind == "range":
        array /= 255
    elif kind == "zscore":
        assert steps.nnunet is not None
        masked = channel < len(steps.nnunet.masked) and steps.nnunet.masked[channel]
        values = array[inside] if masked else array
        mean, std = values.mean(), max(values.std(), _LEAST)
        if masked:
            array[inside] = (values - mean) / std
        else:
            array -= mean
            array /= std


def separate_axis(
    steps: "NnUNetSteps", before: Sequence[float], after: Sequence[float]
) -> int | None:
    """Return the axis that is resampled by itself, None if all are resampled together."""
    wanted = before if steps.separate_z else None
    if steps.separate_z is None:
        anisotropic = [one for one in (before, after) if max(one) / min(one) > ANISOTROPIC]
        wanted = anisotropic[0] if anisotropic else None
    if wanted is None:
        return None
    # Exactly, as nnU-Net does: of two axes with the largest spacing, none is resampled by itself.
    axes = [axis for axis, size in enumerate(wanted) if max(wanted) / size == 1]
    return axes[0] if len(axes) == 1 else None


def resample(
    array: NDArray[Any], shape: Sequence[int], axis: int | None, order: int, order_z: int
) -> Array:
    """Resample an array (*spatial) to another shape over the same extent.

    Parameters
    ----------
    array
        One channel.
    shape
        Of the result.
    axis
        Axis that is resampled by itself, see `separate_axis`.
    order, order_z
        Order of the splines, and along `axis`.
    """
    from scipy.ndimage import map_coordinates
    from skimage.transform import resize

    if array.shape == tuple(shape):
        return np.asarray(array, np.float32)
    values = array.astype(float)
    options = {"mode": "edge", "anti_aliasing": False, "order": order}
    if axis is None:
        return np.asarray(resize(values, shape, **options), np.float32)
    flat = [n for index, n in enumerate(shape) if index != axis]
    lines = np.stack([resize(one, flat, **options) for one in np.moveaxis(values, axis, 0)])
    if len(lines) != shape[axis]:
        factor = len(lines) / shape[axis]
        rows = factor * (np.arange(shape[axis]) + 0.5) - 0.5
        grid = np.meshgrid(rows, *map(np.arange, flat), indexing="ij", sparse=False)
        lines = map_coordinates(lines, grid, order=order_z, mode="nearest")
    return np.asarray(np.moveaxis(lines, 0, axis), np.float32)
