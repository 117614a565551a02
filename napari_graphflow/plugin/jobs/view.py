"""The job list, with the progress, curves and buttons of the selected job."""

import atexit
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from napari.utils.notifications import show_error, show_info, show_warning
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QCheckBox, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_graphflow.errors import UserError
from napari_graphflow.jobs.event_log import read_events
from napari_graphflow.jobs.job import Job
from napari_graphflow.jobs.queue import move, start_next
from napari_graphflow.jobs.status import Status
from napari_graphflow.jobs.trust import UntrustedError
from napari_graphflow.plugin.jobs.curves import Curves
from napari_graphflow.plugin.jobs.dialogs import (
    Preview,
    ask_to_remove,
    ask_to_trust,
    show_log,
    show_settings,
)
from napari_graphflow.plugin.jobs.finished import FinishedJobs
from napari_graphflow.plugin.jobs.presenter import (
    Details,
    details,
    listing,
    notification,
    removal_question,
    table_row,
)
from napari_graphflow.plugin.jobs.table import JobsTable
from napari_graphflow.plugin.jobs.watch import Watch
from napari_graphflow.plugin.widgets.background import Background
from napari_graphflow.plugin.widgets.layout import note, row
from napari_graphflow.plugin.widgets.panel import Panel, StatusLine
from napari_graphflow.plugin.widgets.progress import ProgressRow
from napari_graphflow.runners import runner_of
from napari_graphflow.system.events import Event
from napari_graphflow.system.folders import jobs_root

INTERVAL_MS = 500
#: Seconds between two checks whether a waiting job can start, in case a killed job did not start
#: the next one.
QUEUE_EVERY_S = 5.0
#: Seconds that closing the window may wait for a job that is being started.
LEAVING_S = 3.0
#: Seconds per refresh for reading the events of a job.
READ_S = 0.01

NOTIFY: dict[str, Callable[[str], None]] = {
    "done": show_info,
    "warn": show_warning,
    "fail": show_error,
}


