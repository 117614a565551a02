"""What is done to a volume before a network sees it, which belongs to a run and to its model."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from napari_graphflow.config.settings import Frozen


def _number(value: Any) -> Any:
    """Take a number from the command line, where everything is text."""
    return int(value) if isinstance(value, str) and value.isdigit() else value


Dims = Annotated[Literal[2, 3], BeforeValidator(_number)]


class Preprocessing(Frozen):
    """From a volume as stored to the array that a network sees; kept inside the saved model.

    Parameters
    ----------
    spacing
        Voxel size in mm, in the order of the array's axes (z, y, x or y, x), to which every
        image is resampled; 0 keeps that axis, None keeps the spacing of each image.
    intensity
        ``ct_window`` clips to `window` and scales to 0..1, with the same bounds for every
        patient; ``percentile`` scales the 0.5 and 99.5 percentile of each case to 0..1;
        ``zscore`` gives each case mean 0 and standard deviation 1, after clipping to the same
        percentiles; ``range`` divides by the largest value of the stored integer type
        (photographs).
    window
        Lower and upper bound in HU for ``ct_window``.
    size
        In-plane size (y, x) in pixels to which 2D pictures are resized; None keeps their size.
    """

    spacing: tuple[float, ...] | None = None
    intensity: Literal["ct_window", "percentile", "zscore", "range"] = "zscore"
    window: tuple[float, float] = (-160.0, 240.0)
    size: tuple[int, int] | None = None
