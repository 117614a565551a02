"""Intensity windows: presets in Hounsfield units for CT, percentiles for everything else."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Window(NamedTuple):
    """A range of intensities by its centre and width, as radiologists name it."""

    centre: float
    width: float

    @property
    def limits(self) -> tuple[float, float]:
        """Lower and upper bound."""
        return self.centre - self.width / 2, self.centre + self.width / 2


#: Usual settings of CT viewers, in HU.
CT_WINDOWS = {
    "Soft tissue": Window(40, 400),
    "Lung": Window(-600, 1500),
    "Bone": Window(400, 1800),
    "Liver": Window(60, 160),
    "Mediastinum": Window(50, 350),
    "Brain": Window(40, 80),
}


#: Share of the voxels that are air, within 50 HU, in any CT of a body.
_AIR = 0.02


def sample(array: NDArray[Any]) -> NDArray[Any]:
    """Up to 64 finite values along each axis."""
    step = tuple(slice(None, None, max(1, size // 64)) for size in array.shape)
    few = array[step]
    return few if few.dtype.kind in "iub" else few[np.isfinite(few)]


def is_ct(array: NDArray[Any]) -> bool:
    """Whether values look like Hounsfield units: a volume with air, and nothing far above bone."""
    if array.ndim != 3 or array.dtype.kind not in "if":
        return False
    few = sample(array)
    if few.size == 0 or few.max() > 32_000:
        return False
    return bool(np.mean((few > -1050) & (few < -950)) > _AIR)


def contrast(array: NDArray[Any]) -> tuple[float, float]:
    """Contrast limits of a new layer: soft tissue for CT, percentiles otherwise."""
    return CT_WINDOWS["Soft tissue"].limits if is_ct(array) else percentiles(array)


def percentiles(array: NDArray[Any]) -> tuple[float, float]:
    """The 0.5 and 99.5 percentile, since a few bright voxels would darken the rest."""
    few = sample(array)
    if few.size == 0:
        return 0.0, 1.0
    low, high = (float(value) for value in np.percentile(few, (0.5, 99.5)))
    return (low, high) if high > low else (low, low + 1.0)
