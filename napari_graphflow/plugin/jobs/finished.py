"""Detect jobs that have ended since the last check, so that each end is reported once."""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from napari_graphflow.jobs.job import Job
from napari_graphflow.jobs.status import ACTIVE, Status
from napari_graphflow.plugin.jobs.presenter import ENDINGS
from napari_graphflow.system.files import parse_json, replace_file
from napari_graphflow.system.folders import data_root
from napari_graphflow.system.regular_file import read_regular


class FinishedJobs:
    """Finds the jobs that have ended since the last check, also while napari was closed.

    The last states are stored in a file next to the job folder. If it cannot be read, nothing is
    reported, because otherwise all old jobs would be. A state includes the start of the process,
    because a job may be resumed and fail again between two checks.
    """

    def __init__(self) -> None:
        self._seen = _read()

    def update(self, statuses: Mapping[Job, Status]) -> list[Job]:
        """Record the current states; return the jobs that were done, failed or lost since."""
        # Missing jobs are kept, because a drive may be temporarily unavailable.
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
        """Whether the folder is temporarily unreadable, which loses only an active job."""
        process = status.process
        silent = status.state == "lost" and process.launched is None and process.pid is None
        state, _, _ = (self._seen or {}).get(job.name, "").partition(" ")
        return silent and state not in ACTIVE


def _read() -> dict[str, str] | None:
    try:
        seen = parse_json(read_regular(_states_file()))
    except (OSError, ValueError):
        return None
    plain = isinstance(seen, dict) and all(isinstance(one, str) for one in seen.values())
    return seen if plain else None


def _write(seen: dict[str, str]) -> None:
    file = _states_file()
    with suppress(OSError):  # only a convenience, for example on a full disk
        file.parent.mkdir(parents=True, exist_ok=True)
        replace_file(file, json.dumps(seen, indent=1).encode())


def _states_file() -> Path:
    return data_root() / "jobs-seen.json"
