"""Statistics of a dataset from which the preprocessing is chosen."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_graphflow.config.model_card import Purpose
from napari_graphflow.dataset.cases import Dataset, read_case
from napari_graphflow.dataset.checks import channel_count
from napari_graphflow.dataset.compatibility import modality_of_channels
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.intensities import intensities

_MAX_CASES = 20
_VOXELS_PER_CASE = 50_000
_CT_MAX_LOW = -500


def fingerprint(dataset: Dataset, most: int = _MAX_CASES) -> dict[str, Any]:
    """Compute statistics for choosing the preprocessing, from `most` training cases at most.

    Returns
    -------
    dict
        ``cases`` (number of cases read), ``ndim``, ``channels``; ``sized``: whether all images
        have a physical size; ``median_shape`` and
        ``median_spacing``, ``spacing_min`` and ``spacing_max`` in mm, along z, y, x after
        reorientation to LPS; ``percentiles``: 0.5, 5, 50, 95 and 99.5 of the voxels of each
        channel; ``minimum`` and ``maximum`` of each channel; ``modality``: ``CT`` if the
        channel has this name or most images reach below -500, ``RGB`` for 2D colour images, else
        ``other``.

    Raises
    ------
    UserError
        If there is no case, or one cannot be read or has other axes or channels.
    """
    cases = [case for case in dataset.cases if case.split == "train"] or list(dataset.cases)
    if not cases:
        raise UserError(f"The dataset {dataset.name} has no cases.", "Import images first.")
    picks = np.linspace(0, len(cases) - 1, min(most, len(cases))).round().astype(int)
    kind: tuple[int, int] | None = None
    shapes: list[tuple[int, ...]] = []
    spacings: list[tuple[float, ...]] = []
    sized: list[bool] = []
    drawn: list[NDArray[Any]] = []
    lows: list[NDArray[Any]] = []
    highs: list[NDArray[Any]] = []
    random = np.random.default_rng(0)
    for pick in picks:
        volume = read_case(cases[pick]).oriented("LPS")
        kind = kind or (volume.ndim, channel_count(volume))
        if kind != (volume.ndim, channel_count(volume)):
            raise UserError(
                f"The case {cases[pick].name} has other axes or channels than the case "
                f"{cases[picks[0]].name}.",
                "Check the dataset with “napari-graphflow datasets check”.",
            )
        shapes.append(volume.shape)
        sized.append(volume.sized)
        spacings.append(volume.spacing)
        voxels = volume.array.reshape(-1, channel_count(volume)).T
        found = [intensities(channel) for channel in voxels]
        if all(one.size for one in found):
            lows.append(np.array([one.min() for one in found]))
            highs.append(np.array([one.max() for one in found]))
            picks_of = (random.integers(len(one), size=_VOXELS_PER_CASE) for one in found)
            drawn.append(np.stack([one[few] for one, few in zip(found, picks_of, strict=True)]))
    if not drawn:
        raise UserError(
            f"The images of {dataset.name} contain no finite values.", "Export them again."
        )
    values = np.concatenate(drawn, axis=1)
    low = np.array(lows, float)
    ndim, channels = len(shapes[0]), len(values)
    reaches = np.median(low[:, 0]) < _CT_MAX_LOW
    if ndim == 3 and channels == 1 and (reaches or dataset.channel_names[0].upper() == "CT"):
        modality = "CT"
    else:
        modality = "RGB" if ndim == 2 and channels == 3 else "other"
    return {
        "cases": len(picks),
        "sized": all(sized),
        "ndim": ndim,
        "channels": channels,
        "median_shape": np.median(shapes, axis=0).tolist(),
        "median_spacing": np.median(spacings, axis=0).tolist(),
        "spacing_min": np.min(spacings, axis=0).tolist(),
        "spacing_max": np.max(spacings, axis=0).tolist(),
        "percentiles": {
            str(rank): np.percentile(values, rank, axis=1).tolist()
            for rank in (0.5, 5, 50, 95, 99.5)
        },
        "minimum": low.min(axis=0).tolist(),
        "maximum": np.max(highs, axis=0).tolist(),
        "modality": modality,
    }


def purpose_of(dataset: Dataset, facts: dict[str, Any]) -> Purpose:
    """Return what a model that is trained on a dataset is for, from its fingerprint."""
    modality = modality_of_channels(dataset.channel_names)
    return Purpose(
        modality=modality or facts["modality"].replace("other", ""),
        spacing=tuple(facts["median_spacing"]) if facts["sized"] else None,
        source=dataset.reference or dataset.name,
        licence=dataset.licence,
    )
