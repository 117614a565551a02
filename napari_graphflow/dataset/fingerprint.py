"""What is worth knowing of a dataset before its preprocessing is chosen."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_graphflow.dataset.cases import Dataset, read_case
from napari_graphflow.dataset.checks import channel_count
from napari_graphflow.errors import UserError

_CASES_READ = 20


_VOXELS_DRAWN = 50_000


_CT_REACHES = -500


def fingerprint(dataset: Dataset) -> dict[str, Any]:
    """Facts from which the preprocessing can be chosen, out of at most 20 training cases.

    Returns
    -------
    dict
        ``cases`` (how many were read), ``ndim``, ``channels``; ``median_shape`` and
        ``median_spacing``, ``spacing_min`` and ``spacing_max`` in mm, along z, y, x after bringing
        the volumes to the orientation LPS; ``percentiles``: 0.5, 5, 50, 95 and 99.5 of the voxels
        of each channel; ``minimum`` and ``maximum`` of each channel; ``modality``: ``CT`` if the
        channel is named so or most images reach below -500, ``RGB`` for pictures in colour, else
        ``other``.

    Raises
    ------
    UserError
        If there is no training case, or one cannot be read or is of another kind.
    """
    cases = [case for case in dataset.cases if case.split == "train"] or list(dataset.cases)
    if not cases:
        raise UserError(f"The dataset {dataset.name} has no cases.", "Import some images.")
    picks = np.linspace(0, len(cases) - 1, min(_CASES_READ, len(cases))).round().astype(int)
    kind: tuple[int, int] | None = None
    shapes: list[tuple[int, ...]] = []
    spacings: list[tuple[float, ...]] = []
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
        spacings.append(volume.spacing)
        voxels = volume.array.reshape(-1, channel_count(volume))
        voxels = voxels[np.isfinite(voxels).all(axis=1)] if voxels.dtype.kind == "f" else voxels
        if len(voxels):
            lows.append(voxels.min(axis=0))
            highs.append(voxels.max(axis=0))
            drawn.append(voxels[random.integers(len(voxels), size=_VOXELS_DRAWN)].T)
    if not drawn:
        raise UserError(f"The images of {dataset.name} hold no numbers.", "Export them again.")
    values = np.concatenate(drawn, axis=1)
    low = np.array(lows, float)
    ndim, channels = len(shapes[0]), len(values)
    reaches = np.median(low[:, 0]) < _CT_REACHES
    if ndim == 3 and channels == 1 and (reaches or dataset.channel_names[0].upper() == "CT"):
        modality = "CT"
    else:
        modality = "RGB" if ndim == 2 and channels == 3 else "other"
    return {
        "cases": len(picks),
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
