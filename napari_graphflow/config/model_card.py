"""``model.json`` of a saved model, and where the model comes from."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from napari_graphflow.config.preprocessing import Dims, Preprocessing
from napari_graphflow.config.run import DistillationConfig, TrainingConfig
from napari_graphflow.config.settings import Frozen, read_config
from napari_graphflow.errors import UserError


class TeacherRecord(Frozen):
    """The teacher of a student.

    Parameters
    ----------
    name
        Its name.
    sha256
        Of its weights.
    """

    name: str
    sha256: str


class OutputShapes(Frozen):
    """Shapes of what a network returns for one image.

    Parameters
    ----------
    logits
        (1, classes, *spatial).
    taps
        (1, C, *spatial) of each feature map, by name.
    """

    logits: tuple[int, ...]
    taps: dict[str, tuple[int, ...]]


class PairShapes(Frozen):
    """Shapes of student and teacher, from which the sizes of a method's own modules follow."""

    student: OutputShapes
    teacher: OutputShapes


class Provenance(Frozen):
    """Where a model comes from that was trained here.

    Parameters
    ----------
    dataset
        Name of the dataset.
    labelled_cases, unlabelled_cases
        How many training cases were used with and without their masks.
    run
        What was asked for.
    teacher, shapes
        Of a distilled student; the second with `run` is all that its method is built from.
    best_validation_dice
        Mean Dice on the validation cases of the weights that were kept; None where there was
        nothing to validate on.
    """

    dataset: str
    labelled_cases: int
    unlabelled_cases: int
    run: DistillationConfig | TrainingConfig
    teacher: TeacherRecord | None = None
    shapes: PairShapes | None = None
    best_validation_dice: float | None = None


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
    provenance: Provenance | None = None


def read_model_card(folder: Path) -> ModelCard:
    """Read ``model.json`` of a saved model without loading torch."""
    path = Path(folder) / "model.json"
    if not path.is_file():
        raise UserError(
            f"{folder} is not a saved model: it holds no model.json.",
            "Choose a folder that was written by a training or a distillation.",
        )
    return read_config(ModelCard, path)
