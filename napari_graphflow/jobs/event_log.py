"""``events.jsonl``: one event a line as JSON, only ever appended to."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from pydantic import TypeAdapter, ValidationError

from napari_graphflow.system.events import Event

#: Bytes of events that are read at once: a few milliseconds, whatever the length of the history.
CHUNK = 1 << 17


_EVENT: TypeAdapter[Event] = TypeAdapter(Event)


def event_line(event: Event) -> bytes:
    """One line of ``events.jsonl``, with the time; numbers that JSON does not know become null."""
    written = event.model_copy(update={"t": round(time.time(), 3)})
    return written.model_dump_json().encode() + b"\n"


def open_events(path: Path) -> IO[bytes]:
    """Open events for appending; a line that a killed process left torn is closed first."""
    file = path.open("a+b", buffering=0)
    if file.seek(0, os.SEEK_END):
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            file.write(b"\n")
    return file


def read_events(path: Path, offset: int) -> tuple[Iterator[Event], int]:
    """Read at most about `CHUNK` bytes of whole lines; see :meth:`Job.events`.

    The events are made as they are taken.
    """
    try:
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read(CHUNK)
            if b"\n" not in data and len(data) == CHUNK:
                data += file.readline()
    except OSError:  # there are no events yet, or the drive went away
        return iter(()), offset
    end = data.rfind(b"\n") + 1
    return _parse(data[:end]), offset + end


def _parse(data: bytes) -> Iterator[Event]:
    for line in data.splitlines():
        try:
            yield _EVENT.validate_json(line)
        except ValidationError:  # torn by a process that was killed, or of another version
            continue
