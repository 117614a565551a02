"""Computing beside the window, and bringing the results back into it."""

from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread
from typing import Any

import numpy as np
from qtpy.QtCore import QObject, QTimer


class Background(QObject):
    """Runs functions that touch neither Qt nor napari beside the window, one after the other.

    Results come back in the window's own thread, by a timer that runs only while there is work.
    A daemon thread rather than napari's workers or a pool: Python would wait for these at its end,
    be it for a cluster that does not answer.
    """

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._asked: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._thread: Thread | None = None
        self._stopped = False
        self._waiting: list[
            tuple[Future[Any], Callable[[Any], None], Callable[[Exception], None]]
        ] = []
        self._timer = QTimer(self)
        self._timer.setInterval(20)
        self._timer.timeout.connect(self._poll)

    def run(
        self,
        function: Callable[[], Any],
        done: Callable[[Any], None],
        failed: Callable[[Exception], None],
    ) -> None:
        """Call `function`, then `done` with its result or `failed` with its exception."""
        if self._stopped:
            return
        future: Future[Any] = Future()
        self._waiting.append((future, done, failed))
        self._asked.put((future, function))
        if self._thread is None:
            self._thread = Thread(target=_work, args=(self._asked,), name="graphflow", daemon=True)
            self._thread.start()
        self._timer.start()

    def stop(self) -> None:
        """Forget what is still being computed; nothing is run afterwards."""
        self._stopped = True
        self._timer.stop()
        for future, _, _ in self._waiting:
            future.cancel()
        self._waiting = []
        self._asked.put(None)

    def finish(self, patience: float) -> None:
        """Let all that was asked for be done, if that takes no more than `patience` seconds."""
        self._asked.put(None)
        if self._thread is not None:
            self._thread.join(patience)

    def busy(self) -> bool:
        """Whether anything is still being computed."""
        return bool(self._waiting)

    def _poll(self) -> None:
        finished = [entry for entry in self._waiting if entry[0].done()]
        self._waiting = [entry for entry in self._waiting if not entry[0].done()]
        if not self._waiting:
            self._timer.stop()
        for future, done, failed in finished:
            error = future.exception()
            if error is None:
                done(future.result())
            elif isinstance(error, Exception):
                failed(error)


def _work(asked: "SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None]") -> None:
    while (entry := asked.get()) is not None:
        _compute(*entry)
        del entry  # with a result that may be large, until the next one


def _compute(future: "Future[Any]", function: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        # A numpy warning raised beside the window would be shown by napari from the wrong thread.
        with np.errstate(all="ignore"):
            future.set_result(function())
    except BaseException as error:
        future.set_exception(error)
