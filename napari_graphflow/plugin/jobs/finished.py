"""Which jobs have ended since the last look, so that each end is reported once."""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from napari_graphflow.jobs.job import Job
from napari_graphflow.jobs.status import ACTIVE, Status
from napari_graphflow.plugin.jobs.presenter import ENDINGS
from napari_graphflow.system.files import replace_file
from napari_graphflow.system.folders import data_root


class FinishedJobs:
    """Finds the jobs that have ended since the last look, also while napari was closed.

    The states of the last look stand in a file beside the folder of jobs. Without a readable one
    nothing is reported, or else all jobs of former years would be. The start of the process belongs
    to a state: a job may be resumed and fail again between two looks.
    """

    def __init__(self) -> None:
        self._seen = _read()

    def update(self, statuses: Mapping[Job, Status]) -> list[Job]:
        """Record the states of now; return the jobs that have ended by themselves since."""
        # Jobs that are gone are kept in mind, because a drive may be away for a while.
        now = dict(self._seen or {})
        for job, status in statuses.items():
            if not self._unreadable(job, status):
                now[job.name] = f"{status.state} {status.process.launched or ''}"
        before, self._seen = self._seen, now
        if now != before:
            _write(now)
        if before is None:
            return []
        return [
            job
            for job, status in statuses.items()
            if status.state in ENDINGS and now.get(job.name) != before.get(job.name)
        ]

    def _unreadable(self, job: Job, status: Status) -> bool:
        """Whether a folder does not answer for a while, which ends a running job only."""
        process = status.process
        silent = status.state == "lost" and process.launched is None and process.pid is None
        state, _, _ = (self._seen or {}).get(job.name, "").partition(" ")
        return silent and state not in ACTIVE


def _read() -> dict[str, str] | None:
    try:
        seen = json.loads(_note().read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    plain = isinstance(seen, dict) and all(isinstance(one, str) for one in seen.values())
    return seen if plain else None


def _write(seen: dict[str, str]) -> None:
    note = _note()
    with suppress(OSError):  # a convenience only, which is missed on a full disk
        note.parent.mkdir(parents=True, exist_ok=True)
        replace_file(note, json.dumps(seen, indent=1).encode())


def _note() -> Path:
    return data_root() / "jobs-seen.json"
