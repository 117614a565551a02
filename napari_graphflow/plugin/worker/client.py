"""Client of the inference worker: start it, send volumes and requests, collect replies.

Nothing here loads torch or blocks: one thread writes volumes and requests, another one reads
replies, and `InferenceWorker.poll` returns the replies received so far.
"""

import itertools
import json
import os
import queue
import subprocess
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from napari_graphflow.errors import UserError
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.plugin.worker.replies import FINAL, Reply, error_reply, parse_reply
from napari_graphflow.plugin.worker.volume_files import (
    VolumeFiles,
    load_array,
    new_folder,
    remove_tree,
)
from napari_graphflow.system.failures import (
    SMALLER_SEGMENTATION,
    Failure,
    explain,
    explain_exit,
)
from napari_graphflow.system.folders import data_root
from napari_graphflow.system.processes import NO_CONSOLE, child_environment

NAME = "The segmentation process"
LOG_BYTES = 1 << 20
#: Seconds that a cancelled request may take to end; then the process is killed, so that the window
#: says "cancelled" within one second, even while PyTorch starts or a large window is computed.
CANCEL_TIMEOUT = 0.6


@dataclass
class _Call:
    id: int
    op: str
    fields: dict[str, Any]
    process: "subprocess.Popen[str] | None" = None
    attempts: int = 0
    cancelled: bool = False


