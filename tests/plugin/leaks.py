"""Widgets that outlive their test."""

import gc

from qtpy.QtCore import QCoreApplication, QEvent
from qtpy.QtWidgets import QApplication, QWidget

PACKAGE = "napari_graphflow."

#: What is collected may release more; a collection takes long where much is loaded.
ROUNDS = 3


def living_widgets() -> set[QWidget]:
    """Widgets of this package that exist, and windows of any class that are shown."""
    application = QApplication.instance()
    if application is None:
        return set()
    ours = {one for one in application.allWidgets() if type(one).__module__.startswith(PACKAGE)}
    return ours | {one for one in application.topLevelWidgets() if one.isVisible()}


def leaked_widgets(before: set[QWidget]) -> list[str]:
    """Names of the widgets that exist now and did not before, once all deletions are done."""
    leaked = _deleted_and_left(before)
    for _ in range(ROUNDS):
        if not leaked:
            break
        gc.collect()
        leaked = _deleted_and_left(before)
    # Children are not named: they are deleted with their parent.
    roots = [one for one in leaked if not any(other.isAncestorOf(one) for other in leaked)]
    return sorted(f"{type(one).__name__} {one.objectName()!r}" for one in roots)


def _deleted_and_left(before: set[QWidget]) -> set[QWidget]:
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    return living_widgets() - before
