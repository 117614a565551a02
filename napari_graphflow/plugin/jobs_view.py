"""The list of trainings and distillations, with the bar, the curves and the buttons of one."""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from napari.utils.notifications import show_error, show_info
from qtpy.QtCore import Qt, QTimer
from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QLabel,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_graphflow.errors import UserError
from napari_graphflow.jobs import Job, Status, jobs_root, list_jobs, move, start_next
from napari_graphflow.plugin.curves import Curves
from napari_graphflow.plugin.job_dialogs import Preview, show_log, show_settings
from napari_graphflow.plugin.layout import hint, row
from napari_graphflow.plugin.widgets import (
    Background,
    Panel,
    ProgressRow,
    StatusLine,
    progress_text,
)
from napari_graphflow.runners import runner_of

INTERVAL_MS = 500
SETTLED_S = 3.0
SHOWN_ROWS = 4
#: Seconds between two looks whether a job that waits can start, should a killed job have left it.
QUEUE_EVERY_S = 5.0
#: Seconds that reading the history of a job may take out of one look.
READ_S = 0.01
#: Sign and colour of each state.
MARKS = {
    "created": ("○", "#9a9ea6"),
    "queued": ("○", "#9a9ea6"),
    "running": ("●", "#4fb3ff"),
    "paused": ("‖", "#d9a514"),
    "done": ("✓", "#5fbf6a"),
    "failed": ("✕", "#f0716c"),
    "cancelled": ("–", "#9a9ea6"),
    "lost": ("?", "#f0716c"),
}


