"""Convert the stored values of masks to labels."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_graphflow.errors import UserError

#: Value of unannotated voxels, which count neither for nor against.
IGNORE = 255
#: More intermediate grey levels than this mean blurred edges, not classes.
_MAX_CLASSES_2D = 16
_INVERTED_SHARE = 0.85


def as_labels(
    array: NDArray[Any], *, name: str, channels: bool = False, image_2d: bool = False,
    lossy: bool = False, white: bool = True, frames: bool = False,
) -> tuple[NDArray[Any], tuple[str, ...]]:  # fmt: skip
    """Convert the stored values of a mask to labels of the smallest unsigned integer type.

    Parameters
    ----------
    array
        Spatial axes first; the channels as the last axis if `channels` is True.
    name
        File name for messages.
    white
        Whether 255 means foreground in a mask of 0 and 255 alone, and becomes 1; with False it is
        kept, for callers that know the classes.
    frames
        Whether the channels are the volumes of a 4D file, which may be time points.
    image_2d, lossy
        Whether the mask is a 2D image file, and whether its compression is lossy (JPEG).

    Returns
    -------
    labels, warnings

    Raises
    ------
    UserError
        If the values cannot be interpreted as labels unambiguously.
    """
    warnings: list[str] = []
    if channels and image_2d:
        array = _from_colours(array, name, 24 if lossy else 0)
    elif channels:
        array = _from_one_hot(array, name, warnings, frames)
    array = _whole(array, name)
    values = values_of(array)
    if values[0] < 0:
        raise UserError(
            f"The mask {name} contains negative values, down to {values[0]}.",
            f"Write {IGNORE} for voxels to be ignored.",
        )
    if lossy or (image_2d and _is_blurred(values)):
        array = _threshold(array, name, warnings) * np.uint8(IGNORE)
    if white and only_white(array):
        array = array > 0
    largest = int(array.max())
    if largest > np.iinfo(np.uint32).max:
        raise _too_large(name)
    labels = array.astype(np.min_scalar_type(largest), copy=False)
    return labels, tuple(warnings)


def only_white(array: NDArray[Any]) -> bool:
    """Whether a mask has the value 255 and no other but 0, as programs write binary masks."""
    return values_of(array).tolist() in ([0, IGNORE], [IGNORE])


def inverted_warning(labels: NDArray[Any], ignore: int | None = None) -> tuple[str, ...]:
    """Warn if nearly all voxels are foreground; voxels to be ignored are not."""
    unseen = np.isin(labels, (0, IGNORE if ignore is None else ignore))
    share = 1 - np.count_nonzero(unseen) / labels.size
    if share <= _INVERTED_SHARE:
        return ()
    warning = (
        f"{share:.0%} of the mask is foreground; check that it is not swapped with background."
    )
    return (warning,)


def _too_large(name: str) -> UserError:
    return UserError(f"The mask {name} contains labels above 4294967295.", "Renumber its labels.")


def _from_colours(array: NDArray[Any], name: str, tolerance: int) -> NDArray[Any]:
    if np.ptp(array, axis=-1).max() <= tolerance:
        return array[..., 1]
    raise UserError(
        f"The mask {name} is a colour image, and colours are not mapped to classes.",
        "Save it as grey values 0, 1, 2, ... or with a palette.",
    )


def _from_one_hot(
    array: NDArray[Any], name: str, warnings: list[str], frames: bool
) -> NDArray[Any]:
    """Convert a binary mask per channel; the background may have a channel, the first, or none.

    Without it, the volumes of a 4D file may be time points as well as classes.
    """
    count, white = array.shape[-1], array.max()
    if white not in (0, 1, 255) or not ((array == 0) | (array == white)).all():
        fractions = array.dtype.kind == "f" and array.min() >= 0 and white <= 1
        raise UserError(
            f"The mask {name} has {count} channels of probabilities."
            if fractions
            else f"The mask {name} has {count} channels, but is not one-hot encoded.",
            "Save one volume with labels 0, 1, 2, ...",
        )
    inside = array > 0
    total = np.count_nonzero(inside, axis=-1)
    if total.max(initial=0) > 1:
        raise UserError(
            f"The mask {name} has {count} channels, but is not one-hot encoded: they overlap.",
            "Save one mask per channel.",
        )
    if total.min(initial=1) == 1:
        warnings.append(
            f"The mask is one-hot encoded ({count} classes); it was converted to labels."
        )
        classes: NDArray[Any] = np.argmax(inside, axis=-1)
        return classes
    if frames:
        raise UserError(
            f"The mask {name} has {count} volumes (4D), which may be time points or classes.",
            "Save one volume with labels 0, 1, 2, ..., or one file per time point.",
        )
    warnings.append(
        f"The mask has {count} binary channels; they were converted to the labels 1 to {count}."
    )
    labels: NDArray[Any] = np.where(total > 0, np.argmax(inside, axis=-1) + 1, 0)
    return labels


def _whole(array: NDArray[Any], name: str) -> NDArray[Any]:
    if array.dtype.kind in "iub":
        return array
    if array.dtype.kind != "f":
        raise UserError(f"The mask {name} contains complex numbers.", "Save it as integers.")
    if not np.isfinite(array).all():
        raise UserError(f"The mask {name} contains NaN or infinite values.", "Save it as integers.")
    if np.abs(array).max() > np.iinfo(np.uint32).max:
        raise _too_large(name)
    rounded = np.rint(array)
    if np.abs(array - rounded).max() > 0.01:
        odd = array[np.abs(array - rounded) > 0.01][0]
        raise UserError(
            f"The mask {name} contains fractions such as {odd:.3g}, like probabilities or an "
            "interpolated mask.",
            "Save it as labels 0, 1, 2, ...",
        )
    whole: NDArray[Any] = rounded.astype(np.int64)
    return whole


def values_of(array: NDArray[Any]) -> NDArray[Any]:
    """Return the sorted unique values of an integer array, without sorting the array."""
    low, high = int(array.min()), int(array.max())
    if high - low > 1 << 20:
        return np.unique(array)
    found = np.zeros(high - low + 1, bool)
    for part in array.reshape(len(array), -1):
        found[part.astype(np.int64) - low] = True
    return np.flatnonzero(found) + low


def _is_blurred(values: NDArray[Any]) -> bool:
    """Whether values fill the range from black to white, as with smoothed edges."""
    between = np.count_nonzero((values > 63) & (values < 192))
    return bool(between > _MAX_CLASSES_2D and values[-1] > 191 and values[-1] < 256)


def _threshold(array: NDArray[Any], name: str, warnings: list[str]) -> NDArray[Any]:
    if array.max() > 255 or np.mean((array < 64) | (array > 191)) < 0.95:
        raise UserError(
            f"The mask {name} has {len(np.unique(array))} grey levels, too many to be classes.",
            "Save it without lossy compression, as PNG with the values 0, 1, 2, ...",
        )
    warnings.append("The mask has blurred grey levels; values above 127 are read as foreground.")
    return array > 127
