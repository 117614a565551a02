"""One inference worker for all widgets, asked at once and answered by a timer."""

import atexit
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from qtpy.QtCore import QCoreApplication, QObject, QTimer

from napari_graphflow.errors import UserError
from napari_graphflow.plugin.widgets.background import Background
from napari_graphflow.plugin.worker.client import InferenceWorker

INTERVAL_MS = 40


Reply = dict[str, Any]


@dataclass(eq=False)
class Request:
    """What to do with the answers to something that was asked of the worker.

    Attributes
    ----------
    progress
        Called with each reply that tells how far it is.
    finish
        Turns the last reply into a result, beside the window.
    done
        Called with that result.
    failed
        Called with the error.
    cancelled
        Called once the worker has stopped.
    """

    progress: Callable[[Reply], None]
    finish: Callable[[Reply], Any]
    done: Callable[[Any], None]
    failed: Callable[[Exception], None]
    cancelled: Callable[[], None]
    number: int = 0


class Engine(QObject):
    """Hands requests to the worker and its answers to whoever asked."""

    def __init__(self) -> None:
        super().__init__(QCoreApplication.instance())
        self._worker: InferenceWorker | None = None
        self._requests: dict[int, Request] = {}
        self._background = Background(self)
        self._timer = QTimer(self)
        self._timer.setInterval(INTERVAL_MS)
        self._timer.timeout.connect(self._poll)

    @property
    def pid(self) -> int | None:
        """Number of the worker's process, while there is one."""
        return self._worker.pid if self._worker else None

    @property
    def busy(self) -> bool:
        """Whether somebody waits for an answer."""
        return bool(self._requests)

    def ask(self, op: str, request: Request, **fields: Any) -> Request:
        """Send a request, with a `Volume` as one of its fields; returns at once."""
        if self._worker is None:
            self._worker = InferenceWorker()
        request.number = self._worker.request(op, **fields)
        self._requests[request.number] = request
        self._timer.start()
        return request

    def cancel(self, request: Request) -> None:
        """Ask the worker to stop; `request.cancelled` is called once it has."""
        if self._worker is not None:
            self._worker.cancel(request.number)

    def drop(self, request: Request) -> None:
        """Cancel a request whose asker is gone."""
        self.cancel(request)
        self._requests.pop(request.number, None)

    def forget(self) -> None:
        """Drop all requests; nobody is answered any more."""
        for request in list(self._requests.values()):
            self.drop(request)
        self._timer.stop()

    def close(self) -> None:
        """End the worker; what is outstanding is not answered."""
        self.forget()
        if self._worker is not None:
            self._worker.close()
            self._worker = None

    def _poll(self) -> None:
        for reply in self._worker.poll() if self._worker else ():
            request = self._requests.get(reply["id"])
            if request is not None:
                self._answer(request, reply)
        if not self._requests:
            self._timer.stop()

    def _answer(self, request: Request, reply: Reply) -> None:
        if reply["event"] == "progress":
            request.progress(reply)
            return
        del self._requests[request.number]
        if reply["event"] == "result":
            self._background.run(lambda: request.finish(reply), request.done, request.failed)
        elif reply["event"] == "cancelled":
            request.cancelled()
        else:
            request.failed(UserError(reply["text"], reply.get("hint", "")))


_engine: Engine | None = None


def engine() -> Engine:
    """The engine of this process; made at the first call, ended with napari."""
    global _engine  # noqa: PLW0603 one worker for all windows, however many are opened
    if _engine is None:
        _engine = Engine()
        atexit.register(_engine.close)
        application = QCoreApplication.instance()
        if application is not None:
            application.aboutToQuit.connect(_engine.close)
    return _engine
