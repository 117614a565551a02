"""The order in which the Tab key goes through a dock: as the eye does, row by row."""

from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QAbstractItemView, QApplication, QRadioButton, QWidget

#: Controls whose middles differ by fewer pixels stand in one row.
ROW = 12


def controls(dock: QWidget) -> list[QWidget]:
    """Return what the Tab key reaches; arrow keys move within a group of radio buttons."""
    found = [
        one
        for one in dock.findChildren(QWidget)
        if _takes_focus(one) and not (isinstance(one, QRadioButton) and not one.isChecked())
    ]
    rows: list[list[QWidget]] = []
    for one in sorted(found, key=lambda each: _middle(dock, each).y()):
        if rows and _middle(dock, one).y() - _middle(dock, rows[-1][0]).y() < ROW:
            rows[-1].append(one)
        else:
            rows.append([one])
    return [one for row in rows for one in sorted(row, key=lambda each: _middle(dock, each).x())]


def next_control(dock: QWidget, *, forward: bool) -> QWidget | None:
    """Return the control after (or before) that with the focus; None if that is not in the dock.

    After the last control comes the next one outside the dock.
    """
    order, focus = controls(dock), QApplication.focusWidget()
    while focus is not None and focus not in order:
        focus = focus.parentWidget()
    if focus is None:
        return None
    place = order.index(focus) + (1 if forward else -1)
    if 0 <= place < len(order):
        return order[place]
    found = focus
    while True:
        found = found.nextInFocusChain() if forward else found.previousInFocusChain()
        if found is focus:
            return None
        if not dock.isAncestorOf(found) and found is not dock and _takes_focus(found):
            return found


def focus_on(control: QWidget, *, forward: bool) -> None:
    """Give the focus to a control, so that the Tab key leaves it again."""
    if isinstance(control, QAbstractItemView):
        control.setTabKeyNavigation(False)
    reason = Qt.FocusReason
    control.setFocus(reason.TabFocusReason if forward else reason.BacktabFocusReason)


def _takes_focus(one: QWidget) -> bool:
    wanted = Qt.FocusPolicy.TabFocus
    focusable = (one.focusPolicy() & wanted) == wanted and one.focusProxy() is None
    return focusable and one.isVisible() and one.isEnabled() and one.height() > 0


def _middle(dock: QWidget, one: QWidget) -> QPoint:
    return one.mapTo(dock, QPoint(one.width() // 2, min(one.height() // 2, ROW)))
