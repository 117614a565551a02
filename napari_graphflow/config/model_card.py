"""``model.json`` of a saved model and its provenance."""

import hashlib
import math
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
    model_validator,
)

from napari_graphflow.config.preprocessing import Dims, Preprocessing, positive_sides
from napari_graphflow.config.run import DistillationConfig, TrainingConfig
from napari_graphflow.config.settings import Frozen, read_config
from napari_graphflow.errors import UserError
from napari_graphflow.system.regular_file import open_regular

#: File of a model's weights in its folder.
WEIGHTS = "weights.safetensors"
#: Instead of a network: answers of any program for the cases of a dataset, by case.
PREDICTIONS = "predictions"
#: A network of another program in OpenVINO's format, without feature maps; its files.
GRAPH, GRAPH_FILES = "openvino", ("network.xml", "network.bin")
#: List of these answers in the folder of the model, with the SHA-256 of each.
ANSWERS = "predictions.json"
#: Largest width, number of channels, and number in the arguments of a network.
_LARGEST_NUMBER = 4096
#: Networks of an ensemble.
_MOST_MEMBERS = 100
#: Voxels; with fewer, an image would have more windows than can be computed.
_SMALLEST_PATCH = 64
#: Voxels; a window of more takes gigabytes before a network has computed anything.
_LARGEST_PATCH = 2**28


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
    """Output shapes of student and teacher, and channels of an image.

    They determine the sizes of a method's modules.
    """

    student: OutputShapes
    teacher: OutputShapes
    channels: int = 1


def _integers(value: Any) -> Iterator[int]:
    """Yield all numbers within nested lists and dictionaries."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for one in value:
            yield from _integers(one)
    elif isinstance(value, int):
        yield value


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
    measured
        Further numbers by name that its method measured, such as those of its stages; None if a
        number was infinite or NaN.
    """

    dataset: str
    labelled_cases: int
    unlabelled_cases: int
    run: Annotated[DistillationConfig | TrainingConfig | None, WrapValidator(_known_settings)]
    teacher: TeacherRecord | None = None
    shapes: PairShapes | None = None
    best_validation_dice: float | None = None
    measured: dict[str, float | None] = Field(default_factory=dict)


class Purpose(Frozen):
    """What a model is for, besides its axes, channels and classes.

    Parameters
    ----------
    modality
        ``CT``, ``MR``, ``PT``, ``US`` or another modality of DICOM, or ``RGB`` for colour
        photographs; empty if unknown.
    spacing
        Median voxel spacing in mm along (z, y, x) or (y, x) of the images it was trained on; None
        if unknown, or if they have no physical size.
    source, licence
        Where the model comes from, and the licence under which it may be used.
    """

    modality: str = ""
    spacing: tuple[float, ...] | None = None
    source: str = ""
    licence: str = ""


