"""Wait for a long call while the window stays responsive: File > Open must return layers."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

import numpy as np
from qtpy.QtCore import QEvent, QEventLoop, QObject, Qt, QThread, QTimer
from qtpy.QtWidgets import QApplication, QMainWindow

#: Shorter calls block.
_SHORT_S = 0.05
_POLL_MS = 20
#: The caller still needs the window for a moment, and may open another file.
_CLOSE_AFTER_MS = 500
T = TypeVar("T")


def wait_responsively(function: Callable[[], T]) -> T:
    """Run a function that uses neither Qt nor napari on another thread, and return its result.

    Qt events are processed meanwhile; only closing the window is postponed, because the caller
    still needs it. Without a window this is a plain call.
    """
    application = QApplication.instance()
    if application is None or QThread.currentThread() != application.thread():
        return function()
    with ThreadPoolExecutor(1, thread_name_prefix="graphflow-reading") as pool:
        future = pool.submit(_without_warnings, function)
        if not wait([future], timeout=_SHORT_S).done:
            _process_events_until(future)
        return future.result()


def _without_warnings(function: Callable[[], T]) -> T:
    # napari would show a numpy warning of this thread from the wrong thread.
    with np.errstate(all="ignore"):
        return function()


def _process_events_until(future: "Future[T]") -> None:
    loop, timer = QEventLoop(), QTimer()
    timer.setInterval(_POLL_MS)
    timer.timeout.connect(lambda: loop.quit() if future.done() else None)
    timer.start()
    windows = [one for one in QApplication.topLevelWidgets() if isinstance(one, QMainWindow)]
    filter_ = _PostponeClose()
    for window in windows:
        window.installEventFilter(filter_)
    QApplication.setOverrideCursor(Qt.CursorShape.BusyCursor)
    try:
        loop.exec_()
    finally:
        timer.stop()
        QApplication.restoreOverrideCursor()
        for window in windows:
            window.removeEventFilter(filter_)
    for window in filter_.postponed:
        QTimer.singleShot(_CLOSE_AFTER_MS, window.close)


class _PostponeClose(QObject):
    """Ignores close events and records their windows."""

    def __init__(self) -> None:
        super().__init__()
        self.postponed: list[QMainWindow] = []

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() != QEvent.Type.Close:
            return False
        event.ignore()
        if watched not in self.postponed:
            self.postponed.append(watched)
        return True
