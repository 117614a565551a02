"""One job, seen from outside: read its state, make requests, end it."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from napari_graphflow.errors import UserError
from napari_graphflow.jobs.event_log import event_line, open_events
from napari_graphflow.jobs.folder import JobFolder
from napari_graphflow.jobs.status import SILENT_ELSEWHERE, TAKE_OFF, Process, State, Status
from napari_graphflow.system.events import Event, StateChanged
from napari_graphflow.system.failures import Failure, explain_exit, in_words
from napari_graphflow.system.processes import end_process_tree, process_start

#: By folder, the start and the process of the jobs that this process started: only we learn how
#: they ended.
_children: dict[Path, tuple[float, "subprocess.Popen[bytes]"]] = {}


class Job(JobFolder):
    """One job, seen from outside."""

    def status(self) -> Status:
        """The state of the job now; ``lost`` if its process is gone without having said so."""
        status = self.saved_status()
        if not status.active or self._lives(status):
            return status.with_silence()
        seen = self._gone(status)
        status = self.saved_status()  # the last word may have been said between the two looks
        return seen if status.active else status

    def follow(self, poll: float = 0.2) -> Iterator[Event]:
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

    def enqueue(self, process: Process) -> Status:
        """Let the job wait for a device; see `queue.submit`.

        Whoever starts it himself says when by ``launched`` in the same step: the queue would take
        a job that only waits.
        """
        self.require(self.status(), "queued", "started")  # at once, before waiting for the lock
        with self.writing():
            status = self.status()
            self.require(status, "queued", "started")
            self.clear_requests()
            queued = status.queued(process)
            self.write_state(queued)
        return queued

    def require(self, status: Status, state: State, done: str) -> None:
        """Refuse with a `UserError` what the state does not allow."""
        if not status.may_become(state):
            raise UserError(
                f"The job {self.title} is {status.state} and cannot be {done}.",
                "Start a new job." if status.state == "done" else "Wait until its state changes.",
            )

    def hand_over(self, runner: str) -> None:
        """Note that an engine of its own starts the job, whenever it likes."""
        now = time.time()
        self.enqueue(Process(rank=now, launched=now, runner=runner))

    def pause(self) -> None:
        """Ask the job to write a checkpoint and to end; it is paused once that is done."""
        self.require(self.status(), "paused", "paused")
        self.request("pause")

    def checkpoint(self) -> None:
        """Ask the running job to write a checkpoint now and to go on."""
        status = self.status()
        if status.state != "running":
            raise UserError(
                f"The job {self.title} is {status.state} and writes no checkpoint.",
                "Wait until it is running.",
            )
        self.request("checkpoint_now")

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
        self.require(self.status(), "cancelled", "cancelled")
        self.request("cancel")
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

    def write_state(self, status: Status) -> None:
        """Append the state to the events and replace ``status.json``; only within `writing`.

        Raises
        ------
        ValueError
            If the table of transitions does not lead there.
        """
        saved = self.saved_status()
        if not (saved.may_become(status.state) or self.status().may_become(status.state)):
            raise ValueError(f"A job that is {saved.state} cannot become {status.state}.")
        # In this order: whoever sees in the status that a job has ended finds all its events.
        try:
            with open_events(self.events_file) as file:
                file.write(event_line(StateChanged(state=status.state)))
        finally:
            self.write_status(status)

    def settle(self, state: State, failure: Failure | None = None) -> None:
        """Write the last state of a job that has no process to do so."""
        with self.writing():
            self.write_state(self.saved_status().closed(state, failure))
            self.clear_requests()

    def adopt(self, child: "subprocess.Popen[bytes]", launched: float) -> None:
        """Remember the process that was started for the job: only its parent learns how it ends."""
        _children[self.folder] = launched, child

    def attest(self, launched: float) -> None:
        """Write how a process has ended that could not; for its parent, who alone knows."""
        with self.writing():
            status = self.saved_status()
            if status.active and status.process.launched == launched:
                self.write_state(self._gone(status))
                self.clear_requests()

    def _press(self, timeout: float) -> Iterator[Status]:
        started, pressed = time.monotonic(), 0
        while (status := self.status()).active:
            if time.monotonic() - started >= timeout * (pressed + 1) and pressed < 2:
                pressed += 1
                pid = self._pid(status)
                if pid is not None:
                    end_process_tree(pid, kill=pressed == 2)
            yield status
        if self.saved_status().may_become("cancelled"):
            with suppress(ValueError):  # its parent was quicker
                self.settle("cancelled")

    def _child(self, status: Status) -> "subprocess.Popen[bytes] | None":
        launched, child = _children.get(self.folder, (None, None))
        return child if launched == status.process.launched else None

    def _pid(self, status: Status) -> int | None:
        """The number of the job's process, if there is one on this computer."""
        child = self._child(status)
        if child is not None:
            return child.pid if child.poll() is None else None
        process = status.process
        known = status.here and bool(process.started)
        return process.pid if known and process_start(process.pid) == process.started else None

    def _lives(self, status: Status) -> bool:
        if status.waiting:
            return "cancel" not in self.requests()
        if self._pid(status) is not None:
            return True
        if self._child(status) is not None:
            return False
        if status.state == "queued" and status.process.runner:
            return True  # until its engine says otherwise
        if status.state == "queued":
            return time.time() - (status.process.launched or 0) < TAKE_OFF
        silent = time.time() - (status.process.heartbeat or 0)
        return not status.here and silent < SILENT_ELSEWHERE

    def _gone(self, status: Status) -> Status:
        if "cancel" in self.requests():
            return status.closed("cancelled")
        child = self._child(status)
        code = child.returncode if child else None
        why = explain_exit(code, self.log, log_from=status.process.log_from)
        heartbeat = status.process.heartbeat
        if child is None and heartbeat and psutil.boot_time() > heartbeat:
            text = "The computer was restarted while the job was running."
            why = why.model_copy(update={"text": text})
        return status.closed("lost", why)
