"""What is written in a job's folder: states, the status, events."""

import json
import math
import os
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Literal, Self

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
#: Bytes of events that are read at once: a few milliseconds, whatever the length of the history.
CHUNK = 1 << 17


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
        """Whether it ended before it was done, so that `Job.resume` goes on with it."""
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


def event_line(record: Mapping[str, Any]) -> bytes:
    """One line of ``events.jsonl``, with the time; numbers that JSON does not know become null."""
    known = {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in record.items()
    }
    return json.dumps({"t": round(time.time(), 3), **known}, default=_plain).encode() + b"\n"


def open_events(path: Path) -> IO[bytes]:
    """Open events for appending; a line that a killed process left torn is closed first."""
    file = path.open("a+b", buffering=0)
    if file.seek(0, os.SEEK_END):
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            file.write(b"\n")
    return file


def read_events(path: Path, offset: int) -> tuple[list[dict[str, Any]], int]:
    """Read at most about `CHUNK` bytes of whole lines; see :meth:`Job.events`."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read(CHUNK)
            if b"\n" not in data and len(data) == CHUNK:
                data += file.readline()
    except OSError:  # nothing was told yet, or the drive went away
        return [], offset
    end = data.rfind(b"\n") + 1
    return list(_parse(data[:end])), offset + end


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else str(value)


def _parse(data: bytes) -> Iterator[dict[str, Any]]:
    for line in data.splitlines():
        try:
            event = json.loads(line)
        except ValueError:  # torn by a process that was killed
            continue
        if isinstance(event, dict) and "event" in event:
            yield event
