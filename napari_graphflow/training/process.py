"""The job process: run the job, append its events, obey pause and cancel requests."""

import errno
import os
import signal
import threading
import time
import traceback
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from napari_graphflow.config.comparison import ComparisonConfig
from napari_graphflow.config.labelling import ProposalConfig, RoundConfig
from napari_graphflow.config.model_card import read_model_card
from napari_graphflow.config.run import DistillationConfig
from napari_graphflow.errors import UserError
from napari_graphflow.jobs.event_log import event_line, open_events
from napari_graphflow.jobs.job import Job
from napari_graphflow.jobs.paths import Request
from napari_graphflow.jobs.queue import start_keeper
from napari_graphflow.jobs.status import HEARTBEAT, State, Status
from napari_graphflow.system.events import (
    Alive,
    Event,
    Failed,
    Phase,
    Progress,
)
from napari_graphflow.system.failures import Failure, explain_exit, explain_job

#: Seconds between checks for requests, writes of the status, and progress events in the log.
POLL_INTERVAL = 0.1
STATUS_INTERVAL = 0.5
PROGRESS_INTERVAL = 0.25
#: Bytes reserved on disk, so that a job that fills the disk can still report its failure.
RESERVE = 1 << 16
#: Seconds to wait for a disconnected drive before giving up writing the final status.
FINAL_STATUS_TIMEOUT = 60.0
#: The same if not even the first status could be written.
FIRST_STATUS_TIMEOUT = 2.0
#: Why a job ends early; ``stop`` is a signal, such as from a computer that shuts down.
Interruption = Literal["", "cancel", "stop", "pause"]


class _Terminated(BaseException):
    """Raised by a second signal if the first was not handled between two events."""


def main(folder: Path) -> int:
    """Run a job in this process and return the exit code."""
    job = Job(folder)
    if int(os.environ.get("RANK", "0")):
        return _run_other_rank(job)
    has_engine = bool(job.status().process.runner)
    try:
        return run(job.folder, _events_with_conversion(job))
    finally:
        # An engine reclaims the computer as soon as this process ends.
        if not has_engine and not _was_stopped(job):
            with suppress(UserError, OSError):
                start_keeper(job.folder.parent)  # in a process that outlives this one


def _was_stopped(job: Job) -> bool:
    """Return whether a signal ended the job; it would also end the next job."""
    status = job.status()
    return status.state == "paused" and status.failure is not None


def _run_other_rank(job: Job) -> int:
    """Compute as a process of ``torchrun`` other than rank 0, which alone writes and polls."""
    try:
        for _ in _events(job):
            pass
    except Exception:
        # Communication breaks when rank 0 pauses, ends or fails; it reports that in the status.
        deadline = time.monotonic() + 10 * HEARTBEAT
        while job.status().active and time.monotonic() < deadline:
            time.sleep(POLL_INTERVAL)
        if job.status().active:
            raise
    return 0


def _events_with_conversion(job: Job) -> Iterator[Event]:
    from napari_graphflow.training.curves import with_curves

    yield from with_curves(_events(job), job)
    from napari_graphflow.training.conversion import convert_result

    yield from convert_result(job.folder)


def _events(job: Job) -> Generator[Event, None, None]:
    # Imported here, so that a missing package is reported like any other failure, and a wrong
    # folder before torch is imported, which takes seconds.
    from napari_graphflow.dataset.cases import Dataset

    config, device = job.config, job.status().process.device
    if device:
        config = config.model_copy(update={"device": device})
    if isinstance(config, ProposalConfig):
        Dataset.open(config.dataset)
        read_model_card(config.model)
        yield Phase(kind="starting", name="starting")
        from napari_graphflow.training.proposing import propose_masks

        yield from propose_masks(config, job.folder)
        return
    if isinstance(config, ComparisonConfig):
        Dataset.open(config.dataset, fold=config.fold)
        yield Phase(kind="starting", name="starting")
        from napari_graphflow.inference.comparing import compare_on_dataset

        yield from compare_on_dataset(config, job.report, job.study)
        return
    if isinstance(config, RoundConfig):
        Dataset.open(job.frozen)
        yield Phase(kind="starting", name="starting")
        from napari_graphflow.training.rounds import run_round

        yield from run_round(config, job.folder)
        return
    Dataset.of_run(config)
    if isinstance(config, DistillationConfig):
        read_model_card(config.teacher)
    yield Phase(kind="starting", name="starting")
    from napari_graphflow.training import loop
    from napari_graphflow.training.stages import distill_and_train_alone, train_twice

    if isinstance(config, DistillationConfig):
        run = distill_and_train_alone if config.also_alone else loop.distill
        yield from run(config, job.folder)
    else:
        twice = config.self_training != "none"
        yield from (train_twice if twice else loop.train)(config, job.folder)


