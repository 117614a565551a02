"""Clicks of a user."""

from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QMessageBox, QWidget


def click(qtbot: QtBot, button: QWidget) -> None:
    """Click a visible and enabled button."""
    assert button.isEnabled()
    assert button.isVisible()
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def in_view(widget: QWidget) -> bool:
    """Whether any part of a widget can be seen: its dock is in front and scrolled to it."""
    return not widget.visibleRegion().isEmpty()


def question() -> QMessageBox | None:
    """Return the open question of this plugin, or None."""
    boxes = [one for one in QApplication.topLevelWidgets() if isinstance(one, QMessageBox)]
    ours = [one for one in boxes if one.isVisible() and one.objectName().startswith("graphflow-")]
    return ours[0] if ours else None


def answer(qtbot: QtBot, text: str) -> str:
    """Click a button of the open question, and return what was asked."""
    qtbot.waitUntil(lambda: question() is not None)
    box = question()
    assert box is not None
    asked = str(box.text())
    (button,) = [one for one in box.buttons() if one.text().replace("&", "") == text]
    click(qtbot, button)
    return asked
