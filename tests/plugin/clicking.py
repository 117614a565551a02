"""Clicks as a user makes them."""

from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QWidget


def click(qtbot: QtBot, button: QWidget) -> None:
    """Click a button that can be seen and is enabled."""
    assert button.isEnabled()
    assert button.isVisible()
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
