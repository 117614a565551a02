"""Holds the open case, so that no other window edits it meanwhile."""

from collections.abc import Callable
from functools import partial
from typing import Any

from qtpy.QtCore import QObject, QTimer, Signal

from napari_graphflow.labelling.locks import HEARTBEAT
from napari_graphflow.labelling.statuses import allowed
from napari_graphflow.labelling.store import Labelling
from napari_graphflow.plugin.dataset.open_case import OpenCase
from napari_graphflow.plugin.widgets.background import Background

#: Returns the labelling and the open case, if there is one.
Current = Callable[[], tuple[Labelling | None, OpenCase | None]]


class CaseHold(QObject):
    """Takes the lock of the open case, and renews it while the case is open.

    Parameters
    ----------
    parent, background
        The owner, and its background thread.
    current
        The case to hold.
    """

    #: The case may be edited now, or no longer.
    changed = Signal()
    #: Another window has the case open.
    taken = Signal(str, object)

    def __init__(self, parent: QObject, background: Background, current: Current) -> None:
        super().__init__(parent)
        self._background, self._current = background, current
        self._beats = QTimer(self)
        self._beats.setInterval(int(1000 * HEARTBEAT))
        self._beats.timeout.connect(self._beat)
        self._beats.start()

    def stop(self) -> bool:
        """Stop renewing; return whether it was active."""
        was_active = bool(self._beats.isActive())
        self._beats.stop()
        return was_active

    def take(self, *, take_over: bool = False) -> None:
        """Take the lock of the open case, also from another window if `take_over`."""
        labelling, case = self._current()
        if case is None or labelling is None:
            return
        name = case.name

        def held(_: Any) -> None:
            if case is not self._current()[1]:
                return
            case.editable = case.blind or "draft" in allowed(case.opened.facts.status)
            case.mask.editable = case.editable
            self.changed.emit()

        def refused(error: Exception) -> None:
            if case is self._current()[1]:
                self.taken.emit(name, error)

        self._background.run(lambda: labelling.hold(name, take_over=take_over), held, refused)

    def lost(self, case: OpenCase | None, error: Exception) -> None:
        """Stop editing: another window has taken the case over."""
        if case is None or case is not self._current()[1]:
            return
        case.editable = case.mask.editable = False
        self.changed.emit()
        self.taken.emit(case.name, error)

    def _beat(self) -> None:
        labelling, case = self._current()
        if labelling is not None and case is not None and case.editable:
            self._background.run(labelling.beat, lambda _: None, partial(self.lost, case))
