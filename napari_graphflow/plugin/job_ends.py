"""Which jobs have ended since somebody looked, so that each end is told once."""

from collections.abc import Mapping

from napari_graphflow.jobs import Job, Status
from napari_graphflow.jobs.records import ACTIVE

TOLD = ("done", "failed", "lost")


class Ends:
    """Knows how far each job was at the last look.

    A state alone would not do: a job may be resumed and fail again between two looks.
    """

    def __init__(self) -> None:
        self._seen: dict[str, str] | None = None

    def news(self, statuses: Mapping[Job, Status]) -> list[Job]:
        """Take note of the states of now; returns the jobs that have ended by themselves since."""
        # Jobs that are gone are kept in mind, because a drive may be away for a while.
        now = dict(self._seen or {})
        for job, status in statuses.items():
            if not self._unreadable(job, status):
                now[job.name] = f"{status.state} {status.launched or ''}"
        before, self._seen = self._seen, now
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
