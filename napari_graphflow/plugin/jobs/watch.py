"""The states of all jobs, polled from their folders without blocking the window."""

import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from napari_graphflow.jobs.job import Job
from napari_graphflow.jobs.status import Status
from napari_graphflow.jobs.store import list_jobs, unreadable_jobs
from napari_graphflow.system.folders import jobs_root

SETTLED_S = 3.0
#: Number of jobs whose modification time is checked per refresh.
STATS = 32
#: Seconds after which a state is read again even if its file has not changed.
READ_EVERY_S = 5.0


class Watch:
    """The jobs of this user and their last known states.

    Any process may change a job at any time: another window, a terminal, the job itself.

    Attributes
    ----------
    jobs
        The newest first.
    statuses
        The state of each.
    unreadable
        Folders whose settings cannot be read.
    """

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self.unreadable: list[Path] = []
        self.statuses: dict[Job, Status] = {}
        self._listed: float | None = None
        self._written: dict[Job, int] = {}
        self._read: dict[Job, float] = {}
        self._turn = 0

    def refresh_jobs(self, *, force: bool = False) -> bool:
        """List the jobs if their folder has changed; return whether the list has changed."""
        root = jobs_root()
        changed = 0.0
        with suppress(OSError):  # not created yet, or on an unavailable drive
            changed = root.stat().st_mtime
        # A folder created by another process becomes a job a moment later.
        settled = changed == self._listed and time.time() - changed > SETTLED_S
        if settled and not force:
            return False
        first, self._listed = self._listed is None, changed
        before, self.jobs = (self.jobs, self.unreadable), list_jobs()
        self.unreadable = unreadable_jobs()
        for job in self.jobs:
            if job not in self.statuses:
                self.read(job)
        self.statuses = {job: self.statuses[job] for job in self.jobs}
        return first or (self.jobs, self.unreadable) != before

    def read(self, job: Job) -> Status:
        """Read and return the state of a job."""
        self._written[job] = _written(job)
        self._read[job] = time.monotonic()
        self.statuses[job] = job.status()
        return self.statuses[job]

    def refresh_statuses(self, closely: Collection[Job]) -> dict[Job, Status]:
        """Read the states of running jobs and of those in `closely`, and of the others in turn.

        Returns
        -------
        changed
            The states that have changed.
        """
        due = {job for job, s in self.statuses.items() if s.active and not s.waiting}
        due.update(job for job in closely if job in self.statuses)
        for job in self._in_turn():
            old = time.monotonic() - self._read[job] > READ_EVERY_S
            if old or _written(job) != self._written[job]:
                due.add(job)
        before = {job: self.statuses[job] for job in due}
        return {job: now for job in due if (now := self.read(job)) != before[job]}

    def _in_turn(self) -> list[Job]:
        number = len(self.jobs)
        indices = range(self._turn, self._turn + min(STATS, number))
        self._turn = indices.stop
        return [self.jobs[index % number] for index in indices]


def _written(job: Job) -> int:
    try:
        return job.status_file.stat().st_mtime_ns
    except OSError:  # not written yet, or gone
        return 0
