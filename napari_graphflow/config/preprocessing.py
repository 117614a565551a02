"""Preprocessing settings, part of a run and of the saved model."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from napari_graphflow.config.settings import Frozen


def _number(value: Any) -> Any:
    """Convert digits, as text from the command line, to an integer."""
    return int(value) if isinstance(value, str) and value.isdigit() else value


Dims = Annotated[Literal[2, 3], BeforeValidator(_number)]


class Preprocessing(Frozen):
    """Preprocessing of a stored volume for a network; saved with the model.

    Parameters
    ----------
    spacing
        Voxel spacing in mm along (z, y, x) or (y, x) to which all images are resampled. 0 keeps
        the spacing of that axis. Default: the spacing of each image.
    intensity
        ``ct_window`` clips to `window` and scales to 0..1, with the same bounds for all cases;
        ``percentile`` scales the 0.5 and 99.5 percentiles of each case to 0..1; ``zscore``
        scales each case to mean 0 and standard deviation 1 after clipping to these percentiles;
        ``range`` divides by the largest value of the stored integer type (photographs).
    window
        Lower and upper bound in HU for ``ct_window``.
    size
        Size (y, x) in pixels to which 2D images are resized. Default: their own size.
    """

    spacing: tuple[float, ...] | None = None
    intensity: Literal["ct_window", "percentile", "zscore", "range"] = "zscore"
    window: tuple[float, float] = (-160.0, 240.0)
    size: tuple[int, int] | None = None
