"""The job of a tab: progress, pause, resume and cancel; it goes on when napari is closed."""

from collections.abc import Iterator
from typing import Any

from qtpy.QtCore import QTimer, Signal
from qtpy.QtWidgets import QPushButton, QVBoxLayout, QWidget

from napari_graphflow.errors import UserError
from napari_graphflow.jobs.job import Job
from napari_graphflow.jobs.status import Status
from napari_graphflow.plugin.jobs.presenter import details
from napari_graphflow.plugin.widgets.layout import row
from napari_graphflow.plugin.widgets.panel import Panel, StatusLine
from napari_graphflow.plugin.widgets.progress import ProgressRow
from napari_graphflow.runners import runner

_TICK_MS = 700


class JobBar(QWidget):
    """Follows one job; hidden without one that is running, waiting or paused."""

    #: The job has ended, with its status.
    ended = Signal(object)
    #: The job has done a step.
    advanced = Signal()

    def __init__(self, panel: Panel) -> None:
        super().__init__()
        self._panel = panel
        self.job: Job | None = None
        self._steps: Iterator[Status] | None = None
        self._resuming = False
        self._step = -1
        self.progress, self.status = ProgressRow(), StatusLine()
        self.progress.cancel.hide()
        self.pause, self.cancel = QPushButton("Pause"), QPushButton("Cancel")
        self.pause.setToolTip("Stop the process; Resume continues where it was.")
        self._timer = QTimer(self)
        self._timer.setInterval(_TICK_MS)
        self._timer.timeout.connect(self.refresh)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.progress)
        column.addWidget(self.status)
        column.addLayout(row(self.pause, self.cancel, stretch=-1))
        self.pause.clicked.connect(self._pause_or_resume)
        self.cancel.clicked.connect(self._cancel)
        self.hide()

    def follow(self, job: Job | None) -> None:
        """Follow another job, or none."""
        if job is not None and self.job == job:
            return
        self.job, self._steps, self._step = job, None, -1
        self._resuming = False
        self.setVisible(job is not None)
        if job is None:
            self._timer.stop()
            return
        self._timer.start()
        self.refresh()

    def stop(self) -> None:
        """Follow no job; it goes on."""
        self._timer.stop()
        self.job = None

    def refresh(self) -> None:
        """Show the state of the job."""
        job = self.job
        if job is None:
            return
        if self._steps is not None and next(self._steps, None) is None:
            self._steps = None
        status = job.status()
        if not status.active and status.state not in ("paused", "created"):
            if not self._resuming:
                self.follow(None)
                self.ended.emit((job, status))
            return
        if status.active:
            self._resuming = False
        self._show(job, status)
        if status.run.step != self._step:
            self._step = status.run.step
            self.advanced.emit()

    def _show(self, job: Job, status: Status) -> None:
        pending = "Cancelling …" if self._steps else "Resuming …" if self._resuming else ""
        shown = details(job, {job: status}, pending=pending)
        run = status.run
        if shown.progress is None and run.total:  # paused
            self.progress.advance(run.step, run.total, None)
        elif shown.progress is None:
            self.progress.hide()
        elif shown.progress.text:
            self.progress.wait(shown.progress.text)
        else:
            self.progress.advance(shown.progress.step, shown.progress.total, shown.progress.eta_s)
        self.status.show_message(shown.message)
        self.pause.setText("Resume" if shown.buttons.resume else "Pause")
        self.pause.setEnabled(shown.buttons.pause)
        self.cancel.setEnabled(not pending)

    def _pause_or_resume(self, _: bool = False) -> None:
        job = self.job
        if job is None:
            return
        try:
            if job.status().active:
                job.pause()
            else:
                self._resuming = True
                self._panel.background.run(
                    lambda: runner("local").submit(job), lambda _: None, self._not_resumed
                )
        except UserError as error:
            self._panel.fail(error)
        self.refresh()

    def _not_resumed(self, error: Exception) -> None:
        self._resuming = False
        self._panel.fail(error)

    def _cancel(self, _: bool = False) -> None:
        job = self.job
        if job is None:
            return
        try:
            self._steps = job.begin_cancel()
        except UserError as error:
            self._panel.fail(error)
        self.refresh()


def unfinished(job: Job) -> bool:
    """Whether a job runs, waits or is paused; the bar shows it."""
    status: Any = job.status()
    return bool(status.active or status.state == "paused")
