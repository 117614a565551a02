"""The one definition of a run: command line, form, ``job.json``, entry in the saved model.

Nothing here imports torch, so that the window can show and check a run before it starts one.
"""

import json
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from napari_graphflow.errors import UserError


def _number(value: Any) -> Any:
    """Take a number from the command line, where everything is text."""
    return int(value) if isinstance(value, str) and value.isdigit() else value


Dims = Annotated[Literal[2, 3], BeforeValidator(_number)]
#: ``cuda`` is any GPU, ``cuda:1`` the second.
Device = Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")]
Effort = Literal["quick", "overnight", "best"]
T = TypeVar("T", bound=BaseModel)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Preprocessing(_Frozen):
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


class TrainingConfig(_Frozen):
    """A supervised training run.

    Parameters
    ----------
    dataset
        Folder of a dataset in the nnU-Net v2 raw layout.
    network
        Name of the network to train, one of those listed by ``napari-graphflow networks``.
    dims
        2 trains on slices, 3 on volumes.
    width
        Channels of the first stage; None takes the published width of the network.
    labelled
        Use the masks of only so many training cases, drawn with `seed`; the others count as
        unlabelled. None uses all.
    steps
        Number of optimiser steps.
    mirror
        Axes along which patches are mirrored at random; None means y and x for pictures and
        no axis for volumes, whose left and right differ.
    batch_size
        Labelled patches in a step. A distillation adds as many unlabelled ones, so that a
        student with and without distillation sees the same number of labelled patches.
    patch_size
        Patch side in voxels along (z, y, x) or (y, x) after preprocessing; empty means chosen
        from the data.
    learning_rate
        Peak of the one-cycle schedule.
    weight_decay
        Decoupled weight decay of AdamW.
    validate_every
        Steps between two validations; the best one is kept.
    checkpoint_minutes
        A checkpoint is written at every validation, and between two of them after so many
        minutes.
    seed
        Seeds weights, sampling, augmentation and the choice of labelled cases.
    device
        Where to compute: ``auto``, ``cpu``, ``mps``, ``cuda`` or one GPU, as ``cuda:1``.
    precision
        Number format of Lightning Fabric, ``32-true`` or ``bf16-mixed`` or ``16-mixed``.
    threads
        Processor threads; 0 leaves one core to the windows on the screen.
    preprocessing
        Spacing and intensity; None chooses them from the data.
    name
        Name of the model that comes out; empty makes one from network and dataset.
    """

    dataset: Path
    network: str = "unet"
    dims: Dims = 3
    width: Annotated[int, Field(ge=4, le=512)] | None = None
    labelled: Annotated[int, Field(ge=1)] | None = None
    steps: Annotated[int, Field(ge=1, le=10_000_000)] = 1000
    batch_size: Annotated[int, Field(ge=1, le=4096)] = 2
    patch_size: tuple[int, ...] = ()
    mirror: tuple[Literal["z", "y", "x"], ...] | None = None
    learning_rate: Annotated[float, Field(gt=0, le=10)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0, le=10)] = 1e-4
    validate_every: Annotated[int, Field(ge=1)] = 100
    checkpoint_minutes: Annotated[float, Field(gt=0, le=1440)] = 5.0
    seed: Annotated[int, Field(ge=0)] = 0
    device: Device = "auto"
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    threads: Annotated[int, Field(ge=0, le=1024)] = 0
    preprocessing: Preprocessing | None = None
    name: str = ""

    @model_validator(mode="after")
    def _patch_matches_dims(self) -> Self:
        if self.patch_size and len(self.patch_size) != self.dims:
            raise ValueError(
                f"patch_size has {len(self.patch_size)} numbers but dims is {self.dims}; "
                "give one number per axis"
            )
        return self


class AdversarialOptions(_Frozen):
    """Adversarial distillation: a discriminator tells the student's masks from the teacher's.

    Parameters
    ----------
    weight
        Weight of the student's term; 0, for small data, leaves it out. At 1 the published score
        fell below that of 0.1, so no more is allowed.
    loss
        ``wgan_gp`` or ``hinge``.
    penalty
        Weight of the gradient penalty of ``wgan_gp``.
    learning_rate
        Of the discriminator at the start.
    width
        Channels of its first block; None takes 64 in 2D and 16 in 3D.
    squash
        Whether it sees class probabilities or, as published, the tanh of the logits.
    """

    weight: Annotated[float, Field(ge=0, le=0.1)] = 0.0
    loss: Literal["wgan_gp", "hinge"] = "wgan_gp"
    penalty: Annotated[float, Field(ge=0)] = 10.0
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 3e-5
    width: Annotated[int, Field(ge=1)] | None = None
    squash: Literal["softmax", "tanh"] = "softmax"


