"""Notifications about jobs that end while the dock *Jobs* is closed."""

from collections.abc import Mapping, Sequence

from napari.components import ViewerModel
from napari.utils.notifications import show_error, show_info, show_warning
from qtpy.QtCore import QObject, QTimer
from qtpy.QtWidgets import QWidget

from napari_graphflow.jobs.job import Job
from napari_graphflow.jobs.status import Status
from napari_graphflow.plugin.jobs.finished import FinishedJobs
from napari_graphflow.plugin.jobs.presenter import notification
from napari_graphflow.plugin.jobs.watch import Watch
from napari_graphflow.plugin.viewer.preferences import after_opening
from napari_graphflow.plugin.widgets.docks import find_dock
from napari_graphflow.plugin.widgets.panel import Panel

INTERVAL_MS = 2000
NOTIFY = {"done": show_info, "warn": show_warning, "fail": show_error}


def announce(ended: Sequence[Job], statuses: Mapping[Job, Status]) -> None:
    """Notify about jobs that have ended."""
    message = notification(ended, statuses)
    if message is not None:
        NOTIFY[message.level](message.text)


def announce_ends(panel: Panel) -> None:
    """Watch the jobs from now on until the window closes, also if the dock is closed before."""
    after_opening(panel, lambda: _start(panel))


def _start(panel: Panel) -> None:
    window = panel.window()
    if window is not panel and window.findChild(Announcer) is None:
        Announcer(window, panel.viewer)


class Announcer(QObject):
    """Watches the jobs for one window while it has no dock *Jobs*, which announces them itself."""

    def __init__(self, window: QWidget, viewer: ViewerModel) -> None:
        super().__init__(window)
        self._window = window
        self._viewer = viewer
        self._watch = Watch()
        self._finished: FinishedJobs | None = None
        timer = QTimer(self)
        timer.setInterval(INTERVAL_MS)
        timer.timeout.connect(self.look)
        timer.start()

    def look(self) -> None:
        """Notify about jobs that have ended since the last look, of whoever looked."""
        if not self._window.isVisible():
            return
        if find_dock(self._viewer, "Jobs") is not None:
            self._finished = None
            return
        self._watch.refresh_jobs()
        self._watch.refresh_statuses(())
        if self._finished is None:
            self._finished = FinishedJobs()
        announce(self._finished.update(self._watch.statuses), self._watch.statuses)
