"""Settings of a run, shared by command line, form, ``job.json`` and saved model.

Nothing here imports torch, so that the window can show and check a run before starting it.
"""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from napari_graphflow.config.methods import EMKDOptions, GraphFlowOptions, MethodOptions
from napari_graphflow.config.preprocessing import Dims, Preprocessing, positive_sides
from napari_graphflow.config.settings import Frozen

#: ``cuda`` is the default GPU, ``cuda:1`` the second.
Device = Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")]
Effort = Literal["quick", "overnight", "best"]
Augmentation = Literal["none", "light", "default", "strong"]
SelfTraining = Literal["none", "soft", "hard"]
#: Augmentation for images of other scanners and sites.
ScannerAugmentation = Literal["none", "scale", "bigaug", "gin", "randconv"]
#: Mean Dice below which a teacher is refused.
MIN_TEACHER_DICE = 0.4


class TrainingConfig(Frozen):
    """A supervised training run.

    Parameters
    ----------
    dataset
        Folder of a dataset in the nnU-Net v2 raw layout.
    network
        Network to train, one of those listed by ``napari-graphflow networks``.
    role
        What the model is for: a ``teacher`` to be distilled, or a ``student`` trained alone, for
        comparison. Default: the usual role of the network.
    dims
        2 trains on slices, 3 on volumes.
    width
        Channels of the first stage. Default: the published width.
    fold
        Fold of ``splits_final.json``, where the dataset has one.
    sources
        Sites (column ``site`` of the dataset's ``sites.csv``) to train and validate on. Images of
        other sites are then never used for training, only for the report. Default: all.
    labelled
        Number of training cases used with their masks, drawn with `seed`; the remaining cases
        count as unlabelled. Default: all masks.
    steps
        Number of optimiser steps.
    mirror
        Axes for random mirroring. Default: y and x for 2D images, and no axis for volumes, where
        left and right differ.
    augmentation
        Strength of the random rotation, scaling, noise, brightness and contrast of training
        patches: ``none``, ``light``, ``default`` or ``strong`` (like nnU-Net, also blur and low
        resolution). Mirroring is set separately.
    scanner_augmentation
        Further changes of training patches, for images of other scanners and sites: ``scale``
        (structures half to twice as large), ``bigaug`` (many changes of intensity and shape),
        ``gin`` or ``randconv`` (intensities changed by random convolutions). Which helps depends
        on the images; use the same for teacher and student.
    batch_size
        Labelled patches per step. A distillation adds the same number of unlabelled patches, so
        that a student sees as many labelled patches with distillation as without.
    patch_size
        Patch size in voxels along (z, y, x) or (y, x) after preprocessing. Default: chosen
        from the data.
    learning_rate
        Peak learning rate of the one-cycle schedule.
    weight_decay
        Decoupled weight decay of AdamW.
    ema_decay
        Decay of an exponential moving average of the weights over the steps, for example 0.999;
        the average is then validated and saved instead of the weights themselves. 0 disables it.
    validate_every
        Steps between validations; the weights with the best Dice are saved.
    checkpoint_minutes
        Longest time between checkpoints, in minutes; each validation also writes one.
    seed
        Random seed for weights, sampling, augmentation and the choice of labelled cases.
    device
        Device to train on: ``auto``, ``cpu``, ``mps``, ``cuda``, or a specific GPU such as
        ``cuda:1``.
    precision
        Floating-point precision: ``32-true``, ``bf16-mixed`` or ``16-mixed``. ``auto`` is mixed on
        an NVIDIA GPU (bfloat16 where it has it), otherwise ``32-true``.
    threads
        CPU threads; 0 uses all cores but one, so that the user interface stays responsive.
    preprocessing
        Spacing and intensity. Default: chosen from the data.
    init
        Folder of a saved model whose weights the run starts from (warm start): the same network,
        width, channels and number of classes. Default: random weights.
    class_weights
        Weights of the classes in the cross-entropy of the labelled patches: ``equal``, or
        ``balanced`` by the inverse square root of their number of voxels, for small structures.
    patience
        Number of validations in a row without a better Dice after which the training stops early.
        0 trains all steps.
    self_training
        Train twice: a second network with fresh weights learns from the masks and, in the cases
        without one, from the answers of the first, and is kept. The answers are class probabilities
        (``soft``) or the most probable class of each voxel (``hard``). ``none`` trains once.
    curves
        Also write the curves for other programs, into the job's artifacts: ``csv``, a table, or
        ``tensorboard``, which needs the package of this name.
    name
        Name of the trained model. Default: built from network and dataset.
    """

    dataset: Path
    network: str = "unet"
    role: Literal["teacher", "student"] | None = None
    dims: Dims = 3
    width: Annotated[int, Field(ge=4, le=512)] | None = None
    fold: Annotated[int, Field(ge=0)] = 0
    sources: tuple[str, ...] = ()
    labelled: Annotated[int, Field(ge=1)] | None = None
    steps: Annotated[int, Field(ge=1, le=10_000_000)] = 1000
    batch_size: Annotated[int, Field(ge=1, le=4096)] = 2
    patch_size: tuple[int, ...] = ()
    mirror: tuple[Literal["z", "y", "x"], ...] | None = None
    augmentation: Augmentation = "default"
    scanner_augmentation: ScannerAugmentation = "none"
    learning_rate: Annotated[float, Field(gt=0, le=10)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0, le=10)] = 1e-4
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    validate_every: Annotated[int, Field(ge=1)] = 100
    checkpoint_minutes: Annotated[float, Field(gt=0, le=1440)] = 5.0
    seed: Annotated[int, Field(ge=0)] = 0
    device: Device = "auto"
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = "auto"
    threads: Annotated[int, Field(ge=0, le=1024)] = 0
    preprocessing: Preprocessing | None = None
    init: Path | None = None
    class_weights: Literal["equal", "balanced"] = "equal"
    patience: Annotated[int, Field(ge=0)] = 0
    self_training: SelfTraining = "none"
    curves: Literal["none", "csv", "tensorboard"] = "none"
    name: str = ""

    _positive_sides = field_validator("patch_size")(positive_sides)

    @model_validator(mode="after")
    def _patch_matches_dims(self) -> Self:
        if self.patch_size and len(self.patch_size) != self.dims:
            raise ValueError(
                f"patch_size has {len(self.patch_size)} numbers but dims is {self.dims}; "
                "write one number per axis"
            )
        return self