def run(folder: Path, events: Iterator[Event]) -> int:
    """Run a job to its end and record its events.

    Parameters
    ----------
    folder
        Folder of the job.
    events
        Events of the run. If it is a generator, closing it must write a checkpoint and end it.

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
        recorder = _Recorder(job, status)
        try:
            recorder.begin()
        except OSError as error:  # such as a disk that is full from the start
            _log(job, error)
            return recorder.fail(error, FIRST_STATUS_TIMEOUT)
        with recorder, _signals(recorder):
            return _consume(job, recorder, events)


def _consume(job: Job, recorder: "_Recorder", events: Iterator[Event]) -> int:
    requested: Interruption = ""
    try:
        while not (requested := recorder.requested):
            event = next(events, None)
            if event is None:
                break
            recorder.add(event)
        if hasattr(events, "close"):
            events.close()
    except (_Terminated, KeyboardInterrupt):
        requested = "cancel"
    except BaseException as error:
        _log(job, error)
        # The signal may also have ended the other processes of the run.
        if requested != "cancel" and recorder.requested != "stop":
            return recorder.fail(error)
        requested = requested or "stop"
    if requested and recorder.requested == "stop":
        requested = "stop"
    if requested == "cancel":
        return recorder.end("cancelled")
    if requested == "stop":
        why = explain_exit(-signal.SIGTERM, job.log)
        remedy = "Resume the job to continue from its last checkpoint."
        return recorder.end("paused", why.model_copy(update={"remedy": remedy}))
    return recorder.end("paused" if requested else "done")


class _Recorder:
    """Append events as they occur, and write the status from a separate thread.

    The thread sends heartbeats during long native calls, and a slow disk does not block the loop.
    """

    def __init__(self, job: Job, status: Status) -> None:
        self.job = job
        self.requested: Interruption = ""
        self._status = status.running()
        self._changed = False
        self._written = self._progressed = 0.0
        self._truncated = False
        self._ended = threading.Event()
        self._reserve = job.reserve
        self._thread = threading.Thread(
            target=self._write_heartbeats, name="heartbeat", daemon=True
        )

    def begin(self) -> None:
        """Write the first status and open the events."""
        with suppress(OSError):
            self._reserve.write_bytes(os.urandom(RESERVE))
        self.job.write_state(self._status)
        self._events = open_events(self.job.events_file)

    def __enter__(self) -> "_Recorder":
        self.poll_requests()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._events.close()
        self._reserve.unlink(missing_ok=True)

    def add(self, event: Event) -> None:
        """Append an event and update the status."""
        run = self._status.run.after(event)
        if run is not self._status.run:
            self._status = self._status.model_copy(update={"run": run})
            self._changed = True
        if self._is_logged(event):
            self._write_event(event)

    def end(
        self,
        state: State,
        failure: Failure | None = None,
        patience: float = FINAL_STATUS_TIMEOUT,
    ) -> int:
        """Write the final status and return the exit code."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        with suppress(OSError):
            self._reserve.unlink(missing_ok=True)
        last = self._status.with_process(heartbeat=time.time())
        self._status = last.closed(state, failure)
        deadline = time.monotonic() + patience
        while True:
            try:
                self.job.folder.stat()
                if self.job.saved_status().state != state:  # not yet written
                    self.job.write_state(self._status)
                with suppress(OSError):
                    self.job.clear_requests()
                return self._status.exit_code
            except OSError:
                if time.monotonic() > deadline:
                    return self._status.exit_code
                time.sleep(POLL_INTERVAL)

    def fail(self, error: BaseException, patience: float = FINAL_STATUS_TIMEOUT) -> int:
        """Append the failure as an event, write the final status and return the exit code."""
        with suppress(OSError):
            self._reserve.unlink(missing_ok=True)
        if not self.job.folder.exists():  # the cause of any failure
            error = self.job.gone()
        why = explain_job(error, self.job.log)
        with suppress(OSError, AttributeError):  # the log of events may not be open
            self._write_event(Failed(failure=why))
        return self.end("failed", why, patience)

    @property
    def ended(self) -> bool:
        return self._ended.is_set()

    def interrupt(self, request: Interruption) -> None:
        """Record a request; cancel takes precedence over stop, and stop over pause."""
        if self.requested != "cancel" and (self.requested, request) != ("stop", "pause"):
            self.requested = request

    def _is_logged(self, event: Event) -> bool:
        if not isinstance(event, Progress):
            return not isinstance(event, Alive)
        now = time.monotonic()
        if now - self._progressed < PROGRESS_INTERVAL and event.step != event.total:
            return False
        self._progressed = now
        return True

    def _write_event(self, event: Event) -> None:
        # One unbuffered write per line: a kill or a full disk truncates only the last line.
        line = b"\n" * self._truncated + event_line(event)
        self._truncated = True
        if self._events.write(line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._truncated = False

    def _write_heartbeats(self) -> None:
        while not self._ended.wait(POLL_INTERVAL):
            self.poll_requests()
            since = time.monotonic() - self._written
            if since > HEARTBEAT or (self._changed and since > STATUS_INTERVAL):
                self._changed = False
                self._written = time.monotonic()
                # A full disk or lost drive must not stop the heartbeat; the job itself will fail.
                with suppress(OSError):
                    self.job.write_status(self._status.with_process(heartbeat=time.time()))

    def poll_requests(self) -> None:
        """Read the requests in the job's folder."""
        requests: set[Request] = set()
        with suppress(OSError):
            requests = self.job.requests()
        if "cancel" in requests:
            self.interrupt("cancel")
        elif "pause" in requests:
            self.interrupt("pause")


@contextmanager
def _signals(recorder: _Recorder) -> Iterator[None]:
    """Handle a first signal as a request; a second one ends the job at once.

    Ctrl+C cancels. SIGTERM follows a cancel request that was not obeyed, or comes from the system
    or an engine that reclaims the computer, in which case the job is paused.
    """

    def handle(number: int, frame: object) -> None:
        if recorder.ended:
            return
        if recorder.requested in ("cancel", "stop"):
            raise _Terminated
        recorder.poll_requests()
        if recorder.requested == "cancel":
            return
        if number == signal.SIGTERM:
            recorder.interrupt("stop")
            return
        recorder.interrupt("cancel")
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
