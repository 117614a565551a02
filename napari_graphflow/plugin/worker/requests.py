"""One inference worker shared by all widgets; a timer polls its replies."""

import atexit
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from napari.utils.notifications import show_info
from qtpy.compat import isalive
from qtpy.QtCore import QCoreApplication, QObject, QTimer

from napari_graphflow.plugin.viewer.preferences import preferences
from napari_graphflow.plugin.widgets.background import Background
from napari_graphflow.plugin.worker.client import InferenceWorker
from napari_graphflow.plugin.worker.replies import Reply

INTERVAL_MS = 40
KILLED = (
    "The segmentation process did not respond to the cancellation and was ended. "
    "The next segmentation starts it again."
)


@dataclass(eq=False)
class Request:
    """A request to the worker, and the callbacks for its replies.

    Attributes
    ----------
    progress
        Called with each progress reply.
    finish
        Converts the final reply to a result, in the background.
    done
        Called with that result.
    failed
        Called with the error.
    cancelled
        Called once the request is cancelled.
    """

    progress: Callable[[Reply], None]
    finish: Callable[[Reply], Any]
    done: Callable[[Any], None]
    failed: Callable[[Exception], None]
    cancelled: Callable[[], None]
    number: int = 0


class RequestDispatcher(QObject):
    """Sends requests to the worker and passes its replies to the callbacks."""

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
        """PID of the worker process, or None."""
        return self._worker.pid if self._worker else None

    @property
    def busy(self) -> bool:
        """Whether a request is pending."""
        return bool(self._requests)

    def send(self, op: str, request: Request, **fields: Any) -> Request:
        """Send a request, with a `Volume` as one of its fields; return at once."""
        if self._worker is None:
            self._worker = InferenceWorker()
        request.number = self._worker.request(op, threads=preferences().threads, **fields)
        self._requests[request.number] = request
        self._timer.start()
        return request

    def cancel(self, request: Request) -> None:
        """Request cancellation; `request.cancelled` is called once it is done."""
        if self._worker is not None:
            self._worker.cancel(request.number)

    def drop(self, request: Request) -> None:
        """Cancel a request without calling its callbacks."""
        self.cancel(request)
        self._requests.pop(request.number, None)

    def drop_all(self) -> None:
        """Drop all requests."""
        for request in list(self._requests.values()):
            self.drop(request)
        self._timer.stop()

    def close(self) -> None:
        """Stop the worker and drop all requests."""
        self.drop_all()
        if self._worker is not None:
            self._worker.close()
            self._worker = None

    def _poll(self) -> None:
        for gone in [one for one in self._requests.values() if _is_gone(one)]:
            self.drop(gone)
        for reply in self._worker.poll() if self._worker else ():
            request = self._requests.get(reply["id"])
            if request is not None:
                self._handle(request, reply)
        if not self._requests:
            self._timer.stop()

    def _handle(self, request: Request, reply: Reply) -> None:
        if reply["event"] == "progress":
            request.progress(reply)
            return
        del self._requests[request.number]
        if reply["event"] == "result":
            request.progress({"phase": "showing the result"})
            self._background.run(
                lambda: request.finish(reply),
                lambda result: None if _is_gone(request) else request.done(result),
                lambda error: None if _is_gone(request) else request.failed(error),
            )
        elif reply["event"] == "cancelled":
            request.cancelled()
            if reply.get("killed"):
                show_info(KILLED)
        else:
            request.failed(reply["failure"].as_error())


def _is_gone(request: Request) -> bool:
    """Whether the widget that shows the progress was deleted, as when its viewer is closed."""
    shown = getattr(request.progress, "__self__", None)
    return isinstance(shown, QObject) and not isalive(shown)


_dispatcher: RequestDispatcher | None = None


def dispatcher() -> RequestDispatcher:
    """Return the dispatcher of this process, created at the first call and closed with napari."""
    global _dispatcher  # noqa: PLW0603 one worker for all windows
    if _dispatcher is None:
        _dispatcher = RequestDispatcher()
        atexit.register(_dispatcher.close)
        application = QCoreApplication.instance()
        if application is not None:
            application.aboutToQuit.connect(_dispatcher.close)
    return _dispatcher
