"""``labelling/log.jsonl``: who did what when, append-only."""

import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Literal
from uuid import uuid4

from pydantic import Field, ValidationError

from napari_graphflow.config.settings import Frozen
from napari_graphflow.errors import UserError
from napari_graphflow.jobs.event_log import open_events
from napari_graphflow.labelling.statuses import Action, Status
from napari_graphflow.system.files import locked
from napari_graphflow.system.regular_file import read_regular

#: Seconds to wait for another process that writes to the log.
PATIENCE = 30.0


class Entry(Frozen):
    """One line of the log.

    Parameters
    ----------
    id
        Identifies the entry.
    time
        When it was done, UTC.
    who
        Name of the reader.
    what
        The action; ``found`` is a mask that another program wrote, ``conflict`` a mask that was not
        saved as finished since another one had been meanwhile, ``reread`` one that was drawn again
        without seeing the accepted proposal.
    case
        Name of the case; empty for a round.
    status
        Status of the case before and after.
    from_mask, to_mask
        SHA-256 of the finished mask before and after; empty if there is none.
    voxels
        Voxels that differ from the proposal, or else from the mask before; None if not compared.
    seconds
        Time that the reader took; None if unknown.
    proposal
        SHA-256 of the weights of the model whose proposal was accepted, edited or rejected.
    model
        Its name.
    source
        Program that the mask is from, if another one, such as 3D Slicer.
    note
        A sentence for the reader of the log.
    """

    id: str = Field(default_factory=lambda: uuid4().hex)
    time: datetime
    who: str
    what: Action | Literal["found", "conflict", "reread", "round", "undo"]
    case: str = ""
    status: tuple[Status, Status] | None = None
    from_mask: str = ""
    to_mask: str = ""
    voxels: int | None = None
    seconds: float | None = None
    proposal: str = ""
    model: str = ""
    source: str = ""
    note: str = ""


def append(log: Path, guard: Path, entry: Entry, *, once: bool = False) -> None:
    """Append an entry, synced to disk.

    Parameters
    ----------
    log, guard
        The log, and the file that is locked meanwhile.
    entry
        The entry.
    once
        Whether to look for it first, because it may have been written before a crash.
    """
    with locked(guard, PATIENCE) as free:
        if not free:
            raise UserError("Another program writes to the log of this dataset.", "Try again.")
        if once and any(one.id == entry.id for one in read(log)):
            return
        line = entry.model_dump_json(exclude_none=True).encode() + b"\n"
        with open_events(log) as file:
            file.write(line)
            os.fsync(file.fileno())


def read(log: Path) -> Iterator[Entry]:
    """Yield the entries, oldest first; lines that a killed program left incomplete are skipped."""
    try:
        lines = read_regular(log).splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        try:
            yield Entry.model_validate_json(line)
        except ValidationError:
            continue
