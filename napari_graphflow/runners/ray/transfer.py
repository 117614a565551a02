"""Upload a job to a Ray cluster without access to the local folders, and download its files.

``python -m napari_graphflow.runners.ray.transfer FOLDER`` is the job's process on this computer. It
holds the lock of the folder, so that the job looks like any other; requests are forwarded to the
cluster, events and files are downloaded. If it is killed, the job continues on the cluster, and the
next transfer process resumes.
"""

import os
import sys
import time
import traceback
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from napari_graphflow.errors import UserError
from napari_graphflow.jobs.event_log import open_events
from napari_graphflow.jobs.job import Job
from napari_graphflow.jobs.status import State, Status
from napari_graphflow.runners.handover import engine, first_line, read_note, write_note
from napari_graphflow.runners.ray import node as remote
from napari_graphflow.runners.ray.package import JOB, pack_job
from napari_graphflow.runners.ray.runner import REMOTE, Ray
from napari_graphflow.system.failures import Failure, explain_exit, explain_job, in_words
from napari_graphflow.system.files import hidden_beside, path_inside
from napari_graphflow.system.regular_file import read_regular

#: Seconds between queries of the cluster.
POLL_INTERVAL = 1.0
#: Seconds between downloads of a checkpoint while the job runs.
CHECKPOINT_INTERVAL = 60.0
#: Seconds without a response from the cluster until the transfer fails.
TIMEOUT = 600.0
#: The same while the job is to be cancelled.
CANCEL_TIMEOUT = 5.0
CHUNK = 8 << 20


