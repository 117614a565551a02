"""Events of a run: one frozen class per kind.

The field ``event`` names the kind, in Python as in the lines of ``events.jsonl``.
"""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from napari_graphflow.system.failures import Failure

#: A number of steps, as large as a progress bar can show.
Count = Annotated[int, Field(ge=0, lt=2**31)]


class _Event(BaseModel):
    """Base class of all events.

    Attributes
    ----------
    t
        Unix time in seconds at which the event was written; None before.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    t: float | None = None


PhaseKind = Literal[
    "starting",
    "checking",
    "reading",
    "preparing",
    "training",
    "converting",
    "proposing",
    "scoring",
]


class Phase(_Event):
    """Start of a new phase of the run.

    Attributes
    ----------
    kind
        Which part of a run it is, for programs; ``preparing`` is that of the method.
    name
        Description of the phase for the user.
    steps
        Number of optimiser steps, if set by an option.
    """

    event: Literal["phase"] = "phase"
    kind: PhaseKind
    name: str
    steps: int | None = None


class Progress(_Event):
    """Progress within the phase; `eta_s` is the estimated remaining time in seconds."""

    event: Literal["progress"] = "progress"
    step: Count
    total: Count
    eta_s: float | None = None


class Metric(_Event):
    """One point of a curve; infinite and NaN values are read back as None."""

    event: Literal["metric"] = "metric"
    name: Annotated[str, Field(min_length=1)]
    value: float | None
    step: Count
    split: Literal["train", "val"] = "train"


class Preview(_Event):
    """A new preview image of a validation case; `path` is relative to the job's folder."""

    event: Literal["preview"] = "preview"
    path: str
    case: str
    step: int


Cosine = Annotated[float, Field(ge=-1, le=1)]
#: Most nodes of a graph that is drawn.
MOST_NODES = 16


class CodeGraph(BaseModel):
    """How similar a network finds images: cosines of their codes, averaged over patches.

    Attributes
    ----------
    star
        (K,), between a patch and each of its K changed copies; empty if not compared.
    complete
        (N, N), between N nodes; empty if not compared.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    star: tuple[Cosine, ...] = ()
    complete: tuple[tuple[Cosine, ...], ...] = ()


class CodeGraphs(_Event):
    """The two graphs of generalisable distillation, in both networks.

    Attributes
    ----------
    views, nodes
        Names of the copies of a patch, and of the nodes of the complete graph.
    """

    event: Literal["graphs"] = "graphs"
    step: Count
    views: Annotated[tuple[str, ...], Field(max_length=MOST_NODES)]
    nodes: Annotated[tuple[str, ...], Field(max_length=MOST_NODES)]
    teacher: CodeGraph
    student: CodeGraph

    @model_validator(mode="after")
    def _shapes(self) -> Self:
        for graph in (self.teacher, self.student):
            lengths = {len(row) for row in graph.complete}
            square = lengths <= {len(self.nodes)} and len(graph.complete) == len(self.nodes)
            if len(graph.star) != len(self.views) or not square:
                raise ValueError("edges and nodes differ in number")
        return self


class CheckpointSaved(_Event):
    """A checkpoint was saved; `path` is relative to the job's folder."""

    event: Literal["checkpoint"] = "checkpoint"
    path: str
    step: int


class PeakMemory(_Event):
    """Peak memory of the run so far."""

    event: Literal["memory"] = "memory"
    peak_bytes: int


class TeacherScored(_Event):
    """How well the teacher segments labelled cases of the dataset, before it teaches.

    Attributes
    ----------
    dice
        Mean Dice of each foreground class over the cases; None if no case has the class.
    mean
        Mean over the classes; None if there is none.
    present
        Number of scored cases in whose reference each class is.
    cases, available
        Number of scored cases, and of labelled ones of their split.
    split
        Split of the cases: ``val``, or ``train`` if none of that has a mask.
    cause
        The likely cause of a poor score, as a sentence; empty if none is known.
    """

    event: Literal["teacher"] = "teacher"
    dice: dict[str, float | None]
    mean: float | None
    cases: int
    available: int
    split: Literal["train", "val"] = "val"
    present: dict[str, int] = Field(default_factory=dict)
    cause: str = ""

    def __str__(self) -> str:
        what = {"train": "training", "val": "validation"}[self.split]
        count = f"{self.cases} of {self.available}" if self.cases < self.available else self.cases
        where = f"on {count} {what} case{'s' * (self.available > 1)}"
        if self.mean is None:
            return f"Teacher: no structure is present {where}."
        parts = (
            f"{name} {'-' if value is None else f'{value:.2f}'}"
            for name, value in self.dice.items()
        )
        return f"Teacher: mean Dice {self.mean:.2f} {where} ({', '.join(parts)})."


class SettingChosen(_Event):
    """The batch size and the patch size in voxels used from here on."""

    event: Literal["setting"] = "setting"
    batch_size: int
    patch_size: tuple[int, ...]


class Warned(_Event):
    """A warning; the run continues. `code` identifies it for programs."""

    event: Literal["warning"] = "warning"
    text: str
    code: str = ""


class Failed(_Event):
    """The run ends with an error."""

    event: Literal["error"] = "error"
    failure: Failure


class StateChanged(_Event):
    """The state of the job changed; see `napari_graphflow.jobs.status.State`."""

    event: Literal["state"] = "state"
    state: str


class ModelSaved(_Event):
    """The trained model was saved; `path` is relative to the job's folder."""

    event: Literal["model"] = "model"
    path: str
    name: str


class CaseDone(_Event):
    """A case of a job over cases is done; `problem` says why it could not be, in a sentence."""

    event: Literal["case"] = "case"
    case: str
    problem: str = ""


class Alive(_Event):
    """A point at which the run can be paused; not written to the log."""

    event: Literal["alive"] = "alive"


Event = Annotated[
    Phase
    | Progress
    | Metric
    | Preview
    | CodeGraphs
    | CheckpointSaved
    | PeakMemory
    | SettingChosen
    | TeacherScored
    | Warned
    | Failed
    | StateChanged
    | ModelSaved
    | CaseDone
    | Alive,
    Field(discriminator="event"),
]
