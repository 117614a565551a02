"""The distillation methods that there are, and the options of each.

Nothing here imports torch, so that the window can list and describe them.
"""

from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple, Self

from pydantic import Field, field_validator, model_validator

from napari_graphflow.config.settings import Frozen


class SoftLabels(Frozen):
    """Logits distillation: the student learns its teacher's class probabilities.

    Parameters
    ----------
    weight
        Weight of the term. Above 1 it may be better, with a warm-up.
    temperature
        Divides the logits of both networks before the softmax.
    certainty
        Weight unlabelled voxels by teacher confidence (1 - normalised entropy).
    """

    weight: Annotated[float, Field(ge=0)] = 1.0
    temperature: Annotated[float, Field(gt=0, le=100)] = 1.0
    certainty: bool = False


class LogitsOptions(SoftLabels):
    """Options of logits distillation."""

    name: Literal["logits"] = "logits"


class AdversarialOptions(Frozen):
    """Adversarial distillation: a discriminator tells the student's masks from the teacher's.

    Parameters
    ----------
    weight
        Weight of the student's term (lambda 3 as reconstructed); 0, for small data, leaves it out.
        At 1 the published score fell below that of 0.1, so no more is allowed.
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


class GraphFlowOptions(Frozen):
    """Options of Graph Flow, with the weights of the dimensionless form of its loss.

    Parameters
    ----------
    patch
        Side p of the salient patch in feature pixels, odd; one number or one per axis.
    vertex_weight
        Weight of the vertices (lambda 1 as reconstructed): how the salient patch of each channel
        changes from encoder to decoder. More binds the student closer to its teacher's features.
    edge_weight
        Weight of the edges (lambda 2 as reconstructed): how the correlations between channels
        change.
    salience
        Whether a channel's peak is its largest value (as reconstructed) or its largest magnitude.
    peaks
        Where the student's patches are cut: at those of its ``teacher``, or at its ``own``, as
        reconstructed, where it can meet the loss with features that are the same for every image.
    edge
        Kind of edges: differences of inner products (as reconstructed), the Gram matrix of the
        variations, or differences of correlations or cosines.
    vertex
        The variation of a patch as a vector (as reconstructed), or its squared length.
    normalise
        ``each`` divides each network's patches by its own energy, since an untrained student's
        may be a hundred times its teacher's; ``channel`` does so for each channel, since one of
        them may outweigh all others; ``teacher`` divides both by the teacher's (the published loss
        up to a constant).
    reduction
        ``dimensionless`` or the sums of the paper, whose weights are of the order of 1e-5 and 1e-9.
    paraphraser_steps
        Steps of training for the auto-encoders that compress the teacher's taps; 0 leaves them
        out, and 1x1 convolutions then widen the student's taps to the teacher's.
    tap_pairs
        How many encoder-decoder tap pairs are compared (L of the paper), where both networks have
        them: at stride 4, then 2, then 8.
    logits
        Options of its logits distillation (lambda 4 as reconstructed).
    adversarial
        Options of its discriminator.
    """

    name: Literal["graph_flow"] = "graph_flow"
    patch: tuple[int, ...] = (3,)
    vertex_weight: Annotated[float, Field(ge=0)] = 0.1
    edge_weight: Annotated[float, Field(ge=0)] = 0.1
    salience: Literal["max", "abs"] = "max"
    peaks: Literal["teacher", "own"] = "teacher"
    edge: Literal["inner", "gram_of_variation", "pearson", "cosine"] = "inner"
    vertex: Literal["vector", "scalar"] = "vector"
    normalise: Literal["teacher", "each", "channel"] = "each"
    reduction: Literal["dimensionless", "paper_sum"] = "dimensionless"
    paraphraser_steps: Annotated[int, Field(ge=0)] = 300
    tap_pairs: Annotated[int, Field(ge=1, le=3)] = 1
    logits: SoftLabels = SoftLabels()
    adversarial: AdversarialOptions = AdversarialOptions()

    @model_validator(mode="after")
    def _weights_fit_the_reduction(self) -> Self:
        if self.reduction == "paper_sum" and max(self.vertex_weight, self.edge_weight) > 0.01:
            raise ValueError(
                "the sums of the paper are large: with reduction paper_sum set vertex_weight and "
                "edge_weight, 1e-5 and 1e-9 as published"
            )
        if self.reduction == "paper_sum" and self.normalise != "teacher":
            raise ValueError(
                "the sums of the paper take the patches as they are: with reduction paper_sum set "
                "normalise to teacher"
            )
        return self

    @field_validator("patch")
    @classmethod
    def _patch_has_a_centre(cls, patch: tuple[int, ...]) -> tuple[int, ...]:
        if not 1 <= len(patch) <= 3 or any(side < 1 or side % 2 == 0 for side in patch):
            raise ValueError("give one odd number, such as 3, or one per axis")
        return patch


class EMKDOptions(Frozen):
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
    certainty
        Weight unlabelled voxels by teacher confidence (1 - normalised entropy) in the prediction
        maps of the robust preset.
    """

    name: Literal["emkd"] = "emkd"
    preset: Literal["robust", "official"] = "robust"
    prediction_weight: Annotated[float, Field(ge=0)] = 0.1
    importance_weight: Annotated[float, Field(ge=0)] = 0.9
    affinity_weight: Annotated[float, Field(ge=0)] = 0.9
    power: Annotated[int, Field(ge=1, le=8)] = 4
    temperature: Annotated[float, Field(gt=0, le=100)] = 4.0
    certainty: bool = False


