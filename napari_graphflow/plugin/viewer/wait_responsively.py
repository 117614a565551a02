"""Wait for a long call while the window stays responsive: File > Open has to return the layers."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

import numpy as np
from qtpy.QtCore import QEvent, QEventLoop, QObject, Qt, QThread, QTimer
from qtpy.QtWidgets import QApplication, QMainWindow

#: What is done sooner is simply waited for.
_SHORT_S = 0.05


_POLL_MS = 20


#: Whoever asked for a file needs the window a little longer, and may ask for another one.
_CLOSE_AFTER_MS = 500


T = TypeVar("T")


def wait_responsively(function: Callable[[], T]) -> T:
    """Call a function that touches neither Qt nor napari on another thread, and wait for it.

    The window is drawn, scrolled and painted on meanwhile; only closing it is put off to the end,
    for it would be taken away from under the caller. Without a window this is a plain call.
    """
    application = QApplication.instance()
    if application is None or QThread.currentThread() != application.thread():
        return function()
    with ThreadPoolExecutor(1, thread_name_prefix="graphflow-reading") as pool:
        future = pool.submit(_quietly, function)
        if not wait([future], timeout=_SHORT_S).done:
            _go_on_until(future)
        return future.result()


def _quietly(function: Callable[[], T]) -> T:
    # A numpy warning raised beside the window would be shown by napari from the wrong thread.
    with np.errstate(all="ignore"):
        return function()


def _go_on_until(future: "Future[T]") -> None:
    loop, timer = QEventLoop(), QTimer()
    timer.setInterval(_POLL_MS)
    timer.timeout.connect(lambda: loop.quit() if future.done() else None)
    timer.start()
    windows = [one for one in QApplication.topLevelWidgets() if isinstance(one, QMainWindow)]
    keeper = _KeepOpen()
    for window in windows:
        window.installEventFilter(keeper)
    QApplication.setOverrideCursor(Qt.CursorShape.BusyCursor)
    try:
        loop.exec_()
    finally:
        timer.stop()
        QApplication.restoreOverrideCursor()
        for window in windows:
            window.removeEventFilter(keeper)
    for window in keeper.wanted:
        QTimer.singleShot(_CLOSE_AFTER_MS, window.close)


class _KeepOpen(QObject):
    """Remembers which windows were to be closed."""

    def __init__(self) -> None:
        super().__init__()
        self.wanted: list[QMainWindow] = []

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() != QEvent.Type.Close:
            return False
        event.ignore()
        if watched not in self.wanted:
            self.wanted.append(watched)
        return True
