"""*Jobs*: the list of all jobs, with progress, curves and buttons of the selected one."""

import time
from dataclasses import replace
from pathlib import Path

from napari.components import ViewerModel
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QComboBox, QInputDialog

from napari_graphflow.config.model_card import read_model_card
from napari_graphflow.errors import UserError
from napari_graphflow.jobs.job import Job
from napari_graphflow.labelling.rounds import is_default
from napari_graphflow.plugin.jobs.announcer import announce, announce_ends
from napari_graphflow.plugin.jobs.details import JobDetails
from napari_graphflow.plugin.jobs.dialogs import ask_to_remove, show_log, show_settings
from napari_graphflow.plugin.jobs.finished import FinishedJobs
from napari_graphflow.plugin.jobs.list import JobsList
from napari_graphflow.plugin.jobs.presenter import (
    datasets_of,
    details,
    levels,
    listing,
    removal_question,
    table_row,
)
from napari_graphflow.plugin.jobs.requests import Requests
from napari_graphflow.plugin.jobs.watch import Watch
from napari_graphflow.plugin.widgets.docks import show_dock
from napari_graphflow.plugin.widgets.keys import button_keys
from napari_graphflow.plugin.widgets.layout import note, shrinkable
from napari_graphflow.plugin.widgets.panel import Panel
from napari_graphflow.plugin.widgets.words import Message

INTERVAL_MS = 500
#: Seconds between two checks whether a waiting job can start, in case a killed job did not start
#: the next one.
QUEUE_EVERY_S = 5.0
ALL = "All datasets"


