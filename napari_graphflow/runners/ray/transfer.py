"""Carries one job to a Ray cluster that does not see our folders, and fetches what it writes.

``python -m napari_graphflow.runners.ray.transfer FOLDER`` is the job's process on this computer. It
holds the folder as any other job's process does, so that windows see a job like any other; requests
go to the cluster, events and files come back. If it dies, the job goes on there, and the next
carrier takes up where this one ended.
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
from napari_graphflow.system.failures import Failure, explain, explain_exit, in_words

#: Seconds between two looks at the cluster.
EVERY = 1.0


#: Seconds between two copies of a checkpoint while the job runs.
CHECKPOINT_EVERY = 60.0


#: Seconds after which a cluster that does not answer is given up, for now.
PATIENCE = 600.0


#: Seconds that it may be silent when the job is to be cancelled.
GOODBYE = 5.0


CHUNK = 8 << 20


class Carrier:
    """The process of a carried job on this computer.

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

    def carry(self) -> None:
        """Bring the job to the cluster, unless it is there, and stay until all has come back."""
        self._enter("reaching the Ray cluster")
        self._jobs = Ray(self._note["address"], self._note["workers"]).connect()
        self._ray = engine("ray", "ray")
        if self._info() is None:
            self._send()
        lost = (OSError, RuntimeError, self._ray.exceptions.RayError)
        answered = time.monotonic()
        while True:
            try:
                if self._look():
                    return
                answered = time.monotonic()
            except lost as error:
                silent = time.monotonic() - answered
                if silent > GOODBYE and "cancel" in self.job.requests():
                    self._leave()
                    return
                self._lose_touch(error, silent)
            time.sleep(EVERY)

    def show(self, **update: Any) -> None:
        """Write the status, with a heartbeat."""
        self._status = self._status.model_copy(update=update).with_process(heartbeat=time.time())
        with in_words():
            self.job.write_status(self._status)

    def _enter(self, phase: str, **update: Any) -> None:
        """Write that a part of the way begins."""
        self.show(run=self._status.run.model_copy(update={"phase": phase}), **update)

    def fail(self, error: BaseException) -> int:
        """Say what went wrong on the way; the job may go on over there."""
        why = explain(error, self.job.log)
        self._end("failed", why)
        return why.exit_code

    def _send(self) -> None:
        """Pack the job and give it to Ray."""
        self._enter("packing the data")
        python = self._python()
        name = f"graphflow-{uuid.uuid4().hex[:16]}"
        with TemporaryDirectory() as folder, open_events(self.job.events_file):
            package = Path(folder) / "job.zip"
            pack_job(self.job, package)
            self._enter("sending the data to the Ray cluster")
            # Noted before it is there: should we die in between, the next carrier finds nothing
            # under this name and sends it again.
            self._write_note(id=name, events=self.job.events_file.stat().st_size)
            command = [python, "-m", REMOTE, JOB, str(self._jobs.workers), name]
            environment = {"working_dir": str(package)}
            self._jobs.hand_in(self.job, command, environment, submission_id=name)

    def _look(self) -> bool:
        """Carry requests there and files back; tells whether the job has ended and all is here."""
        requests = self.job.requests()
        info = self._info()
        seen = None
        if info is not None and info.driver_node_id:
            given = self._note["id"], requests, self._case()
            seen = self._ask(remote.look, *given, node=info.driver_node_id)
        if seen is None:
            if info is None or info.status.is_terminal():
                self._ended_before_it_began(info, "cancel" in requests)
                return True
            if "cancel" in requests:
                self._jobs.client.stop_job(self._note["id"])
            self._enter("waiting for the Ray cluster", notice="")
            return False
        with suppress(OSError):
            self.job.request_file("checkpoint_now").unlink(missing_ok=True)
        status = Status.model_validate(seen["status"])
        # All but the process and its state is as it is there.
        ours = {"state": self._status.state, "process": self._status.process}
        ended = not status.active or info.status.is_terminal()
        all_here = self._fetch(seen["files"], info.driver_node_id, ended)
        if not (ended and all_here):
            self._status = status.model_copy(update=ours)
            self.show()
            return False
        self._append_log(info.driver_node_id)
        # From here on the next carrier would have to send the job again.
        name = self._note.pop("id")
        self._write_note()
        if not status.active and status.state != "lost":
            self._status = status.model_copy(update=ours)
            self._end(status.state, status.failure, told=True)
        elif "cancel" in requests:
            self._end("cancelled")
        else:  # it could not say so itself
            why = explain_exit(None, self.job.log, "The job on the Ray cluster")
            self._end("failed", why)
        self._ask(remote.forget, name, node=info.driver_node_id)
        return True

    def _case(self) -> str:
        """The case that the window wants to see, if it has said so."""
        with suppress(OSError):
            return self.job.preview_case.read_text("utf-8").strip()
        return ""

    def _ended_before_it_began(self, info: Any, cancelled: bool) -> None:
        if cancelled:
            self._end("cancelled")
            return
        why = info.message if info else "it knows nothing of the job any more"
        text = f"Ray ended the job before it began: {why}"
        self._end("failed", Failure(code="ended", text=text))

    def _fetch(self, files: dict[str, remote.Stamp], node: str, ended: bool) -> bool:
        """Copy what has changed; tells whether all is here."""
        late = time.monotonic() - self._fetched_at > CHECKPOINT_EVERY
        complete = True
        # The card of a model comes last: a folder counts as a model as soon as it has one.
        for path in sorted(files, key=lambda one: (one.endswith("model.json"), one)):
            stamp = (files[path][0], files[path][1])
            target = self.job.folder / path
            # Two checkpoints of a job that goes on are one too many to send.
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
        """Append the whole lines that are new there; false if there may be more."""
        offset = self._note["events"]
        now, data = self._ask(remote.read, self._note["id"], path, offset, CHUNK, node=node)
        lines = data[: data.rfind(b"\n") + 1]
        # What our own disk refuses is not the cluster's fault.
        with in_words(), open_events(self.job.events_file) as file:
            file.write(lines)
        self._write_note(events=offset + len(lines))
        return tuple(now) == stamp and len(data) < CHUNK

    def _replace(self, path: str, stamp: remote.Stamp, node: str) -> bool:
        """Copy a file as a whole; false if it has changed meanwhile."""
        target = self.job.folder / path
        aside = target.with_name(f".{target.name}.part")
        offset = 0
        try:
            with in_words():
                target.parent.mkdir(parents=True, exist_ok=True)
                aside.write_bytes(b"")
            while offset < stamp[0]:
                place = (path, offset, CHUNK)
                now, data = self._ask(remote.read, self._note["id"], *place, node=node)
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
        name, said = self._note["id"], ""
        with suppress(RuntimeError):
            said += self._ask(remote.log, name, node=node)
            said += self._jobs.client.get_job_logs(name)
        with in_words(), self.job.log.open("a", encoding="utf-8") as log:
            log.write(said)

    def _end(self, state: State, failure: Failure | None = None, *, told: bool = False) -> None:
        """Write the last state; an event too, where none told it on the cluster."""
        final = self._status.with_process(heartbeat=time.time()).closed(state, failure)
        (self.job.write_status if told else self.job.write_state)(final)
        self.job.clear_requests()

    def _info(self) -> Any:
        """What Ray knows of the job; None where it knows none."""
        if "id" not in self._note:
            return None
        try:
            return self._jobs.client.get_job_info(self._note["id"])
        except RuntimeError as error:
            if "404" in str(error):
                return None
            raise

    def _ask(self, function: Callable[..., Any], *arguments: Any, node: str = "") -> Any:
        """Call a function on a computer of the cluster."""
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
        """The interpreter of the cluster."""
        try:
            return str(self._ask(remote.interpreter))
        except ConnectionError:
            raise UserError(
                f"No Ray Client answers at {self._note['client']}.",
                "Open that port of the cluster, or set GRAPHFLOW_RAY_CLIENT.",
            ) from None
        except RuntimeError as error:  # of another version
            raise UserError("The Ray cluster cannot be used.", first_line(error)) from None
        except self._ray.exceptions.RayError as error:
            if "ModuleNotFoundError" not in str(error):
                raise
            raise UserError(
                "The Python of the Ray cluster does not have napari-graphflow.",
                'Run there: pip install "napari-graphflow[train,ray]"',
            ) from None

    def _lose_touch(self, error: BaseException, seconds: float) -> None:
        if seconds > PATIENCE:
            raise UserError(
                "The Ray cluster has not answered for ten minutes.",
                "Resume the job when it does: what has been computed there is fetched then.",
            ) from error
        sys.stderr.write(f"{first_line(error)}\n")
        self.show(notice=f"The Ray cluster does not answer: {first_line(error)}")
        with suppress(Exception):
            self._ray.shutdown()
        self._connected = False

    def _leave(self) -> None:
        """Cancel a job that cannot be told so."""
        text = "Cancelled here, but the Ray cluster does not answer, so the job may go on there."
        remedy = f"To stop it, run there: ray job stop {self._note['id']}"
        self._end("cancelled", Failure(code="cancelled", text=text, remedy=remedy, exit_code=130))

    def _write_note(self, **more: Any) -> None:
        self._note |= more
        with in_words():
            write_note(self.job, **self._note)


def main(folder: Path) -> int:
    """Carry a job; gives the exit code."""
    job = Job(folder)
    with job.writing():
        carrier = Carrier(job)
        try:
            carrier.carry()
        except Exception as error:
            traceback.print_exc()
            return carrier.fail(error)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