class JobsView(QWidget):
    """Monitors the job folder; everything it shows is read from there.

    Parameters
    ----------
    panel
        The dock that contains it and shows errors.
    use_model
        Called with the folder of a finished model that the user wants to use.
    """

    def __init__(self, panel: Panel, use_model: Callable[[Path], None]) -> None:
        super().__init__()
        self._panel, self._use_model = panel, use_model
        self._watch, self._finished = Watch(), FinishedJobs()
        self._cancelling: dict[Job, Iterator[Status]] = {}
        self._pending: dict[Job, str] = {}  # shown until the request is answered
        self._shown: Job | None = None
        self._offset = 0
        self._background, self._starts = Background(self), Background(self)
        # napari does not close its docks at exit, which must not lose a job that is being started.
        self._finish = partial(self._starts.finish, LEAVING_S)
        atexit.register(self._finish)
        self._queue_seen = time.monotonic()

        self.table = JobsTable()
        self.only = QCheckBox("this dataset only")
        self.only.setToolTip("List only jobs of the dataset chosen above.")
        self.only.hide()
        self._dataset: Path | None = None
        self.empty = note()
        self.progress = ProgressRow()
        self.progress.cancel.hide()
        self.status = StatusLine()
        self.curves = Curves()
        self.pause = QPushButton("Pause")
        self.pause.setToolTip(
            "Save a checkpoint and stop the process; Resume continues from the checkpoint."
        )
        self.cancel = QPushButton("Cancel")
        self.checkpoint = QPushButton("Checkpoint")
        self.checkpoint.setToolTip("Save a checkpoint now and continue.")
        self.up, self.down = QPushButton("Move up"), QPushButton("Move down")
        self.up.setToolTip("Move this job up in the queue.")
        self.down.setToolTip("Move this job down in the queue.")
        self.log = QPushButton("Log")
        self.settings = QPushButton("Settings")
        self.preview = Preview()
        self.use = QPushButton("Use this model")
        self.remove = QPushButton("Remove …")
        self.remove.setToolTip("Delete the folder of this job.")
        self._details = QWidget()

        details = QVBoxLayout(self._details)
        details.setContentsMargins(0, 0, 0, 0)
        details.setSpacing(6)
        details.addWidget(self.progress)
        details.addWidget(self.status)
        details.addLayout(row(self.pause, self.cancel, self.use, stretch=-1))
        details.addLayout(
            row(
                self.checkpoint,
                self.up,
                self.down,
                self.log,
                self.settings,
                self.remove,
                stretch=-1,
            )
        )
        details.addWidget(self.curves)
        details.addWidget(self.preview)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(6)
        title = row(QLabel("<b>Jobs</b>"), self.only, stretch=0)
        column.addLayout(title)
        column.addWidget(self.empty)
        column.addWidget(self.table)
        column.addWidget(self._details)

        self.only.toggled.connect(self._fill)
        self.table.itemSelectionChanged.connect(self._select)
        self.pause.clicked.connect(self._pause_or_resume)
        self.cancel.clicked.connect(self._cancel)
        self.checkpoint.clicked.connect(self._checkpoint)
        self.up.clicked.connect(lambda: self._move(-1))
        self.down.clicked.connect(lambda: self._move(1))
        self.log.clicked.connect(self._show_log)
        self.settings.clicked.connect(self._show_settings)
        self.use.clicked.connect(self._use)
        self.remove.clicked.connect(self._remove)
        self._timer = QTimer(self)
        self._timer.setInterval(INTERVAL_MS)
        self._timer.timeout.connect(self.refresh)
        self._timer.start()
        self.refresh()

    def jobs(self) -> list[Job]:
        """Return the listed jobs, the newest first."""
        return list(self.table.jobs)

    def choose(self, job: Job) -> None:
        """Select a job and show its details."""
        if self._watch.refresh_jobs(force=True):
            self._fill()
        self.refresh()
        if job not in self.table.jobs:
            self.only.setChecked(False)
        self.table.choose(job)

    def show_dataset(self, folder: Path | None) -> None:
        """Offer the filter for a dataset."""
        folder = None if folder is None else folder.resolve()
        self.only.setVisible(folder is not None)
        if folder != self._dataset:
            self._dataset = folder
            self._fill()

    def selected(self) -> Job | None:
        """Return the job whose details are shown."""
        return self._shown

    def start(
        self,
        action: Callable[[], Job],
        done: Callable[[Job], None],
        failed: Callable[[Exception], None],
    ) -> None:
        """Start a new local job in the background, because drivers may take seconds to respond."""
        self._starts.run(action, done, failed)

    def stop(self) -> None:
        """Stop monitoring."""
        self._timer.stop()
        self._background.stop()
        atexit.unregister(self._finish)
        self._finish()
        self._starts.stop()

    def refresh(self) -> None:
        """Update the list, the states and the details."""
        self._refresh()

    def _refresh(self, also: Iterable[Job] = ()) -> None:
        if self._watch.refresh_jobs():
            self._fill()
        for job, steps in list(self._cancelling.items()):
            try:
                ended = next(steps, None) is None
            except UserError as error:
                self._panel.fail(error)
                ended = True
            if ended:
                del self._cancelling[job], self._pending[job]
        closely = {*also, *self._pending, *([self._shown] if self._shown else [])}
        for job, status in self._watch.refresh_statuses(closely).items():
            self.table.fill(job, table_row(job, status))
        self._announce(self._finished.update(self._watch.statuses))
        self._check_queue()
        self._refresh_details()

    def _check_queue(self) -> None:
        """Start waiting jobs and poll clusters, in case no other process does."""
        if time.monotonic() - self._queue_seen < QUEUE_EVERY_S:
            return
        self._queue_seen = time.monotonic()
        if self._watch.jobs and not self._starts.busy():
            self._starts.run(lambda: start_next(jobs_root()), lambda _: None, lambda _: None)
        statuses = self._watch.statuses.items()
        queued = [job for job, s in statuses if s.process.runner and s.state == "queued"]
        if queued and not self._background.busy():
            self._background.run(lambda: _poll(queued), lambda _: None, lambda _: None)

    def _fill(self) -> None:
        dataset = self._dataset if self.only.isChecked() else None
        found = listing(self._watch.jobs, dataset, self._watch.unreadable)
        statuses = self._watch.statuses
        self.table.list_jobs(found.jobs, lambda job: table_row(job, statuses[job]), self._shown)
        self.empty.setText(found.note)
        self.empty.setVisible(bool(found.note))
        self._select()

    def _select(self) -> None:
        job = self.table.selected()
        if job != self._shown or job is None:
            self._shown, self._offset = job, 0
            self.curves.clear()
            self.preview.show_job(job)
        self._refresh_details()

    def _refresh_details(self) -> None:
        job = self._shown
        self._details.setVisible(job is not None)
        if job is None:
            return
        self._read_events(job)
        self.preview.refresh()
        self.curves.setVisible(not self.curves.empty())
        statuses = self._watch.statuses
        if job not in statuses:
            statuses = {**statuses, job: job.status()}
        self._show(
            details(job, statuses, pending=self._pending.get(job, ""), log=job.log.is_file())
        )

    def _show(self, shown: Details) -> None:
        progress, buttons = shown.progress, shown.buttons
        if progress is None:
            self.progress.hide()
        elif progress.text:
            self.progress.wait(progress.text)
        else:
            self.progress.advance(progress.step, progress.total, progress.eta_s)
        self.status.show_message(shown.message)
        self.pause.setText("Resume" if buttons.resume else "Pause")
        self.pause.setEnabled(buttons.pause)
        self.cancel.setEnabled(buttons.cancel)
        self.checkpoint.setVisible(buttons.shows_checkpoint)
        for button in (self.up, self.down):
            button.setVisible(buttons.shows_move)
            button.setEnabled(buttons.move)
        self.log.setEnabled(buttons.log)
        self.use.setVisible(buttons.shows_use)
        self.remove.setVisible(buttons.shows_remove)

    def _read_events(self, job: Job) -> None:
        """Read new events; a long history takes several refreshes."""
        self.curves.add(self._new_events(job))

    def _new_events(self, job: Job) -> Iterator[Event]:
        # One by one: thousands at once would trigger the garbage collection, which traverses all
        # objects of the window.
        end = time.monotonic() + READ_S
        while True:
            before = self._offset
            events, self._offset = read_events(job.events_file, before)
            yield from events
            if self._offset == before or time.monotonic() > end:
                return

    def _announce(self, ended: list[Job]) -> None:
        """Notify about jobs that have ended since the last check."""
        message = notification(ended, self._watch.statuses)
        if message is not None:
            NOTIFY[message.level](message.text)

    def _pause_or_resume(self) -> None:
        job = self._shown
        if job is None:
            return
        if self._watch.statuses[job].active:
            self._try(job.pause)
        else:
            self._request(job, "Resuming …", lambda: runner_of(job).submit(job))
        self.refresh()

    def _cancel(self) -> None:
        job = self._shown
        if job is None:
            return
        try:
            if self._watch.statuses[job].process.runner:
                self._request(job, "Cancelling …", lambda: runner_of(job).cancel(job))
            else:
                self._cancelling[job] = job.begin_cancel()
                self._pending[job] = "Cancelling …"
        except UserError as error:
            self._panel.fail(error)
        self.refresh()

    def _request(self, job: Job, text: str, action: Callable[[], Any]) -> None:
        """Run a request in the background and show `text` until it is answered."""

        def answered(error: Exception | None) -> None:
            # The positions of waiting jobs may have changed.
            self._refresh(also=[one for one, s in self._watch.statuses.items() if s.waiting])
            del self._pending[job]
            self._refresh_details()
            if isinstance(error, UntrustedError):
                ask_to_trust(self, job, lambda: self._request(job, text, action))
            elif error is not None:
                self._panel.fail(error)

        self._pending[job] = text
        background = self._background if self._watch.statuses[job].process.runner else self._starts
        background.run(action, lambda _: answered(None), answered)

    def _checkpoint(self) -> None:
        if self._shown is not None:
            self._try(self._shown.checkpoint)

    def _move(self, places: int) -> None:
        job = self._shown
        if job is not None:
            self._request(job, "Moving …", lambda: move(job, places))
            self.refresh()

    def _try(self, action: Callable[[], None]) -> None:
        try:
            action()
        except UserError as error:
            self._panel.fail(error)

    def _show_log(self) -> None:
        if self._shown is not None:
            show_log(self._shown, self)

    def _show_settings(self) -> None:
        if self._shown is not None:
            show_settings(self._shown, self)

    def _remove(self) -> None:
        job = self._shown
        if job is None:
            return
        text = removal_question(job.title, bool(self._watch.statuses[job].run.model))

        def removed(_: Any) -> None:
            if self._watch.refresh_jobs(force=True):
                self._fill()
            self.refresh()

        ask_to_remove(self, text, lambda: self._starts.run(job.delete, removed, self._panel.fail))

    def _use(self) -> None:
        if self._shown is not None:
            self._use_model(self._shown.folder / self._watch.statuses[self._shown].run.model)


def _poll(queued: list[Job]) -> None:
    """Update the states of jobs on clusters."""
    for job in queued:
        runner_of(job).poll(job)
