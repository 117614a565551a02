"""Refresh the lists of models and datasets when their folders change."""

import time
from collections.abc import Callable
from pathlib import Path

from qtpy.QtCore import QCoreApplication, QObject, QTimer
from qtpy.QtWidgets import QWidget

from napari_graphflow.plugin.widgets.background import Background
from napari_graphflow.plugin.widgets.saved_models import snapshot

INTERVAL_S = 1.0
#: Each list looks more often than the folders are read, which all lists share.
_TICK_MS = 300


class FolderWatch(QObject):
    """Reads the modification times of the folders for all lists.

    Polled, because jobs, other windows and the command line add folders of which no
    `QFileSystemWatcher` could be told in advance.

    Attributes
    ----------
    version
        Number of changes seen.
    looked_at
        Monotonic time of the last look.
    """

    def __init__(self) -> None:
        super().__init__(QCoreApplication.instance())
        self._background = Background(self)
        self._seen: dict[Path, int] | None = None
        self.version = 0
        self.looked_at = 0.0

    def look(self) -> None:
        """Read the folders in the background, where a drive may be slow."""
        now = time.monotonic()
        if now - self.looked_at >= INTERVAL_S and not self._background.busy():
            self.looked_at = now
            self._background.run(snapshot, self._compare, lambda _: None)

    def _compare(self, found: dict[Path, int]) -> None:
        if found != self._seen:
            self._seen = found
            self.version += 1


class ListRefresher(QTimer):
    """Refreshes a list after each change, while a window shows it.

    Parameters
    ----------
    widget
        The list, which owns the timer.
    refresh
        Lists again, keeping the choice; returns False to be called again, because the user is
        just choosing.
    """

    def __init__(self, widget: QWidget, refresh: Callable[[], bool]) -> None:
        super().__init__(widget)
        self._widget, self._refresh = widget, refresh
        self._version = 0
        self.setInterval(_TICK_MS)
        self.timeout.connect(self._tick)
        self.start()

    def _tick(self) -> None:
        window = self._widget.window()
        if not window.isVisible() or window.isMinimized():
            return
        watch = folder_watch()
        watch.look()
        if self._version != watch.version and self._refresh():
            self._version = watch.version


_watch: FolderWatch | None = None


def folder_watch() -> FolderWatch:
    """Return the watch of this process, created at the first call."""
    global _watch  # noqa: PLW0603 one for all windows
    if _watch is None:
        _watch = FolderWatch()
    return _watch
