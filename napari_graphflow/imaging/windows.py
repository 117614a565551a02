"""Intensity windows: presets in Hounsfield units for CT, percentiles for everything else."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_graphflow.imaging.intensities import intensities


class Window(NamedTuple):
    """An intensity window, given by its centre and width."""

    centre: float
    width: float

    @property
    def limits(self) -> tuple[float, float]:
        """Lower and upper limit."""
        return self.centre - self.width / 2, self.centre + self.width / 2


#: Standard presets of CT viewers, in HU.
CT_WINDOWS = {
    "Soft tissue": Window(40, 400),
    "Lung": Window(-600, 1500),
    "Bone": Window(400, 1800),
    "Liver": Window(60, 160),
    "Mediastinum": Window(50, 350),
    "Brain": Window(40, 80),
}

#: Minimum share of air voxels (-1000 ± 50 HU) in a CT of the body.
_MIN_AIR = 0.02


def sample(array: NDArray[Any]) -> NDArray[Any]:
    """Return the intensities in a subsample of at most some 64 voxels along each axis."""
    step = tuple(slice(None, None, max(1, size // 64)) for size in array.shape)
    return intensities(array[step])


def is_ct(array: NDArray[Any]) -> bool:
    """Guess whether a volume is in Hounsfield units, from its air and its maximum."""
    if array.ndim != 3 or array.dtype.kind not in "if":
        return False
    few = sample(array)
    if few.size == 0 or few.max() > 32_000:
        return False
    return bool(np.mean((few > -1050) & (few < -950)) > _MIN_AIR)


def contrast_limits(array: NDArray[Any]) -> tuple[float, float]:
    """Return the contrast limits of a new layer: soft tissue for CT, else percentiles."""
    return CT_WINDOWS["Soft tissue"].limits if is_ct(array) else percentiles(array)


def percentiles(array: NDArray[Any]) -> tuple[float, float]:
    """Return the 0.5th and 99.5th percentile, since a few bright voxels would darken the rest."""
    few = sample(array)
    if few.size == 0:
        return 0.0, 1.0
    low, high = (float(value) for value in np.percentile(few, (0.5, 99.5)))
    return (low, high) if high > low else (low, low + 1.0)