class AttentionOptions(Frozen):
    """Options of attention transfer.

    Parameters
    ----------
    weight
        Weight of the attention maps, summed over both taps.
    """

    name: Literal["attention"] = "attention"
    weight: Annotated[float, Field(ge=0)] = 1.0


#: The options of any method, told apart by its name.
MethodOptions = Annotated[
    GraphFlowOptions | EMKDOptions | LogitsOptions | AttentionOptions, Field(discriminator="name")
]


class MethodInfo(NamedTuple):
    """A distillation method as a list shows it, its module and class, and its options."""

    title: str
    text: str
    tip: str
    path: str
    options: type[GraphFlowOptions | EMKDOptions | LogitsOptions | AttentionOptions]


_METHODS = "napari_graphflow.distillation"


#: All distillation methods, by the name that a run gives them.
METHODS: dict[str, MethodInfo] = {
    "graph_flow": MethodInfo(
        "Graph Flow",
        "Learns how the teacher's features change from layer to layer; uses unlabelled cases.",
        "Cross-layer variation graphs, with vertex and edge distillation and logits distillation "
        "(Graph Flow, IEEE TMI 2022; a reconstruction, and by default with the student read at "
        "its teacher's peaks and each network in units of its own energy).",
        f"{_METHODS}.graph_flow.method:GraphFlow",
        GraphFlowOptions,
    ),
    "emkd": MethodInfo(
        "EMKD",
        "Learns the teacher's probabilities, where it looks, and how alike it finds organ and "
        "lesion; uses unlabelled cases for the first two.",
        "Prediction maps, importance maps and region affinity (EMKD, IEEE TMI 2021).",
        f"{_METHODS}.emkd.method:EMKD",
        EMKDOptions,
    ),
    "logits": MethodInfo(
        "Soft answers",
        "Learns the teacher's probabilities for every voxel; uses unlabelled cases.",
        "Logits distillation with a temperature (Hinton et al., 2015).",
        f"{_METHODS}.logits:LogitsDistillation",
        LogitsOptions,
    ),
    "attention": MethodInfo(
        "Attention transfer",
        "Learns where the teacher's features are strong; uses unlabelled cases.",
        "Squared activations summed over channels (Zagoruyko and Komodakis, ICLR 2017).",
        f"{_METHODS}.attention:AttentionTransfer",
        AttentionOptions,
    ),
}


if TYPE_CHECKING:
    MethodName = str
else:
    #: Checked, and offered by the command line, by the names of `METHODS`.
    MethodName = Literal[tuple(METHODS)]