class JobsWidget(Panel):
    """Monitors the folder of jobs; everything it shows is read from there."""

    def __init__(self, napari_viewer: ViewerModel) -> None:
        super().__init__(napari_viewer)
        self._watch, self._finished = Watch(), FinishedJobs()
        self._shown: Job | None = None
        self._error: Message | None = None  # shown until the next click
        self._queue_seen = time.monotonic()
        self._requests = Requests(self)
        self.dataset = QComboBox()
        self.dataset.setToolTip("List only the jobs of one dataset.")
        shrinkable(self.dataset, entry_as_tip=False)
        self.list = JobsList()
        self.empty = note()
        self.details = JobDetails(self.status)
        self.column.addWidget(self.dataset)
        self.column.addWidget(self.empty)
        self.column.addWidget(self.list)
        self.column.addWidget(self.details)
        self.column.addStretch(1)

        shown = self.details
        self.dataset.activated.connect(self._fill)
        self.list.itemSelectionChanged.connect(self._select)
        shown.pause.clicked.connect(self._pause_or_resume)
        shown.cancel.clicked.connect(self._cancel)
        shown.checkpoint.clicked.connect(self._checkpoint)
        shown.up.clicked.connect(lambda: self._move(-1))
        shown.down.clicked.connect(lambda: self._move(1))
        shown.log.clicked.connect(self._show_log)
        shown.settings.clicked.connect(self._show_settings)
        shown.use.clicked.connect(self._use)
        shown.rename.clicked.connect(self._rename)
        shown.remove.clicked.connect(self._remove)
        buttons = {"pause": shown.pause, "cancel": shown.cancel, "checkpoint": shown.checkpoint}
        self._keys = button_keys(self, "jobs_keys", buttons, self.status.warn)
        self._requests.answered.connect(self._answered)
        self.themed.connect(self._set_colours)
        self._set_colours()
        self._timer = QTimer(self)
        self._timer.setInterval(INTERVAL_MS)
        self._timer.timeout.connect(self.refresh)
        self._timer.start()
        self.refresh()
        announce_ends(self)

    def jobs(self) -> list[Job]:
        """Return the listed jobs, the newest first."""
        return list(self.list.jobs)

    def choose(self, job: Job) -> None:
        """Select a job and show its details."""
        if self._watch.refresh_jobs(force=True):
            self._fill()
        self.refresh()
        if job not in self.list.jobs:
            self.dataset.setCurrentIndex(0)
            self._fill()
        self.list.choose(job)

    def selected(self) -> Job | None:
        """Return the job whose details are shown."""
        return self._shown

    def fail(self, error: Exception) -> None:
        """Show an error until the next click, although the status line follows the job."""
        super().fail(error)
        self._error = Message(str(error), "fail")

    def released(self) -> None:
        """Stop monitoring; the jobs keep running."""
        super().released()
        self._timer.stop()
        self._requests.stop()

    def refresh(self) -> None:
        """Update the list, the states and the details."""
        if self._watch.refresh_jobs():
            self._fill()
        self._requests.advance(self._watch.read)
        closely = {*self._requests.pending, *([self._shown] if self._shown else [])}
        for job, status in self._watch.refresh_statuses(closely).items():
            self.list.fill(job, table_row(job, status))
        self._announce()
        self._check_queue()
        self._refresh_details()

    def _announce(self) -> None:
        """Notify about jobs that have ended since the last check."""
        ended = self._finished.update(self._watch.statuses)
        announce(ended, self._watch.statuses)

    def _check_queue(self) -> None:
        """Start waiting jobs and poll clusters, in case no other process does."""
        if time.monotonic() - self._queue_seen < QUEUE_EVERY_S:
            return
        self._queue_seen = time.monotonic()
        if self._watch.jobs:
            self._requests.start_waiting()
        statuses = self._watch.statuses.items()
        self._requests.poll([j for j, s in statuses if s.process.runner and s.state == "queued"])

    def _fill(self, _: int = 0) -> None:
        self._list_datasets()
        watch = self._watch
        found = listing(watch.jobs, self.dataset.currentData(), watch.unreadable)
        statuses = self._watch.statuses
        self.list.list_jobs(found.jobs, lambda job: table_row(job, statuses[job]), self._shown)
        self.empty.setText(found.note)
        self.empty.setVisible(bool(found.note))
        self._select()

    def _list_datasets(self) -> None:
        """Offer the datasets of the jobs, if there are several."""
        chosen, found = self.dataset.currentData(), datasets_of(self._watch.jobs)
        self.dataset.clear()
        self.dataset.addItem(ALL, None)
        for folder in found:
            self.dataset.addItem(folder.name, folder)
        index = found.index(chosen) + 1 if chosen in found else 0
        self.dataset.setCurrentIndex(index)
        self.dataset.setVisible(len(found) > 1)

    def _select(self) -> None:
        job = self.list.selected()
        if job != self._shown or job is None:
            self._shown, self._error = job, None
            self.details.show_job(job)
        self._refresh_details()

    def _refresh_details(self) -> None:
        job = self._shown
        self.details.setVisible(job is not None)
        if job is None:
            return
        statuses = self._watch.statuses
        if job not in statuses:
            statuses = {**statuses, job: job.status()}
        pending = self._requests.pending.get(job, "")
        shown = details(
            job,
            statuses,
            pending=pending,
            log=job.log.is_file(),
            kept=job.last_checkpoint.is_file(),
        )
        if self._error is not None and not pending:
            shown = replace(shown, message=self._error)
        self.details.present(shown, levels(job, statuses))

    def _clicked(self) -> Job | None:
        """Return the job of a button that was clicked; its last error is history."""
        self._error = None
        return self._shown

    def _answered(self) -> None:
        if self._watch.refresh_jobs(force=True):
            self._fill()
        # The positions of waiting jobs may have changed.
        for job in self._watch.jobs:
            if self._watch.statuses[job].waiting:
                self._watch.read(job)
        self.refresh()

    def _pause_or_resume(self) -> None:
        job = self._clicked()
        if job is None:
            return
        status = self._watch.statuses[job]
        if status.active:
            self._requests.pause(job)
        else:
            self._requests.resume(job, status)
        self._refresh_details()

    def _cancel(self) -> None:
        job = self._clicked()
        if job is not None:
            self._requests.cancel(job, self._watch.statuses[job])
            self._refresh_details()

    def _checkpoint(self) -> None:
        job = self._clicked()
        if job is not None:
            self._requests.checkpoint(job)

    def _move(self, places: int) -> None:
        job = self._clicked()
        if job is not None:
            self._requests.move(job, self._watch.statuses[job], places)
            self._refresh_details()

    def _show_log(self) -> None:
        if self._shown is not None:
            show_log(self._shown, self)

    def _show_settings(self) -> None:
        if self._shown is not None:
            show_settings(self._shown, self)

    def _rename(self) -> None:
        job = self._clicked()
        if job is None:
            return
        dialog = QInputDialog(self)
        dialog.setObjectName("graphflow-rename-job")
        dialog.setWindowTitle("Rename job")
        dialog.setLabelText("Name of the job:")
        dialog.setTextValue(job.title)
        dialog.textValueSelected.connect(lambda title: self._set_title(job, title))
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()

    def _set_title(self, job: Job, title: str) -> None:
        try:
            job.rename(title)
        except OSError as error:
            self.fail(UserError(f"The name cannot be saved: {error.strerror}.", "Try again."))
        self.list.fill(job, table_row(job, self._watch.read(job)))

    def _remove(self) -> None:
        job = self._clicked()
        if job is not None:
            text = removal_question(
                job.title, bool(self._watch.statuses[job].run.model), is_default(job)
            )
            ask_to_remove(self, text, lambda: self._requests.remove(job))

    def _use(self) -> None:
        """Choose a teacher in *Distil*, a student in *Segment*."""
        if self._shown is None:
            return
        folder: Path = self._shown.folder / self._watch.statuses[self._shown].run.model
        try:
            role = read_model_card(folder).role
        except UserError as error:
            self.fail(error)
            return
        if role == "teacher":
            show_dock(self.viewer, "Distil").use_teacher(folder)
        else:
            show_dock(self.viewer, "Segment").model.choose(folder)

    def _set_colours(self) -> None:
        self.list.set_colours(self.colours)
        self.details.set_colours(self.colours)
