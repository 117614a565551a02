"""Clicks of a user."""

from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QWidget


def click(qtbot: QtBot, button: QWidget) -> None:
    """Click a visible and enabled button."""
    assert button.isEnabled()
    assert button.isVisible()
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