class GraphFlowOptions(_Frozen):
    """Options of Graph Flow, with the weights of the dimensionless form of its loss.

    Parameters
    ----------
    patch
        Side p of the salient patch in feature pixels, odd; one number or one per axis.
    vertex_weight, edge_weight
        Weights of the vertex and the edge term.
    salience
        Whether a channel's peak is its largest value or its largest magnitude.
    edge
        Kind of edges: differences of inner products, the Gram matrix of the variations, or
        differences of correlations or cosines.
    vertex
        The variation of a patch as a vector, or its squared length.
    normalise
        ``each`` divides each network's patches by its own energy, since an untrained student's
        may be a hundred times its teacher's; ``teacher`` divides both by the teacher's (the
        published loss up to a constant).
    reduction
        ``dimensionless`` or the sums of the paper, whose weights are of the order of 1e-5 and 1e-9.
    paraphraser_steps
        Steps of training for the auto-encoders that compress the teacher's taps; 0 leaves them
        out, and 1x1 convolutions then widen the student's taps to the teacher's.
    tap_pairs
        How many encoder-decoder tap pairs are compared, where both networks have them.
    """

    patch: tuple[int, ...] = (3,)
    vertex_weight: Annotated[float, Field(ge=0)] = 0.1
    edge_weight: Annotated[float, Field(ge=0)] = 0.1
    salience: Literal["max", "abs"] = "max"
    edge: Literal["inner", "gram_of_variation", "pearson", "cosine"] = "inner"
    vertex: Literal["vector", "scalar"] = "vector"
    normalise: Literal["teacher", "each"] = "each"
    reduction: Literal["dimensionless", "paper_sum"] = "dimensionless"
    paraphraser_steps: Annotated[int, Field(ge=0)] = 300
    tap_pairs: Annotated[int, Field(ge=1, le=3)] = 1

    @model_validator(mode="after")
    def _weights_fit_the_reduction(self) -> Self:
        if self.reduction == "paper_sum" and max(self.vertex_weight, self.edge_weight) > 0.01:
            raise ValueError(
                "the sums of the paper are large: with reduction paper_sum set vertex_weight and "
                "edge_weight, 1e-5 and 1e-9 as published"
            )
        return self


class EMKDOptions(_Frozen):
    """Options of EMKD, with the weights of its authors.

    Parameters
    ----------
    preset
        ``robust`` counts a lesion by the area it has in each cell of a tap, and leaves out regions
        that a patch does not hold; ``official`` does what the authors' code does, its loss on
        labelled voxels (focal and Dice) included.
    prediction_weight
        Weight of the prediction maps; 0 leaves them out, as with the other two.
    importance_weight
        Weight of the importance maps, summed over both taps.
    affinity_weight
        Weight of the affinity of regions, summed over both taps; it needs labels and is formed
        on labelled cases only.
    power
        Power of a feature's magnitude in an importance map.
    temperature
        Temperature of the prediction maps.
    """

    preset: Literal["robust", "official"] = "robust"
    prediction_weight: Annotated[float, Field(ge=0)] = 0.1
    importance_weight: Annotated[float, Field(ge=0)] = 0.9
    affinity_weight: Annotated[float, Field(ge=0)] = 0.9
    power: Annotated[int, Field(ge=1, le=8)] = 4
    temperature: Annotated[float, Field(gt=0, le=100)] = 4.0


class AttentionOptions(_Frozen):
    """Options of attention transfer.

    Parameters
    ----------
    weight
        Weight of the attention maps, summed over both taps.
    """

    weight: Annotated[float, Field(ge=0)] = 1.0


class MethodInfo(NamedTuple):
    """A distillation method as a list shows it, and the module and class that hold it."""

    title: str
    text: str
    tip: str
    path: str


