"""The record of a model's OpenVINO form, ``openvino/form.json`` in its folder."""

import os
from importlib.util import find_spec
from pathlib import Path

from pydantic import Field

from napari_graphflow.config.padding import padded_size
from napari_graphflow.config.preprocessing import Dims
from napari_graphflow.config.settings import Frozen, read_config
from napari_graphflow.errors import UserError


class Parity(Frozen):
    """Comparison of the OpenVINO form with torch on the same windows.

    Parameters
    ----------
    probability_difference
        Largest difference of a class probability.
    equal_labels
        Share of voxels with the same most probable class.
    torch_seconds, openvino_seconds
        Seconds per window, in the same run.
    """

    probability_difference: float
    equal_labels: float
    torch_seconds: float
    openvino_seconds: float


class OpenVinoForm(Frozen):
    """What is needed to run a network without torch.

    Parameters
    ----------
    weights
        SHA-256 of the weights that were converted.
    version
        Version of OpenVINO that converted them.
    dims, classes
        Spatial axes and number of classes of the network.
    multiple
        Number of which the size of its input must be a multiple, per axis.
    parity
        Measured at conversion.
    """

    weights: str
    version: str
    dims: Dims
    classes: int = Field(ge=1)
    multiple: tuple[int, ...]
    parity: Parity

    def padded_size(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """Return the size to which an input is padded."""
        return padded_size(size, self.multiple)


def openvino_is_used() -> bool:
    """Whether OpenVINO is installed, and not disabled by ``GRAPHFLOW_ENGINE=torch``."""
    return os.environ.get("GRAPHFLOW_ENGINE") != "torch" and find_spec("openvino") is not None


def form_folder(model: Path) -> Path:
    """Return the folder of a model's OpenVINO form."""
    return Path(model) / "openvino"


def read_form(model: Path) -> OpenVinoForm | None:
    """Read the record of a model's OpenVINO form; None if it has none or it cannot be used."""
    folder = form_folder(model)
    try:
        form = read_config(OpenVinoForm, folder / "form.json")
    except UserError:
        return None
    return form if all((folder / f"model.{end}").is_file() for end in ("xml", "bin")) else None
