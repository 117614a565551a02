"""``events.jsonl``: one JSON event per line, append-only."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from pydantic import ConfigDict, TypeAdapter, ValidationError

from napari_graphflow.system.events import Event
from napari_graphflow.system.regular_file import open_regular

#: Bytes of events per read, so that a read takes milliseconds for any length of the log.
CHUNK = 1 << 17
_EVENT: TypeAdapter[Event] = TypeAdapter(Event, config=ConfigDict(defer_build=True))


def event_line(event: Event) -> bytes:
    """Return the line of an event, with its time; NaN and infinite values become null."""
    written = event.model_copy(update={"t": round(time.time(), 3)})
    return written.model_dump_json().encode() + b"\n"


def open_events(path: Path) -> IO[bytes]:
    """Open the log for appending, and terminate a line that a killed process left incomplete."""
    file = path.open("a+b", buffering=0)
    if file.seek(0, os.SEEK_END):
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            file.write(b"\n")
    return file


def read_events(path: Path, offset: int) -> tuple[Iterator[Event], int]:
    """Read at most about `CHUNK` bytes of complete lines; see :meth:`Job.events`.

    Events are parsed lazily.
    """
    try:
        with open_regular(path) as file:
            file.seek(offset)
            data = file.read(CHUNK)
            if b"\n" not in data and len(data) == CHUNK:
                data += file.readline()
    except OSError:  # no events yet, or the drive is disconnected
        return iter(()), offset
    end = data.rfind(b"\n") + 1
    return _parse(data[:end]), offset + end


def _parse(data: bytes) -> Iterator[Event]:
    for line in data.splitlines():
        try:
            yield _EVENT.validate_json(line)
        except ValidationError:  # incomplete after a kill, or of another version
            continue
