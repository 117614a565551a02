"""The one definition of a run: command line, form, ``job.json``, entry in the saved model.

Nothing here imports torch, so that the window can show and check a run before it starts one.
"""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from napari_graphflow.config.methods import GraphFlowOptions, MethodOptions
from napari_graphflow.config.preprocessing import Dims, Preprocessing
from napari_graphflow.config.settings import Frozen

#: ``cuda`` is any GPU, ``cuda:1`` the second.
Device = Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")]


Effort = Literal["quick", "overnight", "best"]


class TrainingConfig(Frozen):
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


class DistillationConfig(TrainingConfig):
    """A distillation run: a frozen teacher, a student, labelled and unlabelled cases.

    Parameters
    ----------
    teacher
        Folder of a saved model.
    method
        Distillation method, with its options.
    unlabelled
        Whether unlabelled cases are used, in half of every batch.
    warmup
        Steps over which the weights of all distillation terms grow from 0. Under large weights a
        student that learns slowly at first, as ERFNet does, may never start without.
    """

    teacher: Path
    network: str = "enet"
    method: MethodOptions = GraphFlowOptions()
    unlabelled: bool = True
    warmup: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _graph_patch_matches_dims(self) -> Self:
        sides = len(self.method.patch) if isinstance(self.method, GraphFlowOptions) else 1
        if sides not in (1, self.dims):
            raise ValueError(
                f"the patch of the graph has {sides} numbers but dims is {self.dims}; give one, "
                "or one per axis"
            )
        return self


#: Steps and validation interval of the three presets of the *Distil* window.
PRESETS: dict[Effort, dict[str, int]] = {
    "quick": {"steps": 300, "validate_every": 100},
    "overnight": {"steps": 10_000, "validate_every": 500},
    "best": {"steps": 50_000, "validate_every": 1000},
}