class JobsView(QWidget):
    """Watches the folder of jobs; everything it shows is read from there.

    Parameters
    ----------
    panel
        The widget in which it lies, which shows failures.
    use_model
        Called with the folder of a finished model that the user wants to segment with.
    """

    def __init__(self, panel: Panel, use_model: Callable[[Path], None]) -> None:
        super().__init__()
        self._panel, self._use_model = panel, use_model
        self._jobs: list[Job] = []
        self._statuses: dict[Job, Status] = {}
        self._cancelling: dict[Job, Iterator[Status]] = {}
        self._asked: dict[Job, str] = {}  # what is said until there is an answer
        self._listed: float | None = None
        self._shown: Job | None = None
        self._offset = 0
        self._background, self._starts = Background(self), Background(self)
        self._queue_seen = time.monotonic()

        self.table = _table()
        self.empty = hint(
            "No jobs yet. A job goes on when napari is closed and is found here again."
        )
        self.progress = ProgressRow()
        self.progress.cancel.hide()
        self.status = StatusLine()
        self.curves = Curves()
        self.pause = QPushButton("Pause")
        self.pause.setToolTip(
            "Write a checkpoint and end, which frees memory; Resume goes on from there."
        )
        self.cancel = QPushButton("Cancel")
        self.checkpoint = QPushButton("Checkpoint")
        self.checkpoint.setToolTip("Write a checkpoint now and go on.")
        self.up, self.down = QPushButton("Earlier"), QPushButton("Later")
        self.up.setToolTip("Let this job start before the one that waits in front of it.")
        self.down.setToolTip("Let the job that waits behind this one start first.")
        self.log = QPushButton("Log")
        self.settings = QPushButton("Settings")
        self.preview = Preview()
        self.use = QPushButton("Use this model")
        self._details = QWidget()

        details = QVBoxLayout(self._details)
        details.setContentsMargins(0, 0, 0, 0)
        details.setSpacing(6)
        details.addWidget(self.progress)
        details.addWidget(self.status)
        details.addLayout(row(self.pause, self.cancel, self.use, stretch=-1))
        details.addLayout(
            row(self.checkpoint, self.up, self.down, self.log, self.settings, stretch=-1)
        )
        details.addWidget(self.curves)
        details.addWidget(self.preview)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(6)
        column.addWidget(QLabel("<b>Jobs</b>"))
        column.addWidget(self.empty)
        column.addWidget(self.table)
        column.addWidget(self._details)

        self.table.itemSelectionChanged.connect(self._select)
        self.pause.clicked.connect(self._pause_or_resume)
        self.cancel.clicked.connect(self._cancel)
        self.checkpoint.clicked.connect(self._checkpoint)
        self.up.clicked.connect(lambda: self._move(-1))
        self.down.clicked.connect(lambda: self._move(1))
        self.log.clicked.connect(self._show_log)
        self.settings.clicked.connect(self._show_settings)
        self.use.clicked.connect(self._use)
        self._timer = QTimer(self)
        self._timer.setInterval(INTERVAL_MS)
        self._timer.timeout.connect(self.refresh)
        self._timer.start()
        self.refresh()

    def jobs(self) -> list[Job]:
        """The jobs listed, the newest first."""
        return list(self._jobs)

    def choose(self, job: Job) -> None:
        """Show a job's details."""
        self._listed = None
        self.refresh()
        self.table.selectRow(self._jobs.index(job))

    def selected(self) -> Job | None:
        """The job whose details are shown."""
        return self._shown

    def stop(self) -> None:
        """Watch no longer."""
        self._timer.stop()
        self._background.stop()
        self._starts.stop()

    def refresh(self) -> None:
        """Look at the folder of jobs, at the active jobs and at the new events of the shown one."""
        self._list_again_if_changed()
        for job, steps in list(self._cancelling.items()):
            if next(steps, None) is None:
                del self._cancelling[job], self._asked[job]
        for index, job in enumerate(self._jobs):
            before = self._statuses.get(job)
            if before is None or before.active or job is self._shown or job in self._asked:
                status = job.status()
                self._statuses[job] = status
                if status != before:
                    self._fill_row(index, job, status)
                if before is not None and before.active and not status.active:
                    self._tell(job, status)
        self._start_waiting()
        self._refresh_details()

    def _start_waiting(self) -> None:
        """Look now and then whether a waiting job can start; a job that ends does so at once."""
        due = time.monotonic() - self._queue_seen > QUEUE_EVERY_S
        if not due or self._background.busy():
            return
        self._queue_seen = time.monotonic()
        queued = [job for job, status in self._statuses.items() if status.state == "queued"]
        if queued:
            self._background.run(lambda: _look_after(queued), lambda _: None, lambda _: None)

    def _list_again_if_changed(self) -> None:
        root = jobs_root()
        changed = 0.0
        with suppress(OSError):  # not made yet, or on a drive that does not answer
            changed = root.stat().st_mtime
        # A folder that another process made becomes a job a moment later.
        if changed == self._listed and time.time() - changed > SETTLED_S:
            return
        self._listed = changed
        self._jobs = list_jobs()
        self.table.blockSignals(True)
        self.table.setRowCount(len(self._jobs))
        for index, job in enumerate(self._jobs):
            if job not in self._statuses:
                self._statuses[job] = job.status()
            self._fill_row(index, job, self._statuses[job])
        self._statuses = {job: self._statuses[job] for job in self._jobs}
        if self._shown in self._jobs:
            self.table.selectRow(self._jobs.index(self._shown))
        self.table.blockSignals(False)
        self.empty.setVisible(not self._jobs)
        self.table.setVisible(bool(self._jobs))
        rows = min(max(len(self._jobs), 1), SHOWN_ROWS)
        self.table.setFixedHeight(rows * self.table.verticalHeader().defaultSectionSize() + 4)
        if self._shown not in self._jobs:
            self._shown = None
            if self._jobs:
                self.table.selectRow(0)
            self._select()

    def _fill_row(self, index: int, job: Job, status: Status) -> None:
        mark, colour = MARKS[status.state]
        left = QTableWidgetItem(f"{mark}  {job.title}")
        left.setForeground(QColor(colour))
        left.setToolTip(f"{job.title}\n{job.created.astimezone():%d %b %Y %H:%M}\n{job.folder}")
        right = QTableWidgetItem(_summary(status))
        right.setTextAlignment(int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter))
        self.table.setItem(index, 0, left)
        self.table.setItem(index, 1, right)

    def _select(self) -> None:
        chosen = {item.row() for item in self.table.selectedItems()}
        job = self._jobs[min(chosen)] if chosen else None
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
        status = self._statuses.get(job) or job.status()
        running = status.active
        if not running or status.waiting:
            self.progress.hide()
        elif status.total:
            self.progress.advance(status.step, status.total, status.eta_s)
        else:
            self.progress.wait(status.phase or "starting")
        self._say(job, status)
        self.curves.setVisible(not self.curves.empty())
        self.pause.setText("Pause" if running or not status.resumable else "Resume")
        free = job not in self._asked
        self.pause.setEnabled(free and (status.state == "running" or status.resumable))
        self.cancel.setEnabled(free and running)
        self.checkpoint.setVisible(status.state == "running")
        self.up.setVisible(status.waiting)
        self.down.setVisible(status.waiting)
        self.log.setEnabled(job.log.is_file())
        self.use.setVisible(bool(status.model))

    def _read_events(self, job: Job) -> None:
        """Read on where the last look ended; a long history takes several looks."""
        found, end = [], time.monotonic() + READ_S
        while True:
            events, offset = job.events(self._offset)
            found += events
            if offset == self._offset or time.monotonic() > end:
                break
            self._offset = offset
        self._offset = offset
        self.curves.add(found)

    def _place(self, job: Job) -> str:
        """Where a waiting job stands, in words."""
        ranks = sorted(s.rank for s in self._statuses.values() if s.waiting)
        place = ranks.index(self._statuses[job].rank) + 1
        return "It is the next." if place == 1 else f"It is number {place} of {len(ranks)}."

    def _say(self, job: Job, status: Status) -> None:
        best = "" if status.best is None else f" Best Dice {status.best:.3f}."
        if job in self._asked:
            self.status.say(self._asked[job])
        elif status.state in ("failed", "lost"):
            self.status.fail(" ".join(part for part in (status.text, status.hint) if part))
        elif status.state == "done":
            self.status.done(f"Done.{best}")
        elif status.waiting:
            self.status.say(f"Waiting until its device is free. {self._place(job)}")
        elif status.active:
            phase = status.phase or "starting"
            silent = f" {status.text}" if status.text else ""
            where = f" On {status.device}." if status.device else ""
            self.status.say(f"{phase[:1].upper()}{phase[1:]}.{where}{best}{silent}")
        else:
            self.status.say(f"{status.state.capitalize()}.{best}")

    def _tell(self, job: Job, status: Status) -> None:
        if status.state in ("failed", "lost"):
            show_error(f"{job.title}: {status.text} {status.hint}".strip())
        elif status.state == "done":
            show_info(f"{job.title} is done.")

    def _pause_or_resume(self) -> None:
        job = self._shown
        if job is None:
            return
        if self._statuses[job].active:
            self._try(job.pause)
        else:
            self._ask(job, "Resuming …", lambda: runner_of(job).submit(job))
        self.refresh()

    def _cancel(self) -> None:
        job = self._shown
        if job is None:
            return
        try:
            if self._statuses[job].runner:
                self._ask(job, "Cancelling …", lambda: runner_of(job).cancel(job))
            else:
                self._cancelling[job] = job.begin_cancel()
                self._asked[job] = "Cancelling …"
        except UserError as error:
            self._panel.fail(error)
        self.refresh()

    def _ask(self, job: Job, words: str, action: Callable[[], Any]) -> None:
        """Ask the engine of a job, which may take long; nothing here waits for a cluster."""

        def answered(error: Exception | None) -> None:
            self.refresh()
            del self._asked[job]
            self._refresh_details()
            if error is not None:
                self._panel.fail(error)

        self._asked[job] = words
        there = self._background if self._statuses[job].runner else self._starts
        there.run(action, lambda _: answered(None), answered)

    def _checkpoint(self) -> None:
        if self._shown is not None:
            self._try(self._shown.checkpoint)

    def _move(self, places: int) -> None:
        job = self._shown
        if job is not None:
            self._try(lambda: move(job, places))
            self._statuses = {one: one.status() for one in self._jobs}
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

    def _use(self) -> None:
        if self._shown is not None:
            self._use_model(self._shown.folder / self._statuses[self._shown].model)


def _look_after(queued: list[Job]) -> None:
    """Start what can start, and hear from the engines about what they were given."""
    start_next(jobs_root())
    for job in queued:
        runner_of(job).poll(job)


def _summary(status: Status) -> str:
    if status.active and status.total and not status.waiting:
        return progress_text(status.step, status.total, None)
    if status.state == "done" and status.best is not None:
        return f"Dice {status.best:.3f}"
    return status.state


def _table() -> QTableWidget:
    table: Any = QTableWidget(0, 2)
    table.horizontalHeader().hide()
    table.verticalHeader().hide()
    table.verticalHeader().setDefaultSectionSize(24)
    table.horizontalHeader().setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
    table.horizontalHeader().setSectionResizeMode(1, QHeaderView.ResizeMode.ResizeToContents)
    table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
    table.setShowGrid(False)
    table.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    return table
