"""``model.json`` of a saved model, and the preprocessing that belongs to it."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from napari_graphflow.config.settings import Frozen, read_config
from napari_graphflow.errors import UserError


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


class ModelCard(Frozen):
    """``model.json`` of a saved model: all that is needed to rebuild and to run it.

    `taps` maps the names that distillation uses (``encoder``, ``decoder``, and with more tap
    pairs ``encoder_2``, ...) to module paths where the network does not name its taps itself.
    """

    name: str
    role: Literal["teacher", "student"]
    network: str
    dims: Dims
    in_channels: Annotated[int, Field(ge=1)]
    classes: dict[str, int]
    width: int | None = None
    arguments: dict[str, Any] = Field(default_factory=dict)
    taps: dict[str, str] = Field(default_factory=dict)
    patch_size: tuple[int, ...]
    preprocessing: Preprocessing
    parameters: int = 0
    provenance: dict[str, Any] = Field(default_factory=dict)


def read_model_card(folder: Path) -> ModelCard:
    """Read ``model.json`` of a saved model without loading torch."""
    path = Path(folder) / "model.json"
    if not path.is_file():
        raise UserError(
            f"{folder} is not a saved model: it holds no model.json.",
            "Choose a folder that was written by a training or a distillation.",
        )
    return read_config(ModelCard, path)
