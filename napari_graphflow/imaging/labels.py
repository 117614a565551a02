"""From the values of a mask, as any program writes it, to labels: 0 is background."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_graphflow.errors import UserError
from napari_graphflow.system.files import replace_file

#: More different greys than this between dark and light are the blur of edges, not classes.
_CLASSES_IN_A_PICTURE = 16


_INVERTED = 0.85


_BESIDE = ".labels.json"


_OF_A_DATASET = ("labelsTr", "labelsTs")


def as_labels(
    array: NDArray[Any], *, name: str, channels: bool = False, picture: bool = False,
    lossy: bool = False,
) -> tuple[NDArray[Any], tuple[str, ...]]:  # fmt: skip
    """Turn the stored values of a mask into labels of the smallest unsigned type.

    Parameters
    ----------
    array
        Spatial axes first; a last axis of channels if `channels` is True.
    name
        Name of the file, for the sentences.
    picture, lossy
        Whether the mask is a picture, and one whose compression alters values (JPEG).

    Returns
    -------
    labels, warnings

    Raises
    ------
    UserError
        If the values cannot be taken for labels without guessing.
    """
    said: list[str] = []
    if channels and picture:
        array = _from_colours(array, name, 24 if lossy else 0)
    elif channels:
        array = _from_one_hot(array, name, said)
    array = _whole(array, name)
    values = values_of(array)
    if values[0] < 0:
        raise UserError(
            f"The mask {name} holds negative values (down to {values[0]}), which name no class.",
            "Give voxels to be ignored the value 255.",
        )
    if lossy or (picture and _is_blurred(values)):
        array = _threshold(array, name, said)
    elif values.tolist() in ([0, 255], [255]):
        array = array > 0
    largest = int(array.max())
    if largest > np.iinfo(np.uint32).max:
        raise _too_large(name)
    labels = array.astype(np.min_scalar_type(largest), copy=False)
    share = np.count_nonzero(labels) / labels.size
    if share > _INVERTED:
        said.append(
            f"{share:.0%} of the mask are foreground; check that foreground and background are "
            "not swapped."
        )
    return labels, tuple(said)


def _too_large(name: str) -> UserError:
    return UserError(f"The mask {name} holds labels above 4294967295.", "Renumber its labels.")


def _from_colours(array: NDArray[Any], name: str, tolerance: int) -> NDArray[Any]:
    if np.ptp(array, axis=-1).max() <= tolerance:
        return array[..., 1]
    raise UserError(
        f"The mask {name} is a picture in colours, which do not say which class is which.",
        "Save it as grey values 0, 1, 2, ... or with a palette.",
    )


def _from_one_hot(array: NDArray[Any], name: str, said: list[str]) -> NDArray[Any]:
    total = array.sum(axis=-1)
    if np.isin(array, (0, 1)).all() and (total == 1).all():
        said.append(
            f"The mask holds one volume for each of {array.shape[-1]} classes; they are joined."
        )
        labels: NDArray[Any] = np.argmax(array, axis=-1)
        return labels
    raise UserError(
        f"The mask {name} holds {array.shape[-1]} values per voxel, which are not one class each.",
        "Save one volume of labels 0, 1, 2, ...",
    )


def _whole(array: NDArray[Any], name: str) -> NDArray[Any]:
    if array.dtype.kind in "iub":
        return array
    if not np.isfinite(array).all():
        raise UserError(
            f"The mask {name} holds voxels that are no numbers.", "Save it as integers."
        )
    if np.abs(array).max() > np.iinfo(np.uint32).max:
        raise _too_large(name)
    rounded = np.rint(array)
    if np.abs(array - rounded).max() > 0.01:
        odd = array[np.abs(array - rounded) > 0.01][0]
        raise UserError(
            f"The mask {name} holds fractions such as {odd:.3g}, as probabilities or interpolated "
            "masks do.",
            "Save it as labels 0, 1, 2, ...",
        )
    whole: NDArray[Any] = rounded.astype(np.int64)
    return whole


def values_of(array: NDArray[Any]) -> NDArray[Any]:
    """The different values of an integer array, sorted, without sorting the array."""
    low, high = int(array.min()), int(array.max())
    if high - low > 1 << 20:
        return np.unique(array)
    found = np.zeros(high - low + 1, bool)
    for part in array.reshape(len(array), -1):
        found[part.astype(np.int64) - low] = True
    return np.flatnonzero(found) + low


def _is_blurred(values: NDArray[Any]) -> bool:
    """Whether values fill the range from black to white, as smoothing at the edges does."""
    between = np.count_nonzero((values > 63) & (values < 192))
    return bool(between > _CLASSES_IN_A_PICTURE and values[-1] > 191 and values[-1] < 256)


def _threshold(array: NDArray[Any], name: str, said: list[str]) -> NDArray[Any]:
    if array.max() > 255 or np.mean((array < 64) | (array > 191)) < 0.95:
        raise UserError(
            f"The mask {name} has {len(np.unique(array))} grey levels, which are no classes.",
            "Save it without loss, as PNG with the values 0, 1, 2, ...",
        )
    said.append("The mask has blurred grey levels; those above 127 are taken for foreground.")
    return array > 127


def read_class_names(path: Path) -> dict[str, int]:
    """Names of the labels of a mask; empty where there are none.

    They come from ``NAME.labels.json`` beside it, which holds ``{"labels": {"background": 0,
    "liver": 1}}``, or from ``dataset.json`` where the mask is one of a dataset.
    """
    names = _names_in(path.with_name(path.name + _BESIDE))
    if not names and path.parent.name in _OF_A_DATASET:
        names = _names_in(path.parent.parent / "dataset.json")
    return names


def _names_in(path: Path) -> dict[str, int]:
    try:
        found = json.loads(path.read_text("utf-8"))["labels"]
        # The Decathlon names values, everyone else gives names a value.
        pairs = [(v, k) if isinstance(v, str) else (k, v) for k, v in found.items()]
        return {str(name): int(value) for name, value in pairs}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        # Names are a help only: a mask is read without them.
        return {}


def write_class_names(path: Path, classes: Mapping[str, int]) -> None:
    """Keep the names of labels beside a mask; without names nothing stays there."""
    beside = path.with_name(path.name + _BESIDE)
    if not classes:
        beside.unlink(missing_ok=True)
        return
    text = json.dumps({"labels": dict(classes)}, indent=1, ensure_ascii=False)
    replace_file(beside, text.encode() + b"\n")