_METHODS = "napari_graphflow.distillation"
#: All distillation methods, by the name that a run gives them.
METHODS: dict[str, MethodInfo] = {
    "graph_flow": MethodInfo(
        "Graph Flow",
        "Learns how the teacher's features change from layer to layer; uses unlabelled cases.",
        "Cross-layer variation graphs, with vertex and edge distillation and logits distillation "
        "(Graph Flow, IEEE TMI 2022).",
        f"{_METHODS}.graph_flow_method:GraphFlow",
    ),
    "emkd": MethodInfo(
        "EMKD",
        "Learns the teacher's probabilities, where it looks, and how alike it finds organ and "
        "lesion; uses unlabelled cases for the first two.",
        "Prediction maps, importance maps and region affinity (EMKD, IEEE TMI 2021).",
        f"{_METHODS}.emkd_method:EMKD",
    ),
    "logits": MethodInfo(
        "Soft answers",
        "Learns the teacher's probabilities for every voxel; uses unlabelled cases.",
        "Logits distillation with a temperature (Hinton et al., 2015).",
        f"{_METHODS}.logits_method:LogitsDistillation",
    ),
    "attention": MethodInfo(
        "Attention transfer",
        "Learns where the teacher's features are strong; uses unlabelled cases.",
        "Squared activations summed over channels (Zagoruyko and Komodakis, ICLR 2017).",
        f"{_METHODS}.attention_method:AttentionTransfer",
    ),
}


class DistillationConfig(TrainingConfig):
    """A distillation run: a frozen teacher, a student, labelled and unlabelled cases.

    Parameters
    ----------
    teacher
        Folder of a saved model.
    method
        Name of the distillation method: graph_flow, emkd, logits or attention.
    unlabelled
        Whether unlabelled cases are used, in half of every batch.
    logits_weight
        Weight of the logits distillation. Above 1 it may be better, with a warm-up.
    temperature
        Temperature of the logits distillation of the other methods.
    certainty
        Whether a voxel of an unlabelled case counts the less in the logits distillation, or in
        the prediction maps of EMKD's robust preset, the less certain its teacher is, by the
        entropy of its answer.
    warmup
        Steps over which the weights of all distillation terms grow from 0.
    graph_flow
        Options of the method Graph Flow.
    emkd
        Options of the method EMKD.
    attention
        Options of attention transfer.
    adversarial
        Options of the discriminator that Graph Flow may use as well.
    """

    teacher: Path
    network: str = "enet"
    method: str = "graph_flow"
    unlabelled: bool = True
    logits_weight: Annotated[float, Field(ge=0)] = 1.0
    temperature: Annotated[float, Field(gt=0, le=100)] = 1.0
    certainty: bool = False
    warmup: Annotated[int, Field(ge=0)] = 0
    graph_flow: GraphFlowOptions = GraphFlowOptions()
    emkd: EMKDOptions = EMKDOptions()
    attention: AttentionOptions = AttentionOptions()
    adversarial: AdversarialOptions = AdversarialOptions()


class ModelCard(_Frozen):
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
    arguments: dict[str, Any] = {}
    taps: dict[str, str] = {}
    patch_size: tuple[int, ...]
    preprocessing: Preprocessing
    parameters: int = 0
    provenance: dict[str, Any] = {}


#: Steps and validation interval of the three presets of the *Distil* window.
PRESETS: dict[Effort, dict[str, int]] = {
    "quick": {"steps": 300, "validate_every": 100},
    "overnight": {"steps": 10_000, "validate_every": 500},
    "best": {"steps": 50_000, "validate_every": 1000},
}


def read_config(kind: type[T], path: Path) -> T:
    """Read a configuration from a JSON file, with a sentence instead of a validation report."""
    try:
        return kind.model_validate_json(path.read_text("utf-8"))
    except FileNotFoundError:
        raise UserError(f"There is no file {path}.", "Check the path.") from None
    except (ValidationError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {first_problem(error)}.") from None


def first_problem(error: Exception) -> str:
    """Say the first problem of a validation error in a few words."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return f"{where + ': ' if where else ''}{first['msg'].removeprefix('Value error, ')}"
    return str(error)


def read_model_card(folder: Path) -> ModelCard:
    """Read ``model.json`` of a saved model without loading torch."""
    path = Path(folder) / "model.json"
    if not path.is_file():
        raise UserError(
            f"{folder} is not a saved model: it holds no model.json.",
            "Choose a folder that was written by a training or a distillation.",
        )
    return read_config(ModelCard, path)