class InferenceWorker:
    """A persistent process for inference, started by the first request and restarted after a crash.

    Parameters
    ----------
    command
        Another program with the same protocol.
    log
        Receives stderr of the process; two files of at most 1 MiB.
    """

    def __init__(self, command: Sequence[str] | None = None, log: Path | None = None) -> None:
        self._command = list(command or [sys.executable, "-m", "napari_graphflow", "worker"])
        self._log = log or data_root() / "worker.log"
        self._folder: Path | None = None
        self._remove_folder: Callable[[], object] | None = None
        self._process: subprocess.Popen[str] | None = None
        self._closed = False
        self._ids = itertools.count(1)
        self._calls: dict[int, _Call] = {}
        self._lock = threading.Lock()  # protects the process and the calls
        self._writing = threading.Lock()
        self._outbox: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._replies: queue.SimpleQueue[Reply] = queue.SimpleQueue()
        self._files = VolumeFiles()
        self._sender: threading.Thread | None = None
        #: Processes that were killed because they did not end a cancelled request.
        self._killed: set[int] = set()

    @property
    def pid(self) -> int | None:
        """PID of the running process, or None."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    @property
    def busy(self) -> bool:
        """Whether a request is pending."""
        return bool(self._calls)

    def request(self, op: str, **fields: Any) -> int:
        """Send a request and return at once.

        Parameters
        ----------
        op
            ``segment``, ``heatmap``, ``importance``, ``affinity`` or ``ping``.
        **fields
            Arguments of the operation. One of them may be a `Volume`, others arrays in its grid;
            each is written to a file once while it exists and does not change.

        Returns
        -------
        id
            Number of the request, repeated in its replies.
        """
        call = _Call(next(self._ids), op, fields)
        with self._lock:
            if self._closed:
                raise RuntimeError("the worker is closed")
            self._calls[call.id] = call
            if self._sender is None:
                self._sender = threading.Thread(
                    target=self._send_all, name="to worker", daemon=True
                )
                self._sender.start()
        self._outbox.put(call)
        return call.id

    def poll(self) -> list[Reply]:
        """Return the replies since the last call; of consecutive progress only the latest.

        A reply has ``id`` and ``event``: ``progress`` (phase, done, total, eta_s), and as the final
        reply ``result`` (with arrays), ``error`` (failure, a `Failure`) or ``cancelled``.
        """
        replies: list[Reply] = []
        with suppress(queue.Empty):
            while True:
                reply = self._replies.get_nowait()
                last = replies[-1] if replies else {}
                if last.get("event") == reply["event"] == "progress" and last["id"] == reply["id"]:
                    replies.pop()
                replies.append(reply)
        return replies

    def run(
        self, op: str, *, on_progress: Callable[[Reply], None] | None = None, **fields: Any
    ) -> Reply:
        """Send a request and wait for its result, for scripts; do not combine with `poll`.

        Raises
        ------
        UserError
            If the reply is an error.
        """
        number = self.request(op, **fields)
        while True:
            reply = self._replies.get()
            if reply["id"] != number:
                continue
            if reply["event"] == "error":
                raise reply["failure"].as_error()
            if reply["event"] in FINAL:
                return reply
            if on_progress is not None:
                on_progress(reply)

    def cancel(self, number: int) -> None:
        """Request cancellation; the final reply reports whether it was cancelled.

        A process that does not end the request is killed after `CANCEL_TIMEOUT` seconds; the reply
        then has ``killed``, and other requests are sent again to a new process.
        """
        with self._lock:
            call = self._calls.get(number)
            if call is None or call.cancelled:
                return
            if call.process is None:
                del self._calls[number]
                self._replies.put({"id": number, "event": "cancelled"})
                return
            call.cancelled = True
        # In a thread, since the pipe of a process that does not listen may be full.
        for step in (self._ask_to_cancel, self._kill_if_pending):
            threading.Thread(target=step, args=(call,), name="cancel", daemon=True).start()

    def _ask_to_cancel(self, call: _Call) -> None:
        assert call.process is not None
        self._write(call.process, {"op": "cancel", "id": call.id})

    def _kill_if_pending(self, call: _Call) -> None:
        """Kill the process of a request that has not ended some time after it was cancelled."""
        assert call.process is not None
        end = time.monotonic() + CANCEL_TIMEOUT
        while call.id in self._calls:
            if time.monotonic() >= end:
                self._killed.add(call.process.pid)
                call.process.kill()
                return
            time.sleep(0.02)

    def close(self) -> None:
        """Kill the process and remove all files; pending requests get no reply."""
        with self._lock:
            self._closed = True
            self._calls.clear()
            process = self._process
        self._outbox.put(None)
        if process is not None:
            # It writes only temporary files, so it can be killed.
            process.kill()
            process.wait()
        if self._sender is not None:
            self._sender.join(0.5)
        if self._remove_folder is not None:
            self._remove_folder()

    def _send_all(self) -> None:
        while (call := self._outbox.get()) is not None:
            try:
                self._send(call)
            except Exception as error:  # every request must get a final reply
                if not isinstance(error, OSError | UserError):
                    traceback.print_exc()
                self._fail(call, explain(error, self._log, SMALLER_SEGMENTATION))
            del call  # otherwise its volume lives until the next one

    def _send(self, call: _Call) -> None:
        with self._lock:
            if call.id not in self._calls:
                return
            # Temporary folders may be cleaned at any time.
            if self._folder is None or not self._folder.is_dir():
                self._folder = new_folder()
                self._remove_folder = weakref.finalize(self, remove_tree, self._folder)
            folder = self._folder
        message: dict[str, Any] = {"id": call.id, "op": call.op, "out": str(folder / str(call.id))}
        for name, value in call.fields.items():
            if isinstance(value, Volume):
                message[name] = str(self._files.path(value.array, folder))
                message |= {
                    "spacing": value.spacing,
                    "origin": value.origin,
                    "direction": value.direction,
                    "channels": value.channels,
                }
            elif isinstance(value, np.ndarray):
                message[name] = str(self._files.path(value, folder))
            else:
                message[name] = value
        with self._lock:
            if call.id not in self._calls:
                return
            if self.pid is not None:
                call.process = self._process
        if call.process is None:
            self._start_for(call)
        if call.process is not None:
            self._write(call.process, message)

    def _start_for(self, call: _Call) -> None:
        process = self._start()
        with self._lock:
            if self._closed:
                process.kill()
            else:
                self._process = process
                if call.id in self._calls:
                    call.process = process
        # Only now, so that this thread finds the call if the process has already died.
        threading.Thread(
            target=self._receive_all, args=(process,), name="from worker", daemon=True
        ).start()

    def _start(self) -> "subprocess.Popen[str]":
        with self._open_log() as log:
            return subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                encoding="utf-8",
                errors="replace",
                env=child_environment(),
                creationflags=NO_CONSOLE,
            )

    def _open_log(self) -> IO[bytes]:
        """Open the log; without a place for it, the process works all the same."""
        try:
            self._log.parent.mkdir(parents=True, exist_ok=True)
            if self._log.exists() and self._log.stat().st_size > LOG_BYTES:
                self._log.replace(self._log.with_name(f"{self._log.name}.1"))
            return self._log.open("ab")
        except OSError:
            return Path(os.devnull).open("ab")

    def _write(self, process: "subprocess.Popen[str]", message: dict[str, Any]) -> None:
        line = json.dumps(message, default=str) + "\n"
        assert process.stdin is not None
        # The reading thread detects that the process has ended.
        with self._writing, suppress(OSError, ValueError):
            process.stdin.write(line)
            process.stdin.flush()

    def _receive_all(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        for line in process.stdout:
            if (reply := parse_reply(line)) is not None:
                self._receive(reply)
        code = process.wait()
        with self._lock:
            if self._process is process:
                self._process = None
            orphans = [call for call in self._calls.values() if call.process is process]
        killed = process.pid in self._killed
        for call in orphans:
            if call.cancelled:
                self._finish({"id": call.id, "event": "cancelled", "killed": killed})
                continue
            call.attempts += not killed
            if killed:
                call.process = None
                self._outbox.put(call)
            elif code == 0 and call.attempts == 1:
                call.process = None  # it exited normally while the request was being sent
                self._outbox.put(call)
            else:
                self._fail(call, explain_exit(code, self._log, NAME, SMALLER_SEGMENTATION))
        with self._writing:
            for pipe in (process.stdin, process.stdout):
                with suppress(OSError):  # unwritten data
                    pipe.close()

    def _receive(self, reply: Reply) -> None:
        if reply["id"] not in self._calls:
            return
        if reply["event"] == "result":
            try:
                reply = {key: load_array(value) for key, value in reply.items()}
            except (OSError, ValueError, MemoryError) as error:
                reply = error_reply(reply["id"], explain(error, self._log, SMALLER_SEGMENTATION))
        if reply["event"] in FINAL:
            if self._folder is not None:
                remove_tree(self._folder / str(reply["id"]))
            self._finish(reply)
        else:
            self._replies.put(reply)

    def _fail(self, call: _Call, failure: Failure) -> None:
        self._finish(error_reply(call.id, failure))

    def _finish(self, reply: Reply) -> None:
        """Hand on the final reply of a request, once."""
        with self._lock:
            if self._calls.pop(reply["id"], None) is None:
                return
        self._replies.put(reply)
