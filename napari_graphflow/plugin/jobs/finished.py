"""Which jobs have ended since somebody looked, so that each end is told once."""

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from napari_graphflow.jobs.job import Job
from napari_graphflow.jobs.status import ACTIVE, Status
from napari_graphflow.system.folders import data_root

#: How the end of a job is called; who paused or cancelled it knows.
TOLD = {"done": "is done", "failed": "failed", "lost": "ended too early"}


MOST_NAMED = 4


class Ends:
    """Knows how far each job was at the last look, be it of a napari that was closed meanwhile.

    It is noted beside the folder of jobs. Without a readable note there is nothing to tell: nobody
    wants to hear of the jobs of all years. A state alone would not do: a job may be resumed and
    fail again between two looks.
    """

    def __init__(self) -> None:
        self._seen = _read()

    def news(self, statuses: Mapping[Job, Status]) -> list[Job]:
        """Take note of the states of now; returns the jobs that have ended by themselves since."""
        # Jobs that are gone are kept in mind, because a drive may be away for a while.
        now = dict(self._seen or {})
        for job, status in statuses.items():
            if not self._unreadable(job, status):
                now[job.name] = f"{status.state} {status.launched or ''}"
        before, self._seen = self._seen, now
        if now != before:
            _write(now)
        if before is None:
            return []
        return [
            job
            for job, status in statuses.items()
            if status.state in TOLD and now.get(job.name) != before.get(job.name)
        ]

    def _unreadable(self, job: Job, status: Status) -> bool:
        """Whether a folder does not answer for a while, which ends a running job only."""
        silent = status.state == "lost" and status.launched is None and status.pid is None
        state, _, _ = (self._seen or {}).get(job.name, "").partition(" ")
        return silent and state not in ACTIVE


def in_a_sentence(jobs: Sequence[Job], statuses: Mapping[Job, Status]) -> str:
    """Tell how several jobs have ended."""
    parts = [f"{job.title} {TOLD[statuses[job].state]}" for job in jobs[:MOST_NAMED]]
    if len(jobs) > MOST_NAMED:
        parts.append(f"{len(jobs) - MOST_NAMED} more have ended")
    *first, last = parts
    return f"{', '.join(first)} and {last}." if first else f"{last}."


def _read() -> dict[str, str] | None:
    try:
        seen = json.loads(_note().read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    plain = isinstance(seen, dict) and all(isinstance(one, str) for one in seen.values())
    return seen if plain else None


def _write(seen: dict[str, str]) -> None:
    note = _note()
    aside = note.with_name(f".{note.name}.{os.getpid()}.part")
    with suppress(OSError):  # a convenience only, which is missed on a full disk
        try:
            note.parent.mkdir(parents=True, exist_ok=True)
            aside.write_text(json.dumps(seen, indent=1), "utf-8")
            aside.replace(note)
        finally:
            aside.unlink(missing_ok=True)


def _note() -> Path:
    return data_root() / "jobs-seen.json"
