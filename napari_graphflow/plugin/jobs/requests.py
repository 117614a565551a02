"""What a user asks of jobs: pause, resume, cancel, move; carried out without blocking."""

from collections.abc import Callable, Iterator
from typing import Any

from qtpy.QtCore import QObject, Signal

from napari_graphflow.errors import UserError
from napari_graphflow.jobs.job import Job
from napari_graphflow.jobs.queue import move, start_next
from napari_graphflow.jobs.status import Status
from napari_graphflow.jobs.trust import UntrustedError
from napari_graphflow.plugin.jobs.dialogs import ask_to_trust
from napari_graphflow.plugin.jobs.presenter import PAUSING
from napari_graphflow.plugin.widgets.background import Background, LastingBackground
from napari_graphflow.plugin.widgets.panel import Panel
from napari_graphflow.runners import runner_of
from napari_graphflow.system.folders import jobs_root


class Requests(QObject):
    """Carries requests out in the background and remembers those that are not answered yet.

    Attributes
    ----------
    pending
        What is shown of a job until its request is answered, such as ``Cancelling …``.
    answered
        Emitted when a request was carried out or refused.
    """

    answered = Signal()

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel)
        self._panel = panel
        self.pending: dict[Job, str] = {}
        self._cancelling: dict[Job, Iterator[Status]] = {}
        self._pausing: set[Job] = set()
        # A cluster that is slow to respond does not delay the jobs of this computer.
        self._clusters, self._local = Background(self), LastingBackground(self)

    def stop(self) -> None:
        """Stop, once a job that is being started is so."""
        self._clusters.stop()
        self._local.stop()

    def advance(self, status: Callable[[Job], Status]) -> None:
        """Look at the jobs that are being paused or cancelled."""
        for job, steps in list(self._cancelling.items()):
            try:
                ended = next(steps, None) is None
            except UserError as error:
                self._panel.fail(error)
                ended = True
            if ended:
                del self._cancelling[job], self.pending[job]
        for job in list(self._pausing):
            if status(job).state != "running":
                self._pausing.discard(job)
                self.pending.pop(job, None)

    def pause(self, job: Job) -> None:
        """Ask a running job to save a checkpoint and stop."""
        try:
            job.pause()
        except UserError as error:
            self._panel.fail(error)
            return
        self._pausing.add(job)
        self.pending[job] = PAUSING

    def resume(self, job: Job, status: Status) -> None:
        """Continue a job that is paused or has failed."""
        self._run(job, status, "Resuming …", lambda: runner_of(job).submit(job))

    def cancel(self, job: Job, status: Status) -> None:
        """End a job."""
        if status.process.runner:
            self._run(job, status, "Cancelling …", lambda: runner_of(job).cancel(job))
            return
        try:
            self._cancelling[job] = job.begin_cancel()
            self._pausing.discard(job)
            self.pending[job] = "Cancelling …"
        except UserError as error:
            self._panel.fail(error)

    def move(self, job: Job, status: Status, places: int) -> None:
        """Move a waiting job in the queue."""
        self._run(job, status, "Moving …", lambda: move(job, places))

    def checkpoint(self, job: Job) -> None:
        """Ask a running job to save a checkpoint."""
        try:
            job.checkpoint()
        except UserError as error:
            self._panel.fail(error)

    def remove(self, job: Job) -> None:
        """Delete the folder of a job."""
        self._local.run(job.delete, lambda _: self.answered.emit(), self._panel.fail)

    def start_waiting(self) -> None:
        """Start waiting jobs, in case no other process does."""
        if not self._local.busy():
            self._local.run(lambda: start_next(jobs_root()), lambda _: None, lambda _: None)

    def poll(self, queued: list[Job]) -> None:
        """Update the states of jobs on clusters."""
        if queued and not self._clusters.busy():
            self._clusters.run(lambda: _poll(queued), lambda _: None, lambda _: None)

    def _run(self, job: Job, status: Status, text: str, action: Callable[[], Any]) -> None:
        def done(error: Exception | None) -> None:
            del self.pending[job]
            self.answered.emit()
            if isinstance(error, UntrustedError):
                ask_to_trust(self._panel, job, lambda: self._run(job, status, text, action))
            elif error is not None:
                self._panel.fail(error)

        self.pending[job] = text
        background = self._clusters if status.process.runner else self._local
        background.run(action, lambda _: done(None), done)


def _poll(queued: list[Job]) -> None:
    for job in queued:
        runner_of(job).poll(job)
