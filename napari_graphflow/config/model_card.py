"""``model.json`` of a saved model and its provenance."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator

from napari_graphflow.config.preprocessing import Dims, Preprocessing
from napari_graphflow.config.run import DistillationConfig, TrainingConfig
from napari_graphflow.config.settings import Frozen, read_config
from napari_graphflow.errors import UserError


class TeacherRecord(Frozen):
    """The teacher of a student.

    Parameters
    ----------
    name
        Name of the model.
    sha256
        SHA-256 of its weights.
    """

    name: str
    sha256: str


class OutputShapes(Frozen):
    """Shapes of a network's outputs for one image.

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
    """Output shapes of student and teacher; they determine the sizes of a method's modules."""

    student: OutputShapes
    teacher: OutputShapes


def _known_settings(value: Any, validate: ValidatorFunctionWrapHandler) -> TrainingConfig | None:
    """Validate the settings of a run; None for those that this version does not know."""
    try:
        settings: TrainingConfig | None = validate(value)
    except ValidationError:
        return None
    return settings


class Provenance(Frozen):
    """How a model was trained.

    Parameters
    ----------
    dataset
        Name of the dataset.
    labelled_cases, unlabelled_cases
        Number of training cases used with and without their masks.
    run
        Settings of the run; None if they contain settings that this version does not know. The
        model itself can be used all the same.
    teacher, shapes
        Set for a distilled student; its method is rebuilt from `run` and `shapes`.
    best_validation_dice
        Mean Dice of the saved weights on the validation cases; None without validation cases.
    """

    dataset: str
    labelled_cases: int
    unlabelled_cases: int
    run: Annotated[DistillationConfig | TrainingConfig | None, WrapValidator(_known_settings)]
    teacher: TeacherRecord | None = None
    shapes: PairShapes | None = None
    best_validation_dice: float | None = None


class ModelCard(Frozen):
    """``model.json`` of a saved model: everything needed to rebuild and run it.

    `taps` maps the tap names used in distillation (``encoder``, ``decoder``, and with more tap
    pairs ``encoder_2``, ...) to module paths, for networks that do not define their own taps.
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
            f"{folder} is not a saved model: it contains no model.json.",
            "Choose the model folder of a finished training or distillation.",
        )
    return read_config(ModelCard, path)