class DistillationConfig(TrainingConfig):
    """A distillation run: a frozen teacher, a student, labelled and unlabelled cases.

    Parameters
    ----------
    teacher
        Folder of the saved teacher model.
    method
        Distillation method and its options.
    unlabelled
        Use unlabelled cases, as half of every batch.
    test_images
        Also use the images of ``imagesTs`` that have no mask as unlabelled cases.
    teacher_min_dice
        Smallest mean Dice of the teacher on the validation cases with which it may teach; 0 turns
        the check off. A teacher below it segments other structures, or its model card states
        another orientation or scaling than it was trained with.
    warmup
        Linear warm-up of all distillation weights, in steps. Slow-starting students such as
        ERFNet may not learn at all without it.
    cutmix
        Share of unlabelled patches in which a random box is replaced by that of another patch of
        the batch (CutMix). Teacher and student both see the mixed patch.
    answers
        What the student learns from the teacher in unlabelled patches: class probabilities
        (``soft``), or the most probable class of each voxel, in the loss of the labelled patches
        (``hard``, pseudo-labels). With ``hard``, terms of the method that compare feature maps
        still use them.
    confidence
        Unlabelled voxels in which the teacher's most probable class is less probable than this
        are left out, with soft and hard answers; feature maps are compared everywhere. 0 uses all.
    labels_only
        Share of the steps, at the end, that use only labelled patches and their masks, without
        the teacher.
    also_alone
        Then also train the same student without its teacher, with the same seed, batches and
        steps: the control with which a comparison can say what distillation contributed.
    """

    teacher: Path
    network: str = "enet"
    role: Literal["teacher", "student"] = "student"
    self_training: Literal["none"] = "none"
    method: MethodOptions = GraphFlowOptions()
    unlabelled: bool = True
    test_images: bool = False
    teacher_min_dice: Annotated[float, Field(ge=0, le=1)] = MIN_TEACHER_DICE
    warmup: Annotated[int, Field(ge=0)] = 0
    cutmix: Annotated[float, Field(ge=0, le=1)] = 0.0
    answers: Literal["soft", "hard"] = "soft"
    confidence: Annotated[float, Field(ge=0, lt=1)] = 0.0
    labels_only: Annotated[float, Field(ge=0, lt=1)] = 0.0
    also_alone: bool = False

    @model_validator(mode="after")
    def _graph_patch_matches_dims(self) -> Self:
        sides = len(self.method.patch) if isinstance(self.method, GraphFlowOptions) else 1
        if sides not in (1, self.dims):
            raise ValueError(
                f"the Graph Flow patch has {sides} numbers but dims is {self.dims}; write one "
                "number or one per axis"
            )
        return self

    @property
    def for_unlabelled(self) -> list[str]:
        """The settings of unlabelled patches that differ from their defaults."""
        names = ("cutmix", "answers", "confidence")
        defaults = {name: type(self).model_fields[name].default for name in names}
        return [name for name, default in defaults.items() if getattr(self, name) != default]

    @model_validator(mode="after")
    def _unlabelled_patches_are_used(self) -> Self:
        chosen = self.for_unlabelled
        if chosen and not self.unlabelled:
            raise ValueError(
                f"{chosen[0]} is a setting of unlabelled patches, but unlabelled cases are not "
                f"used; use them, or leave {chosen[0]} at its default"
            )
        official = isinstance(self.method, EMKDOptions) and self.method.preset == "official"
        if official and {"answers", "confidence"} & set(chosen):
            raise ValueError(
                "the official preset of EMKD distils every voxel; choose the preset robust for "
                "hard answers or a confidence"
            )
        if self.class_weights != "equal" and isinstance(self.method, EMKDOptions) and official:
            raise ValueError(
                "the official preset of EMKD has its own loss of the labelled patches; choose the "
                "preset robust for class_weights"
            )
        return self


#: Steps and validation interval of the three effort presets of the *Distil* dock.
PRESETS: dict[Effort, dict[str, int]] = {
    "quick": {"steps": 300, "validate_every": 100},
    "overnight": {"steps": 10_000, "validate_every": 500},
    "best": {"steps": 50_000, "validate_every": 1000},
}
