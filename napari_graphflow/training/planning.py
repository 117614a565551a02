"""Choose labelled cases, preprocessing and patch size from the data."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from napari_graphflow.config.preprocessing import Preprocessing
from napari_graphflow.dataset.cases import Case
from napari_graphflow.errors import UserError
from napari_graphflow.jobs.memory import MULTIPLE

LARGEST_SIDE = {2: 256, 3: 96}
#: Images are not resampled if their spacings differ by less than this ratio.
SPACING_TOLERANCE = 1.05


def choose_labelled(cases: Sequence[Case], count: int | None, seed: int) -> list[Case]:
    """Draw `count` of the labelled cases with a seed; None returns all."""
    if count is None:
        return list(cases)
    if count > len(cases):
        raise UserError(
            f"{count} labelled cases were requested, but only {len(cases)} have a mask.",
            f"Request at most {len(cases)}.",
        )
    order = np.random.default_rng(seed).permutation(len(cases))[:count]
    return [cases[index] for index in sorted(order)]


def choose_preprocessing(facts: dict[str, Any]) -> Preprocessing:
    """Choose spacing and intensity from the fingerprint of a dataset."""
    if facts["ndim"] == 2:
        spacing = None
    else:
        spread = np.array(facts["spacing_max"]) / np.array(facts["spacing_min"])
        same = bool((spread < SPACING_TOLERANCE).all())
        spacing = None if same else tuple(facts["median_spacing"])
    if facts["modality"] == "CT":
        return Preprocessing(spacing=spacing, intensity="ct_window")
    if facts["ndim"] == 2:
        return Preprocessing(intensity="range")
    return Preprocessing(spacing=spacing, intensity="zscore")


def choose_patch_size(shapes: Sequence[tuple[int, ...]], dims: int) -> tuple[int, ...]:
    """Return the largest multiples of 16 within the median image shape, up to a limit."""
    median = np.median(np.array(shapes), axis=0)[-dims:]
    sides = (int(side) // MULTIPLE * MULTIPLE for side in median)
    return tuple(min(max(side, MULTIPLE), LARGEST_SIDE[dims]) for side in sides)
