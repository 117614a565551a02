"""The distillation methods and the options of each.

Nothing here imports torch, so that the window can list and describe them.
"""

from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from napari_graphflow.config.entry_points import method_entries
from napari_graphflow.config.generalisable import GeneralisableOptions
from napari_graphflow.config.method_info import MethodInfo
from napari_graphflow.config.settings import Frozen

#: Loss of a term that compares class probabilities.
LogitsLoss = Literal["kl", "dist"]


class _MatchedLogits(Frozen):
    """Options of every term that compares class probabilities.

    Parameters
    ----------
    weight
        Weight of the loss term.
    temperature
        Softmax temperature: the logits of both networks are divided by it.
    certainty
        Weight unlabelled voxels by teacher confidence (1 - normalised entropy).
    """

    weight: Annotated[float, Field(ge=0)] = 1.0
    temperature: Annotated[float, Field(gt=0, le=100)] = 1.0
    certainty: bool = False


class SoftLabels(_MatchedLogits):
    """Logits distillation: the student matches the teacher's class probabilities.

    Parameters
    ----------
    loss
        Kullback-Leibler divergence of the probabilities (``kl``), or their correlation (``dist``,
        as in the method DIST).
    """

    loss: LogitsLoss = "kl"


class LogitsOptions(_MatchedLogits):
    """Options of logits distillation."""

    name: Literal["logits"] = "logits"


class DistOptions(_MatchedLogits):
    """Options of DIST.

    Parameters
    ----------
    beta
        Weight of the correlation over the classes of each voxel, inside the term. With background
        and one class it carries no information and is left out.
    gamma
        Weight of the correlation over the voxels for each class, inside the term.
    """

    name: Literal["dist"] = "dist"
    beta: Annotated[float, Field(ge=0)] = 1.0
    gamma: Annotated[float, Field(ge=0)] = 1.0


class AdversarialOptions(Frozen):
    """Adversarial distillation: a discriminator separates student from teacher predictions.

    Parameters
    ----------
    weight
        Weight of the student's adversarial term (lambda 3 as reconstructed). 0 disables it.
        At most 0.1: the published score was lower at 1 than at 0.1.
    loss
        Adversarial loss, ``wgan_gp`` or ``hinge``.
    penalty
        Weight of the gradient penalty (``wgan_gp`` only).
    learning_rate
        Initial learning rate of the discriminator.
    width
        Channels of the discriminator's first block. Default: 64 in 2D and 16 in 3D.
    squash
        Input of the discriminator: class probabilities (``softmax``) or, as published, the
        ``tanh`` of the logits.
    """

    weight: Annotated[float, Field(ge=0, le=0.1)] = 0.0
    loss: Literal["wgan_gp", "hinge"] = "wgan_gp"
    penalty: Annotated[float, Field(ge=0)] = 10.0
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 3e-5
    width: Annotated[int, Field(ge=1)] | None = None
    squash: Literal["softmax", "tanh"] = "softmax"


