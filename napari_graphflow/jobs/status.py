"""What is written in a job's folder: states, the status, events."""

import socket
import time
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict

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


class Status(BaseModel):
    """The content of ``status.json``.

    Attributes
    ----------
    state
        One of the keys of `TRANSITIONS`.
    text, hint, code, exit_code
        After a failure its cause, its remedy, a word and a number for programs.
    phase, phase_index, phase_count
        What the job is at, which of how many; 0 if that is not known.
    step, total, eta_s
        Position within the phase, and estimated seconds to its end.
    best
        Best mean Dice on the validation cases so far.
    peak_bytes
        Largest memory use, once reported.
    model
        Folder of the finished model, relative to the job's folder.
    host
        The computer on which it runs or, while it is queued, whose queue it is in.
    pid, process_started
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

    model_config = ConfigDict(frozen=True, extra="ignore")

    state: State = "created"
    text: str = ""
    hint: str = ""
    code: str = ""
    exit_code: int = 0
    phase: str = ""
    phase_index: int = 0
    phase_count: int = 0
    step: int = 0
    total: int = 0
    eta_s: float | None = None
    best: float | None = None
    peak_bytes: int | None = None
    model: str = ""
    host: str = ""
    pid: int | None = None
    process_started: str = ""
    launched: float | None = None
    heartbeat: float | None = None
    rank: float = 0.0
    device: str = ""
    runner: str = ""
    log_from: int = 0

    @property
    def waiting(self) -> bool:
        """Whether it is queued and has no process yet."""
        return self.state == "queued" and self.launched is None

    @property
    def active(self) -> bool:
        """Whether the job is running or about to."""
        return self.state in ACTIVE

    @property
    def here(self) -> bool:
        """Whether it is this computer's: others may see the same folder of jobs."""
        return self.host in ("", socket.gethostname())

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
        silent = time.time() - (self.heartbeat or time.time())
        if self.state != "running" or silent < SILENT:
            return self
        text = f"The job has given no sign of life for {silent:.0f} s."
        hint = "It may be suspended, or wait for a drive."
        return self.model_copy(update={"text": text, "hint": hint})

    def may_become(self, state: State) -> bool:
        return state in TRANSITIONS[self.state]

    def as_dict(self) -> dict[str, Any]:
        return self.model_dump(mode="json")
