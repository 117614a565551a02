"""Preprocessing needs the memory of a few copies of the image."""

import tracemalloc

import numpy as np
import pytest

from napari_graphflow.config.preprocessing import Preprocessing
from napari_graphflow.imaging.preprocessing import prepare
from napari_graphflow.imaging.volume import Volume


@pytest.mark.parametrize(
    ("options", "most"),
    [
        ({"intensity": "ct_window"}, 1.8),
        ({"intensity": "mean_std", "mean": 5.0, "std": 2.0, "clip": (0, 9)}, 1.8),
        ({"intensity": "zscore"}, 2.3),
        ({"intensity": "percentile"}, 2.3),
    ],
)
def test_the_peak_is_below_some_float32_copies(options: dict[str, object], most: float) -> None:
    """One is the result; marks of what is an intensity take half of one, percentiles one."""
    array = np.random.default_rng(0).integers(-1000, 1000, (64, 96, 96)).astype(np.int16)
    volume = Volume(array, (1.0,) * 3, (0.0,) * 3, tuple(np.eye(3).ravel()))
    tracemalloc.start()
    prepare(volume, Preprocessing(**options))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak / (4 * array.size) <= most