class GraphFlowOptions(Frozen):
    """Options of Graph Flow; the default weights are for the dimensionless form of its loss.

    Parameters
    ----------
    patch
        Side p of the salient patch in feature-map pixels, odd; one number or one per axis.
    vertex_weight
        Weight of the vertex loss (lambda 1 as reconstructed), which compares how the salient
        patch of each channel changes from encoder to decoder. Larger values tie the student more
        closely to the teacher's features.
    edge_weight
        Weight of the edge loss (lambda 2 as reconstructed), which compares how the correlations
        between channels change.
    salience
        Peak of a channel: its largest value (``max``, as reconstructed) or its largest magnitude
        (``abs``).
    peaks
        Where the student's patches are taken: at the teacher's peaks (``teacher``) or at the
        student's (``own``, as reconstructed). With ``own`` the student can minimise the loss with
        features that do not depend on the image.
    edge
        Type of edges: differences of inner products (as reconstructed), the Gram matrix of the
        variations, or differences of Pearson correlations or cosines.
    vertex
        Variation of a patch as a vector (as reconstructed) or as its squared length (``scalar``).
    normalise
        ``each`` divides the patches of each network by that network's energy, since those of an
        untrained student may be a hundred times the teacher's; ``channel`` does this per channel,
        since a single channel may dominate; ``teacher`` divides both by the teacher's energy (the
        published loss up to a constant).
    reduction
        ``dimensionless``, or the sums of the paper with weights of the order of 1e-5 and 1e-9.
    paraphraser_steps
        Training steps of the auto-encoders (paraphrasers) that compress the teacher's taps. 0
        disables them; 1x1 convolutions then project the student's taps to the teacher's channels.
    tap_pairs
        Number of encoder-decoder tap pairs to compare (L in the paper), if both networks have
        them: at stride 4, then 2, then 8.
    logits
        Options of the logits distillation (lambda 4 as reconstructed).
    adversarial
        Options of the discriminator.
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
                "with reduction paper_sum the loss terms are large; set vertex_weight and "
                "edge_weight to at most 0.01 (1e-5 and 1e-9 as published)"
            )
        if self.reduction == "paper_sum" and self.normalise != "teacher":
            raise ValueError(
                "reduction paper_sum uses patches that are not normalised per network; set "
                "normalise to teacher"
            )
        return self

    @field_validator("patch")
    @classmethod
    def _patch_has_a_centre(cls, patch: tuple[int, ...]) -> tuple[int, ...]:
        if not 1 <= len(patch) <= 3 or any(side < 1 or side % 2 == 0 for side in patch):
            raise ValueError("write one odd number, such as 3, or one per axis")
        return patch


class EMKDOptions(Frozen):
    """Options of EMKD; the default weights are those of its authors.

    Parameters
    ----------
    preset
        ``robust`` weights a lesion by the area it covers in each feature-map cell and skips
        regions that are absent from a patch; ``official`` follows the authors' code, including its
        supervised loss (focal and Dice).
    prediction_weight
        Weight of the prediction-map loss; 0 disables it.
    prediction_loss
        Loss of the prediction maps: Kullback-Leibler divergence (``kl``, as published), or the
        correlation of DIST (``dist``), which was designed for temperature 1.
    importance_weight
        Weight of the importance-map loss, summed over both taps; 0 disables it.
    affinity_weight
        Weight of the region-affinity loss, summed over both taps; 0 disables it. Uses labelled
        cases only.
    power
        Exponent of the feature magnitude in an importance map.
    temperature
        Softmax temperature of the prediction maps.
    certainty
        Weight unlabelled voxels by teacher confidence (1 - normalised entropy) in the prediction
        maps of the robust preset.
    """

    name: Literal["emkd"] = "emkd"
    preset: Literal["robust", "official"] = "robust"
    prediction_weight: Annotated[float, Field(ge=0)] = 0.1
    prediction_loss: LogitsLoss = "kl"
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
        Weight of the attention-map loss, summed over both taps.
    """

    name: Literal["attention"] = "attention"
    weight: Annotated[float, Field(ge=0)] = 1.0


class ChannelWiseOptions(Frozen):
    """Options of channel-wise distillation.

    Parameters
    ----------
    weight
        Weight of the loss term of the logits; 0 disables it.
    temperature
        Softmax temperature over the voxels of a channel. Larger values compare a larger part of
        the image beside the brightest voxels.
    tap
        Feature map that is compared as well: ``lo`` and ``hi`` are in the encoder at strides 2
        and 8, ``encoder`` and ``decoder`` at stride 4 where a network has them, or ``none``.
    tap_weight
        Weight of the loss term of the feature map.
    """

    name: Literal["channel_wise"] = "channel_wise"
    weight: Annotated[float, Field(ge=0)] = 1.0
    temperature: Annotated[float, Field(gt=0, le=100)] = 4.0
    tap: Literal["none", "lo", "hi", "encoder", "decoder"] = "none"
    tap_weight: Annotated[float, Field(ge=0)] = 1.0


_METHODS = "napari_graphflow.distillation"

