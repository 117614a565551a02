"""``events.jsonl``: one JSON object a line, only ever appended to."""

import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

#: Bytes of events that are read at once: a few milliseconds, whatever the length of the history.
CHUNK = 1 << 17


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
