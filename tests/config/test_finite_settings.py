"""Sizes are positive and numbers finite in the settings of a run and of a model."""

import math
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from napari_graphflow.config.model_card import ModelCard
from napari_graphflow.config.preprocessing import Preprocessing
from napari_graphflow.config.run import TrainingConfig


@pytest.mark.parametrize("side", [0, -16])
def test_a_patch_without_voxels_is_refused(side: int) -> None:
    with pytest.raises(ValidationError, match="at least 1 voxel"):
        TrainingConfig(dataset=Path("blobs"), dims=2, patch_size=(16, side))
    with pytest.raises(ValidationError, match="at least 1 voxel"):
        ModelCard(
            name="one",
            role="student",
            network="enet",
            dims=2,
            in_channels=1,
            classes={"background": 0, "liver": 1},
            patch_size=(side, 16),
            preprocessing=Preprocessing(),
        )


@pytest.mark.parametrize(
    "settings",
    [
        {"mean": math.nan, "std": 1},
        {"mean": 0, "std": math.inf},
        {"mean": 0, "std": math.nan},
        {"clip": (math.nan, 1)},
        {"window": (0, math.nan)},
        {"spacing": (1, math.inf, 1)},
        {"spacing": (1, -1, 1)},
        {"size": (0, 16)},
    ],
)
def test_numbers_that_are_not_finite_or_negative_sizes_are_refused(
    settings: dict[str, Any],
) -> None:
    with pytest.raises(ValidationError, match="must be"):
        Preprocessing(**settings)
