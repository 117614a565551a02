"""The states of a job, and the content of ``status.json``."""

import math
import os
import socket
import time
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from napari_graphflow.system.events import (
    CaseDone,
    Count,
    Event,
    Metric,
    ModelSaved,
    PeakMemory,
    Phase,
    Progress,
    TeacherScored,
)
from napari_graphflow.system.failures import EXIT_CODES, Failure
from napari_graphflow.system.processes import process_start

State = Literal["created", "queued", "running", "paused", "done", "failed", "cancelled", "lost"]

#: Allowed transitions; `Job.write_state` refuses all others. ``lost`` is never written by the job:
#: its parent writes it, or readers infer it.
TRANSITIONS: dict[State, frozenset[State]] = {
    "created": frozenset({"queued", "running", "failed", "cancelled"}),
    "queued": frozenset({"running", "failed", "cancelled", "lost"}),
    "running": frozenset({"paused", "done", "failed", "cancelled", "lost"}),
    "paused": frozenset({"queued", "running", "cancelled"}),
    "failed": frozenset({"queued", "running"}),
    "cancelled": frozenset({"queued", "running"}),
    "lost": frozenset({"queued", "running", "cancelled"}),
    "done": frozenset(),
}
ACTIVE: frozenset[State] = frozenset({"queued", "running"})

#: Seconds between heartbeats, and without one until the user is notified.
HEARTBEAT = 2.0
SILENT = 30.0
#: Seconds without a heartbeat after which a job on another computer counts as lost.
REMOTE_TIMEOUT = 180.0
#: Seconds that a process may take from its launch to its first status.
START_TIMEOUT = 120.0


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False, defer_build=True)


class RunReport(_Part):
    """Progress and results reported by the run.

    Attributes
    ----------
    phase
        Current phase.
    step, total, eta_s
        Progress within the phase, and estimated remaining seconds.
    best
        Best mean Dice on the validation cases so far.
    peak_bytes
        Peak memory, once reported.
    model
        Folder of the trained model, relative to the job's folder.
    failed_cases
        Number of cases that the run could not do.
    teacher
        Scores of the teacher on the dataset, once it was checked.
    """

    phase: str = ""
    step: Count = 0
    total: Count = 0
    eta_s: float | None = None
    best: float | None = None
    peak_bytes: int | None = None
    model: str = ""
    failed_cases: Count = 0
    teacher: TeacherScored | None = None

    def after(self, event: Event) -> Self:
        """Return the report updated by an event; the same object if nothing changes."""
        update: dict[str, Any]
        match event:
            case Phase(kind="converting"):
                update = {"phase": event.name, "eta_s": None}
            case Phase():
                update = {"phase": event.name, "step": 0, "total": 0, "eta_s": None}
            case Progress():
                update = event.model_dump(include={"step", "total", "eta_s"})
            case Metric(name="dice", split="val", value=float(value)) if math.isfinite(value):
                update = {"best": max(value, self.best or 0.0)}
            case PeakMemory():
                update = {"peak_bytes": event.peak_bytes}
            case ModelSaved():
                update = {"model": event.path}
            case CaseDone(problem=str(problem)) if problem:
                update = {"failed_cases": self.failed_cases + 1}
            case TeacherScored():
                update = {"teacher": event}
            case _:
                return self
        return self.model_copy(update=update)

    def before_restart(self) -> Self:
        """Return what remains valid when the job is started again."""
        return type(self)(step=self.step, total=self.total, best=self.best, teacher=self.teacher)


class Process(_Part):
    """The process of a job.

    Attributes
    ----------
    host
        Computer on which it runs or is queued.
    pid, started
        Process id, and start of the process, which identifies it if the id is reused.
    launched, heartbeat
        Unix time in seconds. A queued job without `launched` waits for its device.
    rank
        Order of waiting jobs, smallest first.
    device
        Device assigned by the queue.
    runner
        Engine that starts it, if not this computer.
    log_from
        Size of the log in bytes when the process was launched.
    """

    host: str = Field(default_factory=socket.gethostname)
    pid: Count | None = None
    started: str = ""
    launched: float | None = None
    heartbeat: float | None = None
    rank: float = 0.0
    device: str = ""
    runner: str = ""
    log_from: int = 0

    def begun(self) -> Self:
        """Return the entry of the calling process, which now runs the job."""
        pid = os.getpid()
        update = {
            "host": socket.gethostname(),
            "pid": pid,
            "started": process_start(pid),
            "heartbeat": time.time(),
        }
        return self.model_copy(update=update)


class Status(_Part):
    """The content of ``status.json``.

    Attributes
    ----------
    state
        One of the keys of `TRANSITIONS`.
    failure
        Why the run ended, unless it was finished, cancelled or paused by request.
    notice
        A message about a running job; usually empty.
    run
        Report of the run.
    process
        Its process.
    """

    state: State = "created"
    failure: Failure | None = None
    notice: str = ""
    run: RunReport = RunReport()
    process: Process = Field(default_factory=Process)

    def queued(self, process: Process) -> Self:
        """Return the status of the job when it is queued to start or resume."""
        return type(self)(state="queued", run=self.run.before_restart(), process=process)

    def running(self) -> Self:
        """Return the status of the job when run by the calling process."""
        run, process = self.run.before_restart(), self.process.begun()
        return type(self)(state="running", run=run, process=process)

    def closed(self, state: State, failure: Failure | None = None) -> Self:
        """Return the final status of a process."""
        run = self.run.model_copy(update={"eta_s": None})
        update = {"state": state, "run": run, "failure": failure, "notice": ""}
        return self.model_copy(update=update)

    def with_process(self, **changes: Any) -> Self:
        """Return a copy with changed fields of its process."""
        return self.model_copy(update={"process": self.process.model_copy(update=changes)})

    @property
    def exit_code(self) -> int:
        """Exit code of a command that runs the job or waits for it; 0 without a failure."""
        if self.state == "cancelled":
            return EXIT_CODES["cancelled"]
        if self.state in ("failed", "lost"):
            return self.failure.exit_code if self.failure else EXIT_CODES["unexpected"]
        return 0

    @property
    def waiting(self) -> bool:
        """Whether the job is queued and was not launched."""
        return self.state == "queued" and self.process.launched is None

    @property
    def active(self) -> bool:
        """Whether the job is queued or running."""
        return self.state in ACTIVE

    @property
    def here(self) -> bool:
        """Whether the job belongs to this computer; others may share the folder of jobs."""
        return self.process.host == socket.gethostname()

    @property
    def ended(self) -> bool:
        """Whether the job was started and no longer runs; includes paused jobs."""
        return not self.active and self.state != "created"

    @property
    def resumable(self) -> bool:
        """Whether the job ended unfinished and can be resumed."""
        return self.ended and self.may_become("queued")

    def with_silence(self) -> Self:
        """Return a copy with a notice if a running job has sent no heartbeat for long."""
        silent = time.time() - (self.process.heartbeat or time.time())
        if self.state != "running" or silent < SILENT:
            return self
        notice = (
            f"The job has not responded for {silent:.0f} s. "
            "It may be suspended, or waiting for a drive."
        )
        return self.model_copy(update={"notice": notice})

    def may_become(self, state: State) -> bool:
        return state in TRANSITIONS[self.state]

    def as_dict(self) -> dict[str, Any]:
        return self.model_dump(mode="json")
