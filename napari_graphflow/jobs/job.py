"""One job, seen from outside: read it, start it, leave wishes for it."""

import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

import psutil
from pydantic import ValidationError

from napari_graphflow.config import DistillationConfig, TrainingConfig, first_problem
from napari_graphflow.errors import UserError
from napari_graphflow.failures import explain, explain_exit, in_words
from napari_graphflow.jobs.records import (
    SILENT_ELSEWHERE,
    TAKE_OFF,
    State,
    Status,
    event_line,
    open_events,
    read_events,
)
from napari_graphflow.system import (
    end_process_tree,
    process_start,
    replace_file,
    start_detached,
    try_lock,
)

Kind = Literal["train", "distill"]
_CONFIGS: dict[Kind, type[TrainingConfig]] = {
    "train": TrainingConfig,
    "distill": DistillationConfig,
}
#: Seconds to wait for the right to write.
PATIENCE = 2.0
#: By folder, the start and the process of the jobs that this process started: only we learn how
#: they ended.
_children: dict[Path, tuple[float, "subprocess.Popen[bytes]"]] = {}


class Job:
    """One job, seen from outside.

    Parameters
    ----------
    folder
        Folder of the job.

    Raises
    ------
    UserError
        If the folder is no job.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder).absolute()
        try:
            self.spec: dict[str, Any] = json.loads((self.folder / "job.json").read_text("utf-8"))
            self.kind: Kind = self.spec["kind"]
            self.created = datetime.fromisoformat(self.spec["created"]).astimezone(UTC)
            _CONFIGS[self.kind]
        except (OSError, ValueError, KeyError, TypeError):
            raise UserError(
                f"{folder} is not a job: it has no readable job.json.",
                "List the jobs to find the right folder.",
            ) from None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Job) and self.folder == other.folder

    def __hash__(self) -> int:
        return hash(self.folder)

    def __repr__(self) -> str:
        return f"Job({str(self.folder)!r})"

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def events_file(self) -> Path:
        return self.folder / "events.jsonl"

    @property
    def status_file(self) -> Path:
        return self.folder / "status.json"

    @property
    def control(self) -> Path:
        return self.folder / "control"

    @property
    def log(self) -> Path:
        return self.folder / "log.txt"

    @property
    def artifacts(self) -> Path:
        return self.folder / "artifacts"

    @cached_property
    def config(self) -> TrainingConfig:
        """What was asked for: a `TrainingConfig`, for a distillation a `DistillationConfig`."""
        try:
            return _CONFIGS[self.kind].model_validate(self.spec["config"])
        except (ValidationError, KeyError) as error:
            raise UserError(
                f"The settings of the job {self.name} cannot be read: {first_problem(error)}.",
                "It was made by another version; start a new job.",
            ) from None

    @property
    def title(self) -> str:
        return str(self.spec.get("title") or self.name)

    def status(self) -> Status:
        """The state of the job now; ``lost`` if its process is gone without having said so."""
        status = self._saved()
        if not status.active or self._lives(status):
            return status.with_silence()
        status = self._saved()  # it may have said its last word between the two looks
        return self._gone(status) if status.active else status

    def events(self, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
        """Read the events written since the last look.

        Parameters
        ----------
        offset
            Byte offset that the last call returned; 0 at first.

        Returns
        -------
        events, offset
            About a thousand events at most: call again while the offset grows. A last line that
            is still being written is left for the next call, a broken one is passed over.
        """
        return read_events(self.events_file, offset)

    def follow(self, poll: float = 0.2) -> Iterator[dict[str, Any]]:
        """Yield all events, the past ones first, until the job is no longer active."""
        offset = 0
        while True:
            active = self.status().active
            events, offset = self.events(offset)
            yield from events
            if not events:
                if not active:
                    return
                time.sleep(poll)

    def wait(self, timeout: float | None = None) -> Status:
        """Block until the job is no longer active, or for `timeout` seconds."""
        end = None if timeout is None else time.monotonic() + timeout
        while (status := self.status()).active and (end is None or time.monotonic() < end):
            time.sleep(0.05)
        return status

    def start(self, command: Sequence[str] | None = None) -> Self:
        """Start the job, or resume it from its last checkpoint, as a process that outlives ours.

        Parameters
        ----------
        command
            Another way to run the folder, such as a launcher for several GPUs.

        Raises
        ------
        UserError
            If the job is active or done.
        """
        launched = time.time()
        self._require(self.status(), "queued", "started")  # at once, before waiting for the lock
        with self.writing():
            status = self.status()
            self._require(status, "queued", "started")
            self.forget_wishes()
            kept = status.model_dump(include={"step", "total", "best"})
            self.write_state(Status(state="queued", launched=launched, **kept))
        # The lock is free again: the process that we start now takes it.
        if command is None:
            command = [sys.executable, "-m", "napari_graphflow", "jobs", "run", str(self.folder)]
        try:
            child = start_detached(command, self.folder, self.log)
        except OSError as error:
            why = explain(error, self.log)
            self._settle("failed", **asdict(why))
            raise UserError(why.text, why.hint) from None
        # Reaped as soon as it ends, whether or not anybody looks at the job.
        threading.Thread(target=child.wait, name=f"job {child.pid}", daemon=True).start()
        _children[self.folder] = launched, child
        return self

    def resume(self, command: Sequence[str] | None = None) -> Self:
        """Go on from the last checkpoint; see `start`."""
        return self.start(command)

    def pause(self) -> None:
        """Ask the job to write a checkpoint and to end; it is paused once that is done."""
        self._require(self.status(), "paused", "paused")
        self._wish("pause")

    def checkpoint(self) -> None:
        """Ask the running job to write a checkpoint now and to go on."""
        status = self.status()
        if status.state != "running":
            raise UserError(
                f"The job {self.title} is {status.state} and writes no checkpoint.",
                "Wait until it is running.",
            )
        self._wish("checkpoint_now")

    def cancel(self, timeout: float = 10.0) -> Status:
        """End the job and wait: ask, after `timeout` seconds terminate, after twice that kill."""
        for _ in self.begin_cancel(timeout):
            time.sleep(0.05)
        return self.status()

    def begin_cancel(self, timeout: float = 10.0) -> Iterator[Status]:
        """Ask the job to end and return at once.

        Returns
        -------
        steps
            To be advanced from time to time (``next(steps, None)``) until exhausted: each step
            looks at the job and terminates or kills its processes when `timeout` seconds, or
            twice as many, have passed.
        """
        self._require(self.status(), "cancelled", "cancelled")
        self._wish("cancel")
        return self._press(timeout)

    def delete(self) -> None:
        """Remove the folder with all that is in it, the finished model included."""
        if self.status().active:
            raise UserError(f"The job {self.title} is still active.", "Cancel it first.")
        with self.writing():
            pass  # nobody is about to start it; Windows moves no folder with an open file in it
        with in_words():
            aside = self.folder.with_name(f".deleted-{self.name}")
            self.folder.rename(aside)
            shutil.rmtree(aside)
        _children.pop(self.folder, None)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the right to write into the folder; `UserError` if another process has it.

        Waits a little, because a process lets go only after its last word.
        """
        with in_words(), (self.folder / "lock").open("ab") as file:
            end = time.monotonic() + PATIENCE
            while not try_lock(file):
                if time.monotonic() < end:
                    time.sleep(0.02)
                    continue
                raise UserError(
                    f"The job {self.title} is being run by another process.",
                    "Wait for it, or cancel it.",
                )
            yield

    def write_status(self, status: Status) -> None:
        """Replace ``status.json``; only within `writing`."""
        replace_file(self.status_file, status.model_dump_json(indent=1).encode())

    def write_state(self, status: Status) -> None:
        """Append the state to the events and replace ``status.json``; only within `writing`."""
        # In this order: whoever sees in the status that a job has ended finds all its events.
        try:
            with open_events(self.events_file) as file:
                file.write(event_line({"event": "state", "state": status.state}))
        finally:
            self.write_status(status)

    def wishes(self) -> set[str]:
        """What the files in ``control`` ask for."""
        try:
            return {path.name for path in self.control.iterdir()}
        except FileNotFoundError:
            return set()

    def forget_wishes(self) -> None:
        for wish in self.wishes():
            (self.control / wish).unlink(missing_ok=True)

    def _wish(self, what: str) -> None:
        with in_words():
            self.control.mkdir(exist_ok=True)
            (self.control / what).touch()

    def _settle(self, state: State, **words: Any) -> None:
        """Write the last state of a job that has no process to do so."""
        with self.writing():
            update = {"state": state, "eta_s": None, **words}
            self.write_state(self._saved().model_copy(update=update))
            self.forget_wishes()

    def _press(self, timeout: float) -> Iterator[Status]:
        started, pressed = time.monotonic(), 0
        while (status := self.status()).active:
            if time.monotonic() - started >= timeout * (pressed + 1) and pressed < 2:
                pressed += 1
                pid = self._pid(status)
                if pid is not None:
                    end_process_tree(pid, kill=pressed == 2)
            yield status
        if self._saved().may_become("cancelled"):
            self._settle("cancelled")

    def _require(self, status: Status, state: State, done: str) -> None:
        if not status.may_become(state):
            raise UserError(
                f"The job {self.title} is {status.state} and cannot be {done}.",
                "Start a new job." if status.state == "done" else "Wait until its state changes.",
            )

    def _saved(self) -> Status:
        for _ in range(20):
            try:
                return Status.model_validate_json(self.status_file.read_bytes())
            except FileNotFoundError:
                return Status()
            except PermissionError:  # Windows, while the file is being replaced
                time.sleep(0.01)
            except ValidationError:
                break
        return Status(state="lost", text=f"{self.status_file} cannot be read.")

    def _child(self, status: Status) -> "subprocess.Popen[bytes] | None":
        launched, child = _children.get(self.folder, (None, None))
        return child if launched == status.launched else None

    def _pid(self, status: Status) -> int | None:
        """The number of the job's process, if there is one on this computer."""
        child = self._child(status)
        if child is not None:
            return child.pid if child.poll() is None else None
        here = status.host == socket.gethostname() and bool(status.process_started)
        return status.pid if here and process_start(status.pid) == status.process_started else None

    def _lives(self, status: Status) -> bool:
        if self._pid(status) is not None:
            return True
        if self._child(status) is not None:
            return False
        if status.state == "queued":
            return time.time() - (status.launched or 0) < TAKE_OFF
        elsewhere = status.host != socket.gethostname()
        return elsewhere and time.time() - (status.heartbeat or 0) < SILENT_ELSEWHERE

    def _gone(self, status: Status) -> Status:
        if "cancel" in self.wishes():
            return status.model_copy(update={"state": "cancelled", "eta_s": None})
        child = self._child(status)
        why = asdict(explain_exit(child.returncode if child else None, self.log))
        if child is None and status.heartbeat and psutil.boot_time() > status.heartbeat:
            why["text"] = "The computer was restarted while the job was running."
        return status.model_copy(update={"state": "lost", "eta_s": None, **why})