class Transfer:
    """The local process of a packed job.

    Parameters
    ----------
    job
        The job, within `Job.writing`.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self._note = read_note(job)
        self._status = job.status().running()
        self._stamps: dict[str, remote.Stamp] = {}
        self._fetched_at = time.monotonic()
        self._connected = False
        self._tasks: dict[Callable[..., Any], Any] = {}

    def run(self) -> None:
        """Upload the job unless it is on the cluster, and download its files until it ends."""
        self._enter("connecting to the Ray cluster")
        self._jobs = Ray(self._note["address"], self._note["workers"]).connect()
        self._ray = engine("ray", "ray")
        if self._info() is None:
            self._submit()
        lost = (OSError, RuntimeError, self._ray.exceptions.RayError)
        answered = time.monotonic()
        while True:
            try:
                if self._poll():
                    return
                answered = time.monotonic()
            except lost as error:
                silent = time.monotonic() - answered
                if silent > CANCEL_TIMEOUT and "cancel" in self.job.requests():
                    self._abandon()
                    return
                self._reconnect(error, silent)
            time.sleep(POLL_INTERVAL)

    def show(self, **update: Any) -> None:
        """Write the status, with a heartbeat."""
        self._status = self._status.model_copy(update=update).with_process(heartbeat=time.time())
        with in_words():
            self.job.write_status(self._status)

    def _enter(self, phase: str, **update: Any) -> None:
        """Write the start of a phase."""
        self.show(run=self._status.run.model_copy(update={"phase": phase}), **update)

    def fail(self, error: BaseException) -> int:
        """Write that the transfer failed; the job may continue on the cluster."""
        why = explain_job(error, self.job.log)
        self._end("failed", why)
        return why.exit_code

    def _submit(self) -> None:
        """Pack and submit the job."""
        self._enter("packing the data")
        python = self._python()
        name = f"graphflow-{uuid.uuid4().hex[:16]}"
        with TemporaryDirectory() as folder, open_events(self.job.events_file):
            package = Path(folder) / "job.zip"
            pack_job(self.job, package)
            self._enter("uploading the data to the Ray cluster")
            # Recorded before it is submitted: if this process is killed in between, the next one
            # finds no job of this name and submits it again.
            self._write_note(id=name, events=self.job.events_file.stat().st_size)
            command = [python, "-m", REMOTE, JOB, str(self._jobs.workers), name]
            environment = {"working_dir": str(package)}
            self._jobs.submit_command(self.job, command, environment, submission_id=name)

    def _poll(self) -> bool:
        """Forward requests and download files; return whether all of an ended job is here."""
        requests = self.job.requests()
        info = self._info()
        seen = None
        if info is not None and info.driver_node_id:
            given = self._note["id"], requests, self._case()
            seen = self._ask(remote.inspect, *given, node=info.driver_node_id)
        if seen is None:
            if info is None or info.status.is_terminal():
                self._ended_before_start(info, "cancel" in requests)
                return True
            if "cancel" in requests:
                self._jobs.client.stop_job(self._note["id"])
            self._enter("waiting for the Ray cluster", notice="")
            return False
        with suppress(OSError):
            self.job.request_file("checkpoint_now").unlink(missing_ok=True)
        status = Status.model_validate(seen["status"])
        # Everything but the process and its state is taken from the cluster.
        ours = {"state": self._status.state, "process": self._status.process}
        ended = not status.active or info.status.is_terminal()
        all_here = self._fetch(seen["files"], info.driver_node_id, ended)
        if not (ended and all_here):
            self._status = status.model_copy(update=ours)
            self.show()
            return False
        self._append_log(info.driver_node_id)
        # From here on, the next transfer process would submit the job again.
        name = self._note.pop("id")
        self._write_note()
        if not status.active and status.state != "lost":
            self._status = status.model_copy(update=ours)
            self._end(status.state, status.failure, reported=True)
        elif "cancel" in requests:
            self._end("cancelled")
        else:  # it left no final status
            since = self.job.saved_status().process.log_from
            why = explain_exit(None, self.job.log, "The job on the Ray cluster", log_from=since)
            self._end("failed", why)
        self._ask(remote.forget, name, node=info.driver_node_id)
        return True

    def _case(self) -> str:
        """Return the validation case selected for the preview; empty if none."""
        with suppress(OSError):
            return read_regular(self.job.preview_case).decode("utf-8").strip()
        return ""

    def _ended_before_start(self, info: Any, cancelled: bool) -> None:
        if cancelled:
            self._end("cancelled")
            return
        why = info.message if info else "the job is no longer known"
        text = f"Ray ended the job before it started: {why}"
        self._end("failed", Failure(code="ended", text=text))

    def _fetch(self, files: dict[str, remote.Stamp], node: str, ended: bool) -> bool:
        """Download changed files; return whether all are complete."""
        late = time.monotonic() - self._fetched_at > CHECKPOINT_INTERVAL
        complete = True
        # model.json last, because a folder counts as a model once it has one.
        for path in sorted(files, key=lambda one: (one.endswith("model.json"), one)):
            stamp = (files[path][0], files[path][1])
            target = path_inside(self.job.folder, path)
            # Only the newest checkpoint is downloaded.
            if self._stamps.get(path) == stamp or target == self.job.previous_checkpoint:
                continue
            if target.is_relative_to(self.job.checkpoints) and not (ended or late):
                continue
            copy = self._append_events if target == self.job.events_file else self._replace
            if copy(path, stamp, node):
                self._stamps[path] = stamp
            else:
                complete = False
        if late:
            self._fetched_at = time.monotonic()
        return complete

    def _append_events(self, path: str, stamp: remote.Stamp, node: str) -> bool:
        """Append new complete lines; return False if there may be more."""
        offset = self._note["events"]
        now, data = self._ask(remote.read, self._note["id"], path, offset, CHUNK, node=node)
        lines = data[: data.rfind(b"\n") + 1]
        # Errors of the local disk must not count as errors of the cluster.
        with in_words(), open_events(self.job.events_file) as file:
            file.write(lines)
        self._write_note(events=offset + len(lines))
        return tuple(now) == stamp and len(data) < CHUNK

    def _replace(self, path: str, stamp: remote.Stamp, node: str) -> bool:
        """Download a file; return False if it changed during the download."""
        target = path_inside(self.job.folder, path)
        aside = hidden_beside(target)
        offset = 0
        try:
            with in_words():
                target.parent.mkdir(parents=True, exist_ok=True)
                aside.open("xb").close()
            while offset < stamp[0]:
                part = (path, offset, CHUNK)
                now, data = self._ask(remote.read, self._note["id"], *part, node=node)
                if tuple(now) != stamp or not data:
                    return False
                with in_words(), aside.open("ab") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                offset += len(data)
                self.show()
            with in_words():
                aside.replace(target)
        finally:
            with suppress(OSError):
                aside.unlink(missing_ok=True)
        return True

    def _append_log(self, node: str) -> None:
        name, text = self._note["id"], ""
        with suppress(RuntimeError):
            text += self._ask(remote.log, name, node=node)
            text += self._jobs.client.get_job_logs(name)
        with in_words(), self.job.log.open("a", encoding="utf-8") as log:
            log.write(text)

    def _end(self, state: State, failure: Failure | None = None, *, reported: bool = False) -> None:
        """Write the final status, and its event unless it was written on the cluster."""
        final = self._status.with_process(heartbeat=time.time()).closed(state, failure)
        (self.job.write_status if reported else self.job.write_state)(final)
        self.job.clear_requests()

    def _info(self) -> Any:
        """Return Ray's information about the job; None if unknown."""
        if "id" not in self._note:
            return None
        try:
            return self._jobs.client.get_job_info(self._note["id"])
        except RuntimeError as error:
            if "404" in str(error):
                return None
            raise

    def _ask(self, function: Callable[..., Any], *arguments: Any, node: str = "") -> Any:
        """Call a function on a node of the cluster."""
        if not self._connected:
            self._connect()
        strategies = engine("ray.util.scheduling_strategies", "ray")
        if function not in self._tasks:
            self._tasks[function] = self._ray.remote(num_cpus=0, max_retries=0)(function)
        where = strategies.NodeAffinitySchedulingStrategy(node, soft=False) if node else "DEFAULT"
        task = self._tasks[function].options(scheduling_strategy=where)
        return self._ray.get(task.remote(*arguments))

    def _connect(self) -> None:
        self._ray.init(self._note["client"], logging_level="ERROR", log_to_driver=False)
        self._connected, self._tasks = True, {}

    def _python(self) -> str:
        """Return the Python interpreter of the cluster."""
        try:
            return str(self._ask(remote.interpreter))
        except ConnectionError:
            raise UserError(
                f"No Ray Client server responds at {self._note['client']}.",
                "Open this port of the cluster, or set GRAPHFLOW_RAY_CLIENT.",
            ) from None
        except RuntimeError as error:  # of another version
            raise UserError("The Ray cluster is not compatible.", first_line(error)) from None
        except self._ray.exceptions.RayError as error:
            if "ModuleNotFoundError" not in str(error):
                raise
            raise UserError(
                "napari-graphflow is not installed on the Ray cluster.",
                "Install it there with the extras train and ray, as on this computer.",
            ) from None

    def _reconnect(self, error: BaseException, seconds: float) -> None:
        if seconds > TIMEOUT:
            raise UserError(
                "The Ray cluster has not responded for ten minutes.",
                "Resume the job when it is available again; its results are then downloaded.",
            ) from error
        sys.stderr.write(f"{first_line(error)}\n")
        self.show(notice=f"The Ray cluster is not responding: {first_line(error)}")
        with suppress(Exception):
            self._ray.shutdown()
        self._connected = False

    def _abandon(self) -> None:
        """Cancel a job while the cluster is not responding."""
        text = "Cancelled here, but the Ray cluster is not responding; the job may continue there."
        remedy = f"To stop it, run there: ray job stop {self._note['id']}"
        self._end("cancelled", Failure(code="cancelled", text=text, remedy=remedy, exit_code=130))

    def _write_note(self, **more: Any) -> None:
        self._note |= more
        with in_words():
            write_note(self.job, **self._note)


def main(folder: Path) -> int:
    """Transfer a job and return the exit code."""
    job = Job(folder)
    with job.writing():
        transfer = Transfer(job)
        try:
            transfer.run()
        except Exception as error:
            traceback.print_exc()
            return transfer.fail(error)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
