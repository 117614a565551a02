"""What runs inside the process of a job: consume events, write them down, obey requests."""

import errno
import os
import signal
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from napari_graphflow.config.model_card import read_model_card
from napari_graphflow.config.run import DistillationConfig
from napari_graphflow.errors import UserError
from napari_graphflow.jobs.event_log import event_line, open_events
from napari_graphflow.jobs.job import Job
from napari_graphflow.jobs.paths import Request
from napari_graphflow.jobs.queue import keep_going
from napari_graphflow.jobs.status import HEARTBEAT, State, Status
from napari_graphflow.system.events import (
    Alive,
    Event,
    Failed,
    Phase,
    Progress,
)
from napari_graphflow.system.failures import explain, explain_exit

#: Seconds between two looks for requests, two replacements of the status, two lines of progress.
LOOK = 0.1


STATUS_EVERY = 0.5


PROGRESS_EVERY = 0.25


#: Bytes kept free for the last words of a job that has filled its disk.
RESERVE = 1 << 16


#: Seconds that a job waits for a drive that went away, to say how it has ended.
LAST_WORDS = 60.0


CANCELLED_EXIT_CODE = 130


#: What a job was asked for: ``stop`` by a signal, as from a computer that is shutting down.
Interruption = Literal["", "cancel", "stop", "pause"]


class _Terminated(BaseException):
    """Raised by the second signal, when the first one was not heard between two events."""


def main(folder: Path) -> int:
    """Run a job in this process; gives the exit code."""
    job = Job(folder)
    if int(os.environ.get("RANK", "0")):
        return _accompany(job)
    given_to_an_engine = bool(job.status().process.runner)
    try:
        return run(job.folder, _events(job))
    finally:
        # An engine takes its computer back as soon as we end.
        if not given_to_an_engine and not _was_stopped(job):
            with suppress(UserError, OSError):
                keep_going(job.folder.parent)  # by a parent that lives longer than we do


def _was_stopped(job: Job) -> bool:
    """Whether a signal has ended the job; another one would not live longer."""
    status = job.status()
    return status.state == "paused" and bool(status.code)


def _accompany(job: Job) -> int:
    """Compute beside the first process of ``torchrun``, which alone writes and listens."""
    try:
        for _ in _events(job):
            pass
    except Exception:
        # The first process has paused, ended or failed, and has said so: the exchange breaks off.
        deadline = time.monotonic() + 10 * HEARTBEAT
        while job.status().active and time.monotonic() < deadline:
            time.sleep(LOOK)
        if job.status().active:
            raise
    return 0


def _events(job: Job) -> Iterator[Event]:
    # Imported here, so that a missing package is told like any other failure, and a wrong folder
    # before the seconds that torch takes.
    from napari_graphflow.dataset.cases import Dataset

    config, device = job.config, job.status().process.device
    if device:
        config = config.model_copy(update={"device": device})
    Dataset.open(config.dataset)
    if isinstance(config, DistillationConfig):
        read_model_card(config.teacher)
    yield Phase(name="starting")
    from napari_graphflow.training import loop

    if isinstance(config, DistillationConfig):
        yield from loop.distill(config, job.folder)
    else:
        yield from loop.train(config, job.folder)


def run(folder: Path, events: Iterator[Event]) -> int:
    """Run a job to its end and write down all that happens.

    Parameters
    ----------
    folder
        Folder of the job.
    events
        Yields what happens. Closing it, if it is a
        generator, must make it write a checkpoint and end.

    Returns
    -------
    exit_code
        0 when done, paused or stopped, 130 when cancelled, otherwise that of the failure.

    Raises
    ------
    UserError
        If the job is being run by another process, or is done.
    """
    job = Job(folder)
    with job.writing():
        status = job.status()
        if not status.may_become("running"):
            raise UserError(f"The job {job.title} is {status.state}.", "Start a new job.")
        with _Recorder(job, status) as recorder, _signals(recorder):
            return _consume(job, recorder, events)


def _consume(job: Job, recorder: "_Recorder", events: Iterator[Event]) -> int:
    asked: Interruption = ""
    try:
        while not (asked := recorder.asked):
            event = next(events, None)
            if event is None:
                break
            recorder.add(event)
        if hasattr(events, "close"):
            events.close()
    except (_Terminated, KeyboardInterrupt):
        asked = "cancel"
    except BaseException as error:
        _log(job, error)
        # The signal may have ended the processes that compute with us, too.
        if asked != "cancel" and recorder.asked != "stop":
            return recorder.fail(error)
        asked = asked or "stop"
    if asked and recorder.asked == "stop":
        asked = "stop"
    if asked == "cancel":
        return recorder.end("cancelled", CANCELLED_EXIT_CODE)
    if asked == "stop":
        why = explain_exit(-signal.SIGTERM, job.log)
        remedy = "Resume it to go on from its last checkpoint."
        return recorder.end("paused", 0, code=why.code, text=why.text, remedy=remedy)
    return recorder.end("paused" if asked else "done", 0)


