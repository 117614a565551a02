"""A job as seen from other processes: read its state, make requests, end it."""

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
from napari_graphflow.jobs.paths import JobPaths
from napari_graphflow.jobs.status import REMOTE_TIMEOUT, START_TIMEOUT, Process, State, Status
from napari_graphflow.jobs.trust import require_trusted
from napari_graphflow.system.events import Event, StateChanged
from napari_graphflow.system.failures import Failure, explain_exit, in_words
from napari_graphflow.system.folders import jobs_root
from napari_graphflow.system.processes import end_process_tree, process_start, was_started_with

#: Names of files in a message.
_NAMED = 5
#: By folder, launch time and process of the jobs started by this process, which alone can read
#: their exit codes.
_children: dict[Path, tuple[float, "subprocess.Popen[bytes]"]] = {}


class Job(JobFolder):
    """A job as seen from other processes."""

    def status(self) -> Status:
        """Return the current state; ``lost`` if the process is gone without a final status."""
        status = self.saved_status()
        if not status.active or self._is_alive(status):
            return status.with_silence()
        gone = self._gone(status)
        status = self.saved_status()  # the process may just have written its final status
        return gone if status.active else status

    def follow(self, poll: float = 0.2) -> Iterator[Event]:
        """Yield all events, past ones first, until the job is no longer active."""
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
        """Set the job to queued; see `queue.submit`.

        To start it without the queue, set ``launched`` in the same step: the queue starts jobs
        without it.

        Raises
        ------
        UserError
            If the job is active or done, or comes from elsewhere and was not accepted.
        """
        # Fail at once, before waiting for the lock.
        self.require(self.status(), "queued", "started")
        require_trusted(self)
        with self.writing():
            status = self.status()
            self.require(status, "queued", "started")
            self.clear_requests()
            queued = status.queued(process)
            self.write_state(queued)
        return queued

    def require(self, status: Status, state: State, action: str) -> None:
        """Raise a `UserError` if `status` may not become `state`; `action` is a participle."""
        if not status.may_become(state):
            raise UserError(
                f"The job {self.title} is {status.state} and cannot be {action}.",
                "Start a new job." if status.state == "done" else "Wait until its state changes.",
            )

    def hand_over(self, runner: str) -> None:
        """Set the job to queued, to be started by an engine."""
        now = time.time()
        self.enqueue(Process(rank=now, launched=now, runner=runner))

    def pause(self) -> None:
        """Request that the job writes a checkpoint and ends."""
        self.require(self.status(), "paused", "paused")
        self.request("pause")

    def checkpoint(self) -> None:
        """Request that the running job writes a checkpoint now and continues."""
        status = self.status()
        if status.state != "running":
            raise UserError(
                f"The job {self.title} is {status.state} and cannot write a checkpoint.",
                "Wait until it is running.",
            )
        self.request("checkpoint_now")

    def cancel(self, timeout: float = 10.0) -> Status:
        """Cancel the job and wait; terminate after `timeout` seconds, kill after twice that."""
        for _ in self.begin_cancel(timeout):
            time.sleep(0.05)
        return self.status()

    def begin_cancel(self, timeout: float = 10.0) -> Iterator[Status]:
        """Request that the job ends, and return at once.

        Returns
        -------
        steps
            Call ``next(steps, None)`` repeatedly until exhausted. Each step checks the job,
            terminates its process after `timeout` seconds and kills it after twice that.
        """
        self.require(self.status(), "cancelled", "cancelled")
        self.request("cancel")
        return self._end(timeout)

    def delete(self) -> None:
        """Delete the folder with all its content, including the trained model.

        Raises
        ------
        UserError
            If the job is active, its folder was not created for it or holds other files, or it
            cannot be deleted.
        """
        if self.status().active:
            raise UserError(f"The job {self.title} is still active.", "Cancel it first.")
        if self.folder.is_symlink():
            raise UserError(
                f"{self.folder} is a link to a folder elsewhere.", "Delete that folder by hand."
            )
        self._refuse_foreign()
        with self.writing():
            pass  # no other process is starting it; released since Windows cannot move open files
        with in_words():
            aside = self.folder.with_name(f".deleted-{self.name}")
            self.folder.rename(aside)
            shutil.rmtree(aside)
        _children.pop(self.folder, None)

    def _refuse_foreign(self) -> None:
        """Refuse to delete what this program did not create, such as a folder with a copied job."""
        by_hand = "Delete the folder by hand if it is not needed."
        here = self.folder.resolve()
        if here.parent != jobs_root().resolve() and not here.name.startswith(self.stamp):
            raise UserError(f"{self.folder} was not created for the job {self.title}.", by_hand)
        if others := JobPaths(self.folder).foreign_files():
            count = "1 file or folder" if len(others) == 1 else f"{len(others)} files or folders"
            names = ", ".join(others[:_NAMED]) + (", ..." if len(others) > _NAMED else "")
            raise UserError(
                f"The folder of the job {self.title} holds {count} not written by the job: "
                f"{names}.",
                "Move them elsewhere first.",
            )

    def write_state(self, status: Status) -> None:
        """Append the state to the events and replace ``status.json``; only within `writing`.

        Raises
        ------
        ValueError
            If the transition is not allowed.
        """
        saved = self.saved_status()
        if not (saved.may_become(status.state) or self.status().may_become(status.state)):
            raise ValueError(f"A job that is {saved.state} cannot become {status.state}.")
        # In this order, so that the events are complete when the status says that a job has ended.
        try:
            with open_events(self.events_file) as file:
                file.write(event_line(StateChanged(state=status.state)))
        finally:
            self.write_status(status)

    def settle(self, state: State, failure: Failure | None = None) -> None:
        """Write the final state of a job without a process."""
        with self.writing():
            self.write_state(self.saved_status().closed(state, failure))
            self.clear_requests()

    def adopt(self, child: "subprocess.Popen[bytes]", launched: float) -> None:
        """Register the process of the job, whose exit code only this parent can read."""
        _children[self.folder] = launched, child

    def record_exit(self, launched: float) -> None:
        """Write the final state of a process that left none, from its exit code; for its parent."""
        with self.writing():
            status = self.saved_status()
            if status.active and status.process.launched == launched:
                self.write_state(self._gone(status))
                self.clear_requests()

    def _end(self, timeout: float) -> Iterator[Status]:
        started, attempts = time.monotonic(), 0
        while (status := self.status()).active:
            if time.monotonic() - started >= timeout * (attempts + 1):
                if attempts == 2:  # it was killed, or has no process here
                    break
                attempts += 1
                if not self._end_process(status, kill=attempts == 2):
                    break
            yield status
        if self.saved_status().may_become("cancelled"):
            with suppress(ValueError):  # its parent was faster
                self.settle("cancelled")

    def _end_process(self, status: Status, *, kill: bool) -> bool:
        """End the process of the job; return False if the one in its status is not its own.

        ``status.json`` may be written by anybody with access to the folder.
        """
        pid = self._pid(status)
        if pid is None:
            return True
        if self._child(status) is None:
            with self.locked_by_nobody() as idle:
                if idle:  # the status is wrong: a job holds the lock of its folder while it runs
                    return False
            if not was_started_with(pid, self.folder):
                raise UserError(
                    f"Process {pid} does not belong to the job {self.title} and was not ended.",
                    "End the job on the computer on which it runs.",
                )
        end_process_tree(pid, kill=kill)
        return True

    def _child(self, status: Status) -> "subprocess.Popen[bytes] | None":
        launched, child = _children.get(self.folder, (None, None))
        return child if launched == status.process.launched else None

    def _pid(self, status: Status) -> int | None:
        """Return the process id of the job if it runs on this computer."""
        child = self._child(status)
        if child is not None:
            return child.pid if child.poll() is None else None
        process = status.process
        known = status.here and bool(process.started)
        return process.pid if known and process_start(process.pid) == process.started else None

    def _is_alive(self, status: Status) -> bool:
        if status.waiting:
            return "cancel" not in self.requests()
        if self._pid(status) is not None:
            return True
        if self._child(status) is not None:
            return False
        if status.state == "queued" and status.process.runner:
            return True  # until its engine reports otherwise
        if status.state == "queued":
            return time.time() - (status.process.launched or 0) < START_TIMEOUT
        silent = time.time() - (status.process.heartbeat or 0)
        return not status.here and silent < REMOTE_TIMEOUT

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
