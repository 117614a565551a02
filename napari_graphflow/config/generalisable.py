"""The options of generalisable distillation; each value that is not from the paper is marked."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from napari_graphflow.config.settings import Frozen

#: Steps of a stage, as a share of the steps of the run, where none are set.
SHARES = {"autoencoder": 0.2, "student": 4 / 3, "alignment": 0.2}

#: The stages before the distillation by name, as a run names them.
STAGES = {
    "masks": "the mask auto-encoder",
    "codes": "the codes of masks",
    "student": "the student alone",
    "teacher_alignment": "the alignment of the teacher",
    "student_alignment": "the alignment of the student",
}
#: Their names for an auto-encoder of images.
IMAGE_STAGES = {"masks": "the image auto-encoder", "codes": "the codes of images"}
#: Dice below which an auto-encoder does not show what a mask looks like.
LEAST_MASK_DICE = 0.5
#: Least share of the variance of the masks' codes that the codes explain, largest loss of Dice by
#: the header, least spread of the codes in units of that of the masks'.
LEAST_R2, LARGEST_LOSS, LEAST_SPREAD = 0.5, 0.02, 0.3
#: Least Dice that a network must lose with the bottleneck of another image, if it has at least
#: the other Dice.
LEAST_RELIANCE, LEAST_DICE = 0.01, 0.1


#: What a code is read from: each channel of a map by itself, or the whole map.
Codes = Literal["channels", "map"]
#: How the views of a patch are made.
ViewKinds = Literal["typed", "gin"]


class GeneralisableOptions(Frozen):
    """Options of generalisable distillation. Values marked (ours) are not from the paper.

    Parameters
    ----------
    preset
        ``faithful`` keeps to what is known of the paper: cross-entropy of the unchanged patches
        alone, codes of 512 numbers. ``recommended`` (ours): cross-entropy and Dice loss, half of
        them on a view with changed intensities, and codes of 128 numbers of the whole map.
    intra_weight
        Weight alpha of the star graph, from a patch to its views: how similar each view's code is
        to that of the unchanged patch (0.1 is ours; 0 disables it).
    inter_weight
        Weight beta of the complete graph: how similar the views' codes are to each other (0.1 is
        ours; 0 disables it).
    cross_weight
        Weight gamma of the cross distillation, in which each network decodes the other's code (1
        is ours; 0 disables it).
    views
        Number K of views of each patch, of a different kind each: contrast, blur, noise, and
        uneven brightness (4 as drawn in the paper; their kinds are ours).
    view_kinds
        ``typed``, one kind of change per view as above, or ``gin`` (ours): random convolutions
        blended with the patch (Ouyang et al., IEEE TMI 2022), also for the alignment networks and
        the supervised loss on a view.
    temperature
        Softmax temperature of the edges of the graphs (0.1 is ours).
    edge_loss
        Comparison of the edges: ``kl``, a Kullback-Leibler divergence of their softmax (ours), or
        ``mse``, the squared difference of the cosines (ours).
    inter_nodes
        Nodes of the complete graph: the ``views`` of a patch, as drawn, or the patches of a
        ``batch`` (ours).
    detach_skips
        Whether the cross distillation trains only the student's decoder where the teacher's code
        is decoded; otherwise also its encoder, through the skip connections, as in the code that
        was published.
    skip_drop
        Share of the channels of the teacher's skip connections that are dropped where it decodes
        the student's code, so that the code matters more (ours; 0 disables it).
    cross_temperature
        Softmax temperature of the cross distillation (1 is ours).
    view_share
        Share of the supervised loss on one view with changed intensities instead of the patch
        itself (ours). Default: 0.5 in the preset recommended, 0 in faithful.
    code_length
        Numbers in a code, a multiple of 8. Default: 512 in the preset faithful, as published, and
        128 in recommended (ours).
    codes
        What a code is read from: ``channels``, one number per channel, as published, or ``map``
        (ours), all cells of the map together, which thin structures need; these codes begin as its
        principal components. Default: channels in the
        preset faithful, map in recommended.
    teacher_tap, student_tap
        Feature map from which the codes of a network are read, and which its header rebuilds: the
        ``bottleneck``, as drawn, or another named tap such as ``decoder`` (ours). The skip
        connections of a U-Net may leave nothing to its bottleneck.
    student_init
        The student before the last stage: ``warm`` trains it alone first (ours), ``scratch``
        starts again with random weights once its codes are aligned.
    student
        Folder of a trained student of the same network, which is used instead of training one
        (ours).
    stages
        Folder of a student that was distilled with this method: its mask auto-encoder is used
        again, and with the same teacher also the teacher's alignment network (ours).
    autoencoder_input
        What the auto-encoder encodes: the ``mask``, the only thing that is the same object on every
        scanner, or the ``image`` (both are ours: the paper does not say).
    autoencoder_steps
        Steps of each of the two phases of the mask auto-encoder (ours). Default: a fifth of the
        steps of the run.
    student_steps
        Steps of the student that is trained alone (ours). Default: 4/3 of the steps of the run.
    alignment_steps
        Steps of each of the two alignment networks (ours). Default: a fifth of the steps of the
        run.
    learning_rate
        Initial learning rate of the stages before the last (ours); ten times this for the
        perceptron of the mask auto-encoder if it reads channels.
    """

    name: Literal["generalisable"] = "generalisable"
    preset: Literal["recommended", "faithful"] = "recommended"
    intra_weight: Annotated[float, Field(ge=0)] = 0.1
    inter_weight: Annotated[float, Field(ge=0)] = 0.1
    cross_weight: Annotated[float, Field(ge=0)] = 1.0
    views: Annotated[int, Field(ge=3, le=16)] = 4
    view_kinds: ViewKinds = "typed"
    temperature: Annotated[float, Field(gt=0, le=100)] = 0.1
    edge_loss: Literal["kl", "mse"] = "kl"
    inter_nodes: Literal["views", "batch"] = "views"
    detach_skips: bool = False
    skip_drop: Annotated[float, Field(ge=0, lt=1)] = 0.0
    cross_temperature: Annotated[float, Field(gt=0, le=100)] = 1.0
    view_share: Annotated[float, Field(ge=0, le=1)] | None = None
    code_length: Annotated[int, Field(ge=8, le=4096, multiple_of=8)] | None = None
    codes: Codes | None = None
    teacher_tap: str = "bottleneck"
    student_tap: str = "bottleneck"
    student_init: Literal["warm", "scratch"] = "warm"
    student: Path | None = None
    stages: Path | None = None
    autoencoder_input: Literal["mask", "image"] = "mask"
    autoencoder_steps: Annotated[int, Field(ge=1)] | None = None
    student_steps: Annotated[int, Field(ge=1)] | None = None
    alignment_steps: Annotated[int, Field(ge=1)] | None = None
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-3

    @property
    def length(self) -> int:
        """Numbers in a code."""
        return self.code_length or {"recommended": 128, "faithful": 512}[self.preset]

    @property
    def read(self) -> Codes:
        """What a code is read from."""
        default: dict[str, Codes] = {"recommended": "map", "faithful": "channels"}
        return self.codes or default[self.preset]

    @property
    def share(self) -> float:
        """Share of the supervised loss on a view."""
        default = {"recommended": 0.5, "faithful": 0.0}[self.preset]
        return default if self.view_share is None else self.view_share

    def steps_of(self, stage: Literal["autoencoder", "student", "alignment"], steps: int) -> int:
        """Return the steps of a stage of a run of `steps`."""
        chosen: int | None = getattr(self, f"{stage}_steps")
        return chosen or max(1, round(SHARES[stage] * steps))