class _Recorder:
    """Writes events as they come, and the status from a thread of its own.

    The thread keeps the heart beating through a long native call, and the loop from waiting for a
    slow disk.
    """

    def __init__(self, job: Job, status: Status) -> None:
        self.job = job
        self.asked: Interruption = ""
        self._status = status.running()
        self._changed = False
        self._written = self._progressed = 0.0
        self._torn = False
        self._ended = threading.Event()
        self._reserve = job.reserve
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> "_Recorder":
        with suppress(OSError):
            self._reserve.write_bytes(os.urandom(RESERVE))
        self.job.write_state(self._status)
        self._events = open_events(self.job.events_file)
        self.listen()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._events.close()
        self._reserve.unlink(missing_ok=True)

    def add(self, event: Event) -> None:
        """Write an event down, and what it changes in the status."""
        run = self._status.run.after(event)
        if run is not self._status.run:
            self._status = self._status.model_copy(update={"run": run})
            self._changed = True
        if self._is_news(event):
            self._write_event(event)

    def end(self, state: State, exit_code: int, **words: Any) -> int:
        """Write the last state."""
        self._ended.set()
        self._thread.join()
        self._reserve.unlink(missing_ok=True)
        last = self._status.with_process(heartbeat=time.time())
        self._status = last.closed(state, exit_code=exit_code, **words)
        deadline = time.monotonic() + LAST_WORDS
        while True:
            try:
                self.job.folder.stat()
                if self.job.saved_status().state != state:  # this is not yet written
                    self.job.write_state(self._status)
                with suppress(OSError):
                    self.job.clear_requests()
                return exit_code
            except OSError:
                if time.monotonic() > deadline:
                    return exit_code
                time.sleep(LOOK)

    def fail(self, error: BaseException) -> int:
        """Say what went wrong, once, in words."""
        self._reserve.unlink(missing_ok=True)
        if not self.job.folder.exists():  # whatever failed, failed for that
            error = self.job.gone()
        why = explain(error, self.job.log)
        with suppress(OSError):
            self._write_event(Failed(code=why.code, text=why.text, remedy=why.remedy))
        return self.end("failed", **asdict(why))

    @property
    def ended(self) -> bool:
        return self._ended.is_set()

    def ask(self, request: Interruption) -> None:
        """Note a request; a cancel stands before a stop, and that before a pause."""
        if self.asked != "cancel" and (self.asked, request) != ("stop", "pause"):
            self.asked = request

    def _is_news(self, event: Event) -> bool:
        if not isinstance(event, Progress):
            return not isinstance(event, Alive)
        now = time.monotonic()
        if now - self._progressed < PROGRESS_EVERY and event.step != event.total:
            return False
        self._progressed = now
        return True

    def _write_event(self, event: Event) -> None:
        # One unbuffered write a line: a kill or a full disk tears the last line at most.
        line = b"\n" * self._torn + event_line(event)
        self._torn = True
        if self._events.write(line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._torn = False

    def _beat(self) -> None:
        while not self._ended.wait(LOOK):
            self.listen()
            since = time.monotonic() - self._written
            if since > HEARTBEAT or (self._changed and since > STATUS_EVERY):
                self._changed = False
                self._written = time.monotonic()
                # A full disk or a lost drive must not stop the heart; the job itself will notice.
                with suppress(OSError):
                    self.job.write_status(self._status.with_process(heartbeat=time.time()))

    def listen(self) -> None:
        """Look for requests in the folder."""
        requests: set[Request] = set()
        with suppress(OSError):
            requests = self.job.requests()
        if "cancel" in requests:
            self.ask("cancel")
        elif "pause" in requests:
            self.ask("pause")


@contextmanager
def _signals(recorder: _Recorder) -> Iterator[None]:
    """Take a signal as a request, and a second one as an order.

    Ctrl+C cancels. SIGTERM comes after a request to cancel that was not obeyed, or from a system or
    an engine that takes the computer away: the job is then paused.
    """

    def handle(number: int, frame: object) -> None:
        if recorder.ended:
            return
        if recorder.asked in ("cancel", "stop"):
            raise _Terminated
        recorder.listen()
        if recorder.asked == "cancel":
            return
        if number == signal.SIGTERM:
            recorder.ask("stop")
            return
        recorder.ask("cancel")
        with suppress(OSError):
            recorder.job.request_file("cancel").touch()

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _log(job: Job, error: BaseException) -> None:
    with suppress(OSError), job.log.open("a", encoding="utf-8") as log:
        log.write("".join(traceback.format_exception(error)))
