"""The states of a job, and what ``status.json`` says of its run and of its process."""

import math
import os
import socket
import time
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from napari_graphflow.system.events import Event, Metric, ModelSaved, PeakMemory, Phase, Progress
from napari_graphflow.system.failures import EXIT_CODES, Failure
from napari_graphflow.system.processes import process_start

State = Literal["created", "queued", "running", "paused", "done", "failed", "cancelled", "lost"]


#: From each state the states that may follow; `Job.write_state` refuses any other step. ``lost`` is
#: never written by the job: its parent writes it, and without one readers see it.
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


#: Seconds between two heartbeats, and after how many of them without one we say so.
HEARTBEAT = 2.0


SILENT = 30.0


#: Seconds without a heartbeat after which a job on another computer counts as lost.
SILENT_ELSEWHERE = 180.0


#: Seconds that a process may take from its start to its first word.
TAKE_OFF = 120.0


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class RunReport(_Part):
    """What the run says of itself.

    Attributes
    ----------
    phase
        What it is at.
    step, total, eta_s
        Position within the phase, and estimated seconds to its end.
    best
        Best mean Dice on the validation cases so far.
    peak_bytes
        Largest memory use, once reported.
    model
        Folder of the finished model, relative to the job's folder.
    """

    phase: str = ""
    step: int = 0
    total: int = 0
    eta_s: float | None = None
    best: float | None = None
    peak_bytes: int | None = None
    model: str = ""

    def after(self, event: Event) -> Self:
        """The report after one more event of the run; the same object if it says nothing new."""
        update: dict[str, Any]
        match event:
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
            case _:
                return self
        return self.model_copy(update=update)

    def before_restart(self) -> Self:
        """What still holds when the job is started once more."""
        return type(self)(step=self.step, total=self.total, best=self.best)


class Process(_Part):
    """What is known of the process that runs a job, or is to run it.

    Attributes
    ----------
    host
        The computer on which it runs or, while the job is queued, whose queue it is in.
    pid, started
        The process, told from a later one with the same number by its start.
    launched, heartbeat
        Unix seconds. A queued job that was not launched yet waits for its device.
    rank
        Orders the jobs that wait, the smallest first.
    device
        The device that the queue has given it.
    runner
        The engine that starts it, where that is not this computer.
    log_from
        Bytes of the log that earlier processes of the job have left.
    """

    host: str = Field(default_factory=socket.gethostname)
    pid: int | None = None
    started: str = ""
    launched: float | None = None
    heartbeat: float | None = None
    rank: float = 0.0
    device: str = ""
    runner: str = ""
    log_from: int = 0

    def begun(self) -> Self:
        """The same once it runs: as the process that calls this."""
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
        What ended the run, where it did not end by itself or by request.
    notice
        What there is to know of a job that still runs, in words; often nothing.
    run
        What the run says.
    process
        What is known of its process.
    """

    state: State = "created"
    failure: Failure | None = None
    notice: str = ""
    run: RunReport = RunReport()
    process: Process = Field(default_factory=Process)

    def queued(self, process: Process) -> Self:
        """The status of the job when it is to run, or to go on, in another process."""
        return type(self)(state="queued", run=self.run.before_restart(), process=process)

    def running(self) -> Self:
        """The status of the job once the process that calls this runs it."""
        run, process = self.run.before_restart(), self.process.begun()
        return type(self)(state="running", run=run, process=process)

    def closed(self, state: State, failure: Failure | None = None) -> Self:
        """The last status of a process."""
        run = self.run.model_copy(update={"eta_s": None})
        update = {"state": state, "run": run, "failure": failure, "notice": ""}
        return self.model_copy(update=update)

    def with_process(self, **known: Any) -> Self:
        """The same, with other fields of its process."""
        return self.model_copy(update={"process": self.process.model_copy(update=known)})

    @property
    def exit_code(self) -> int:
        """What a command that runs the job or waits for it returns; 0 if nothing went wrong."""
        if self.state == "cancelled":
            return EXIT_CODES["cancelled"]
        if self.state in ("failed", "lost"):
            return self.failure.exit_code if self.failure else EXIT_CODES["unexpected"]
        return 0

    @property
    def waiting(self) -> bool:
        """Whether it is queued and has no process yet."""
        return self.state == "queued" and self.process.launched is None

    @property
    def active(self) -> bool:
        """Whether the job is running or about to."""
        return self.state in ACTIVE

    @property
    def here(self) -> bool:
        """Whether it is this computer's: others may see the same folder of jobs."""
        return self.process.host == socket.gethostname()

    @property
    def ended(self) -> bool:
        """Whether it ran and no longer does; a paused job has ended, too, until it is resumed."""
        return not self.active and self.state != "created"

    @property
    def resumable(self) -> bool:
        """Whether it ended before it was done, so that `queue.start` resumes it."""
        return self.ended and self.may_become("queued")

    def with_silence(self) -> Self:
        """The same, with a sentence if a running job has given no sign of life for long."""
        silent = time.time() - (self.process.heartbeat or time.time())
        if self.state != "running" or silent < SILENT:
            return self
        notice = (
            f"The job has given no sign of life for {silent:.0f} s. "
            "It may be suspended, or wait for a drive."
        )
        return self.model_copy(update={"notice": notice})

    def may_become(self, state: State) -> bool:
        return state in TRANSITIONS[self.state]

    def as_dict(self) -> dict[str, Any]:
        return self.model_dump(mode="json")
