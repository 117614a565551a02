"""Run functions on a background thread and return their results to the Qt thread."""

import atexit
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import Any

import numpy as np
from qtpy.QtCore import QObject, QTimer

#: Seconds that closing the window may wait for a job that is being started.
LEAVING_S = 3.0


class Background(QObject):
    """Runs functions that use neither Qt nor napari on one background thread, in order.

    Callbacks run in the Qt thread, driven by a timer that is active only while there is work.
    A daemon thread, unlike napari's workers or a pool, does not delay the exit of Python, for
    example while a cluster does not respond.
    """

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._tasks: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._thread: Thread | None = None
        self._stopped = False
        self._waiting: list[
            tuple[Future[Any], Callable[[Any], Iterator[None] | None], Callable[[Exception], None]]
        ] = []
        self._steps: deque[Iterator[None]] = deque()
        self._timer = QTimer(self)
        self._timer.setInterval(20)
        self._timer.timeout.connect(self._poll)

    def run(
        self,
        function: Callable[[], Any],
        done: Callable[[Any], Iterator[None] | None],
        failed: Callable[[Exception], None],
    ) -> None:
        """Call `function`, then `done` with its result or `failed` with its exception.

        What `done` may return are steps, each of which is one turn of Qt's loop, so that the window
        responds between two of them.
        """
        if self._stopped:
            return
        future: Future[Any] = Future()
        self._waiting.append((future, done, failed))
        self._tasks.put((future, function))
        if self._thread is None:
            self._thread = Thread(target=_work, args=(self._tasks,), name="graphflow", daemon=True)
            self._thread.start()
        self._timer.start()

    def stop(self) -> None:
        """Drop pending results; nothing runs afterwards."""
        self._stopped = True
        self._timer.stop()
        for future, _, _ in self._waiting:
            future.cancel()
        self._waiting = []
        self._steps.clear()
        self._tasks.put(None)

    def finish(self, timeout: float) -> None:
        """Wait up to `timeout` seconds until all requested functions have run and reported."""
        self._tasks.put(None)
        if self._thread is not None:
            self._thread.join(timeout)
            with suppress(RuntimeError):  # at exit, Qt may have deleted the timer
                self._poll()

    def busy(self) -> bool:
        """Whether a result, or a step of one, is pending."""
        return bool(self._waiting or self._steps)

    def _poll(self) -> None:
        if self._steps:
            self._take_step()
        else:
            self._report()
        if not self.busy():
            self._timer.stop()

    def _take_step(self) -> None:
        steps = self._steps.popleft()  # during the last one nothing is pending any more
        with suppress(StopIteration):
            next(steps)
            self._steps.appendleft(steps)

    def _report(self) -> None:
        finished = [entry for entry in self._waiting if entry[0].done()]
        self._waiting = [entry for entry in self._waiting if not entry[0].done()]
        for future, done, failed in finished:
            error = future.exception()
            if error is None:
                steps = done(future.result())
                if steps is not None:
                    self._steps.append(steps)
            elif isinstance(error, Exception):
                failed(error)


class LastingBackground(Background):
    """Runs functions that the end of napari must not lose, such as the start of a job.

    napari does not close its docks at exit.
    """

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._at_exit = partial(self.finish, LEAVING_S)
        atexit.register(self._at_exit)

    def stop(self) -> None:
        """Wait a limited time for what was requested; nothing runs afterwards."""
        atexit.unregister(self._at_exit)
        self.finish(LEAVING_S)
        super().stop()


def _work(tasks: "SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None]") -> None:
    while (entry := tasks.get()) is not None:
        _compute(*entry)
        del entry  # otherwise its result, which may be large, lives until the next one


def _compute(future: "Future[Any]", function: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        # napari would show a numpy warning of this thread from the wrong thread.
        with np.errstate(all="ignore"):
            future.set_result(function())
    except BaseException as error:
        future.set_exception(error)
