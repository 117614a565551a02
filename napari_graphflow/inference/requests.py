"""One request to the inference worker, and the lines on its pipe."""

import json
import threading
import time
from collections.abc import Callable
from typing import Any

PROGRESS_EVERY = 0.05


class Request:
    """One request while it is served.

    Attributes
    ----------
    id, op
        Number assigned by the client, and the operation.
    fields
        All fields of the request.
    """

    def __init__(self, fields: dict[str, Any], send: Callable[[dict[str, Any]], None]) -> None:
        self.id: int = fields["id"]
        self.op: str = fields["op"]
        self.fields = fields
        self._send = send
        self._cancelled = threading.Event()
        self._phase = self._steps = ""
        self._started = self._reported = 0.0

    def cancel(self) -> None:
        self._cancelled.set()

    def cancelled(self) -> bool:
        """Return whether the client cancelled the request."""
        return self._cancelled.is_set()

    def phase(self, name: str, steps: str = "") -> None:
        """Report the start of a phase, and what its steps are if they are counted."""
        self._phase, self._steps, self._started = name, steps, time.monotonic()
        self.reply("progress", phase=name, done=0, total=0, eta_s=None)

    def progress(self, done: int, total: int) -> None:
        """Report the progress of the phase, at most every `PROGRESS_EVERY` seconds."""
        now = time.monotonic()
        if now - self._reported < PROGRESS_EVERY and done < total:
            return
        self._reported = now
        eta = (now - self._started) / done * (total - done) if done else None
        where = {"phase": self._phase, "steps": self._steps}
        self.reply("progress", **where, done=done, total=total, eta_s=eta)

    def reply(self, event: str, **fields: Any) -> None:
        self._send({"id": self.id, "event": event, **fields})


def parse_request(line: str) -> dict[str, Any] | None:
    """Return the request on a line; None if it is none."""
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict) or not isinstance(fields.get("op"), str):
        return None
    return fields if fields["op"] == "shutdown" or type(fields.get("id")) is int else None