class ModelCard(Frozen):
    """``model.json`` of a saved model: everything needed to rebuild and run it.

    Parameters
    ----------
    network, arguments, width
        Name of the network, such as monai:SegResNet, and how it is built.
    dims
        2 for slices and 2D images, 3 for volumes.
    classes
        Class index by name; the background is 0.
    taps
        Module paths by name of the taps used in distillation (``encoder``, ``decoder``, and with
        more tap pairs ``encoder_2``, ...), for networks that do not define their own taps.
    patch_size
        Patch size in voxels, along the axes of the network's input.
    divisor
        Number of which each side of the network's input must be a multiple, or one per axis;
        images are padded with edge values. Default: that of the network, 32 for MONAI's.
    windows
        ``whole`` runs images of up to four patches in one window; ``patch`` always cuts windows
        of `patch_size` and pads smaller images with zeros; ``even`` also spaces them evenly, as
        nnU-Net does.
    overlap
        Share of a window that it has in common with the next one along each axis.
    mirror
        Axes of the network's input, from 0, along which each window is also mirrored; the logits
        of all flips are averaged. 2^n times as slow. Default: none.
    trained_mirrored
        Axes of the network's input along which the training images were mirrored at random, so
        that windows may be mirrored, too, if the user asks for it.
    largest_part
        Structures of which only the largest part is kept: those for which the validation cases
        showed that it helps.
    members
        Number of networks whose logits are averaged, as of several folds; the weights of each
        begin with ``members.0``, ``members.1``, ...
    mapping
        Class of this model for each output of the network, by the network's own name for it;
        several outputs may have the same class. Default: the outputs are the classes.
    regions
        Class of each output of a network whose outputs are overlapping regions, each with its own
        sigmoid; later ones are painted over earlier ones. Default: the classes exclude each other.
    preprocessing
        Orientation, axes, spacing and scaling of the intensities.

    The network ``predictions`` stands for the answers of another program for the cases of one
    dataset; `dims`, `patch_size` and `preprocessing` then say nothing.
    """

    name: str
    role: Literal["teacher", "student"]
    network: str
    dims: Dims
    in_channels: Annotated[int, Field(ge=1, le=_LARGEST_NUMBER)]
    classes: dict[str, int]
    width: Annotated[int, Field(ge=1, le=_LARGEST_NUMBER)] | None = None
    arguments: dict[str, Any] = Field(default_factory=dict)
    taps: dict[str, str] = Field(default_factory=dict)
    patch_size: tuple[int, ...]
    divisor: Annotated[int, Field(ge=1)] | tuple[Annotated[int, Field(ge=1)], ...] | None = None
    windows: Literal["whole", "patch", "even"] = "whole"
    overlap: Annotated[float, Field(ge=0, le=0.9)] = 0.5
    mirror: tuple[Annotated[int, Field(ge=0, le=2)], ...] = ()
    trained_mirrored: tuple[Annotated[int, Field(ge=0, le=2)], ...] = ()
    largest_part: tuple[str, ...] = ()
    members: Annotated[int, Field(ge=1, le=_MOST_MEMBERS)] = 1
    mapping: dict[str, str] = Field(default_factory=dict)
    regions: tuple[int, ...] = ()
    preprocessing: Preprocessing
    parameters: int = 0
    provenance: Provenance | None = None
    purpose: Purpose = Purpose()

    @property
    def outputs_before_mapping(self) -> tuple[str, ...]:
        """Names of the classes that the network itself distinguishes."""
        return tuple(self.mapping) or tuple(self.classes)

    @property
    def outputs(self) -> int:
        """Number of channels of the network's output."""
        return len(self.outputs_before_mapping) - bool(self.regions)

    @property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """Classes of the network that are each class of the model; empty if they are the same."""
        if not self.mapping:
            return ()
        names = list(self.mapping.values())
        by_index = sorted(self.classes, key=self.classes.__getitem__)
        return tuple(tuple(i for i, one in enumerate(names) if one == name) for name in by_index)

    @property
    def paints_late(self) -> bool:
        """Whether regions are painted when windows are merged and resampled, as nnU-Net does."""
        return bool(self.regions) and self.preprocessing.nnunet is not None

    @property
    def engine_outputs(self) -> int:
        """Number of channels of what an engine computes: of the classes, or of the regions."""
        return self.outputs if self.paints_late else len(self.classes)

    @property
    def pads_with_zeros(self) -> bool:
        """Whether images smaller than a window are padded with zeros, else with edge values."""
        return self.windows != "whole"

    @property
    def is_predictions(self) -> bool:
        """Whether it has no network, but answers for the cases of a dataset."""
        return self.network == PREDICTIONS

    @property
    def gives_features(self) -> bool:
        """Whether methods that compare feature maps can use it."""
        return self.network not in (PREDICTIONS, GRAPH)

    @property
    def kind(self) -> str:
        """What it is, in a word or two: where its network comes from."""
        if self.network in (PREDICTIONS, GRAPH):
            return {PREDICTIONS: "predictions", GRAPH: "answers only"}[self.network]
        if self.provenance is not None:
            return "trained here"
        return "nnU-Net" if self.preprocessing.nnunet is not None else "imported"

    @property
    def files(self) -> tuple[str, ...]:
        """Names of the files that make it what it is, besides ``model.json``."""
        return {PREDICTIONS: (ANSWERS,), GRAPH: GRAPH_FILES}.get(self.network, (WEIGHTS,))

    @property
    def modality(self) -> str:
        """Modality of the images it is for, as in `Purpose`; empty if unknown."""
        if self.purpose.modality:
            return self.purpose.modality
        if self.preprocessing.intensity == "ct_window":
            return "CT"
        colours = self.preprocessing.intensity == "range" and self.in_channels == 3
        return "RGB" if colours else ""

    @property
    def role_text(self) -> str:
        """Role in words, such as ``student, distilled from large``."""
        if self.role == "teacher" or self.provenance is None:
            return self.role
        teacher = self.provenance.teacher
        return "student, " + (f"distilled from {teacher.name}" if teacher else "trained alone")

    @property
    def purpose_text(self) -> str:
        """What it is for, such as ``CT, 3D, 1 channel: liver, spleen``."""
        kinds = {"RGB": "colour photographs", "": "unknown modality"}
        channels = f"{self.in_channels} channel{'s' * (self.in_channels > 1)}"
        structures = ", ".join(name for name, value in self.classes.items() if value)
        kind = kinds.get(self.modality, self.modality)
        return f"{kind}, {self.dims}D, {channels}: {structures}"

    _positive_sides = field_validator("patch_size")(positive_sides)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        sides = {"patch_size": self.patch_size, "divisor": self.divisor}
        for name, numbers in sides.items():
            if isinstance(numbers, tuple) and len(numbers) != self.dims:
                raise ValueError(
                    f"{name} has {len(numbers)} numbers, but dims is {self.dims}; write one number "
                    "per axis"
                )
        if sorted(self.classes.values()) != list(range(len(self.classes))):
            raise ValueError("classes must have the numbers 0, 1, 2, ...; the background is 0")
        if math.prod(self.patch_size) < _SMALLEST_PATCH:
            raise ValueError(f"a patch must have at least {_SMALLEST_PATCH} voxels")
        if math.prod(self.patch_size) * self.in_channels > _LARGEST_PATCH:
            raise ValueError(
                f"a patch must have at most {_LARGEST_PATCH:.0e} voxels in all channels"
            )
        too_large = [one for one in _integers(self.arguments) if abs(one) > _LARGEST_NUMBER]
        if too_large:
            raise ValueError(f"arguments has the number {too_large[0]}, which is too large")
        unknown = sorted(set(self.mapping.values()) - set(self.classes))
        if unknown:
            raise ValueError(f"mapping names {unknown[0]!r}, which is not among the classes")
        if self.regions and sorted(self.regions) != list(
            range(1, len(self.outputs_before_mapping))
        ):
            raise ValueError("regions must name each class but the background once")
        known = self.preprocessing.channels
        if known not in (None, self.in_channels):
            raise ValueError(
                f"preprocessing has numbers for {known} channels, but in_channels is "
                f"{self.in_channels}"
            )
        return self

    @model_validator(mode="after")
    def _known_axes_and_structures(self) -> Self:
        if any(axis >= self.dims for axis in (*self.mirror, *self.trained_mirrored)):
            raise ValueError(
                f"mirror names an axis that an input of {self.dims} axes does not have"
            )
        if any(not self.classes.get(name) for name in self.largest_part):
            raise ValueError("largest_part names what is not a structure of the model")
        return self


def answers_whole_cases(card: ModelCard, config: DistillationConfig) -> bool:
    """Whether a teacher answers once for whole cases, because its student has another grid.

    That is if they differ in their number of axes or in preprocessing, or there is no network.
    """
    other = config.preprocessing not in (None, card.preprocessing)
    return card.is_predictions or card.dims != config.dims or other


def read_model_card(folder: Path) -> ModelCard:
    """Read ``model.json`` of a saved model without loading torch."""
    path = Path(folder) / "model.json"
    if not path.is_file():
        raise UserError(
            f"{folder} is not a saved model: it contains no model.json.",
            "Choose the model folder of a finished training or distillation.",
        )
    return read_config(ModelCard, path)


def weights_hash(folder: Path) -> str:
    """Return the SHA-256 of a model's weights, or of its list of predictions: it identifies it."""
    folder = Path(folder)
    found = (name for name in (ANSWERS, GRAPH_FILES[1]) if (folder / name).is_file())
    with open_regular(folder / next(found, WEIGHTS)) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def name_of_model(folder: Path) -> str:
    """Return the name of a model, whose folder in a job is ``model``; of other folders, theirs."""
    with suppress(UserError, OSError):
        return read_model_card(folder).name
    return folder.name