#: All distillation methods by name, those of other packages last.
METHODS: dict[str, MethodInfo] = {
    "graph_flow": MethodInfo(
        "Graph Flow",
        "Matches how the teacher's features change from encoder to decoder; also uses unlabelled "
        "cases.",
        "Cross-layer variation graphs with vertex, edge and logits distillation (Graph Flow, IEEE "
        "TMI 2022). A reconstruction; by default the student's patches are taken at the teacher's "
        "peaks and each network's patches are divided by that network's energy.",
        f"{_METHODS}.graph_flow.method:GraphFlow",
        GraphFlowOptions,
        decoder=True,
        taps=("encoder", "decoder"),
    ),
    "emkd": MethodInfo(
        "EMKD",
        "Matches the teacher's class probabilities, importance maps and region affinities; the "
        "first two also use unlabelled cases.",
        "Prediction maps, importance maps and region affinity (EMKD, IEEE TMI 2021).",
        f"{_METHODS}.emkd.method:EMKD",
        EMKDOptions,
        taps=("lo", "hi"),
    ),
    "logits": MethodInfo(
        "Logits distillation (soft labels)",
        "Matches the teacher's class probabilities in every voxel; also uses unlabelled cases.",
        "Logits distillation with a temperature (Hinton et al., 2015).",
        f"{_METHODS}.logits:LogitsDistillation",
        LogitsOptions,
        answers_only=True,
    ),
    "dist": MethodInfo(
        "DIST",
        "Correlates the student's class probabilities with the teacher's, over classes and over "
        "voxels; also uses unlabelled cases.",
        "Pearson correlations of the class probabilities (DIST, NeurIPS 2022). A student may be "
        "less confident than its teacher. With background and one class, only the correlation "
        "over voxels is used.",
        f"{_METHODS}.dist:Dist",
        DistOptions,
        answers_only=True,
    ),
    "channel_wise": MethodInfo(
        "Channel-wise distillation",
        "Matches where in the image each channel of the teacher's logits is high; also uses "
        "unlabelled cases.",
        "A softmax over the voxels of each channel (CWD, ICCV 2021), for the logits and, if "
        "chosen, for a feature map.",
        f"{_METHODS}.channel_wise:ChannelWise",
        ChannelWiseOptions,
        answers_only=True,
    ),
    "attention": MethodInfo(
        "Attention transfer",
        "Matches the teacher's spatial attention maps; also uses unlabelled cases.",
        "Squared activations summed over channels (Zagoruyko and Komodakis, ICLR 2017).",
        f"{_METHODS}.attention:AttentionTransfer",
        AttentionOptions,
        taps=("lo", "hi"),
    ),
    "generalisable": MethodInfo(
        "Generalisable distillation",
        "For images of other scanners and sites: compares how both networks describe an image and "
        "copies of it with changed intensities. Trains further networks first.",
        "Dual contrastive graphs and cross distillation of codes aligned to a mask auto-encoder "
        "(IEEE JBHI 2024). The code of the paper was never published: a reconstruction, whose "
        "options say which values are ours. Also try Augmentation, which may help as much.",
        f"{_METHODS}.generalisable.method:Generalisable",
        GeneralisableOptions,
        taps=("bottleneck",),
    ),
}

METHODS.update(method_entries(METHODS))

if TYPE_CHECKING:
    MethodName = str
    AnyOptions = (
        GraphFlowOptions
        | EMKDOptions
        | LogitsOptions
        | DistOptions
        | ChannelWiseOptions
        | AttentionOptions
        | GeneralisableOptions
    )
else:
    #: One of the names in `METHODS`; the command line lists and checks them.
    MethodName = Literal[tuple(METHODS)]
    AnyOptions = reduce(or_, (info.options for info in METHODS.values()))

#: The options of any method, discriminated by `name`.
MethodOptions = Annotated[AnyOptions, Field(discriminator="name")]


def taps_of(options: AnyOptions) -> tuple[str, str]:
    """Return the feature maps of teacher and student that options name; ``none`` if they do not."""
    one = getattr(options, "tap", "none")
    return getattr(options, "teacher_tap", one), getattr(options, "student_tap", one)
