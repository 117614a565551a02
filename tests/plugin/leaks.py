"""Widgets that outlive their test."""

import gc

from qtpy.QtCore import QCoreApplication, QEvent
from qtpy.QtWidgets import QApplication, QWidget

PACKAGE = "napari_graphflow."

#: A garbage collection may release objects for the next one; each may take long.
ROUNDS = 3


def living_widgets() -> set[QWidget]:
    """Return the existing widgets of this package, and visible windows of any class."""
    application = QApplication.instance()
    if application is None:
        return set()
    ours = {one for one in application.allWidgets() if type(one).__module__.startswith(PACKAGE)}
    return ours | {one for one in application.topLevelWidgets() if one.isVisible()}


def leaked_widgets(before: set[QWidget]) -> list[str]:
    """Return the names of widgets created since `before` that are not deleted."""
    for _ in range(ROUNDS):
        QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
        if not living_widgets() - before:  # a variable would keep them alive
            return []
        gc.collect()
    leaked = living_widgets() - before
    # Children are omitted: they are deleted with their parent.
    roots = [one for one in leaked if not any(_is_within(one, other) for other in leaked)]
    return sorted(f"{type(one).__name__} {one.objectName()!r}" for one in roots)


def _is_within(widget: QWidget, other: QWidget) -> bool:
    return widget is not other and other.isAncestorOf(widget)
