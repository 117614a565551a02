"""What a run reports while it works: one frozen class per kind of event.

The field ``event`` names the kind, in Python as in the lines of ``events.jsonl``.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from napari_graphflow.system.failures import Failure


class _Event(BaseModel):
    """What all events share.

    Attributes
    ----------
    t
        Unix seconds at which the event was written; None before.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    t: float | None = None


class Phase(_Event):
    """A new part of the run begins.

    Attributes
    ----------
    name
        The part, in words for the user.
    steps
        How many optimiser steps it takes, where an option decides that.
    """

    event: Literal["phase"] = "phase"
    name: str
    steps: int | None = None


class Progress(_Event):
    """The position within the phase; `eta_s` are estimated seconds to its end."""

    event: Literal["progress"] = "progress"
    step: int
    total: int
    eta_s: float | None = None


class Metric(_Event):
    """One point of a curve; a value that is infinite or not a number is read back as None."""

    event: Literal["metric"] = "metric"
    name: str
    value: float | None
    step: int
    split: Literal["train", "val"] = "train"


class Preview(_Event):
    """A new drawing of a validation case; `path` is relative to the job's folder."""

    event: Literal["preview"] = "preview"
    path: str
    case: str
    step: int


class CheckpointSaved(_Event):
    """A checkpoint is on the disk; `path` is relative to the job's folder."""

    event: Literal["checkpoint"] = "checkpoint"
    path: str
    step: int


class PeakMemory(_Event):
    """The largest memory use of the run so far."""

    event: Literal["memory"] = "memory"
    peak_bytes: int


class SettingChosen(_Event):
    """The batch and patch size, in voxels, that the run goes on with."""

    event: Literal["setting"] = "setting"
    batch_size: int
    patch_size: tuple[int, ...]


class Warned(_Event):
    """Something the user should know; the run goes on. `code` is a word for programs."""

    event: Literal["warning"] = "warning"
    text: str
    code: str = ""


class Failed(_Event):
    """The run ends with an error."""

    event: Literal["error"] = "error"
    failure: Failure


class StateChanged(_Event):
    """The job is in another state; see `napari_graphflow.jobs.status.State`."""

    event: Literal["state"] = "state"
    state: str


class ModelSaved(_Event):
    """The finished model; `path` is relative to the job's folder."""

    event: Literal["model"] = "model"
    path: str
    name: str


class Alive(_Event):
    """Nothing to report: a place at which the run may be paused. Never written down."""

    event: Literal["alive"] = "alive"


Event = Annotated[
    Phase
    | Progress
    | Metric
    | Preview
    | CheckpointSaved
    | PeakMemory
    | SettingChosen
    | Warned
    | Failed
    | StateChanged
    | ModelSaved
    | Alive,
    Field(discriminator="event"),
]
