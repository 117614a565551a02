"""The question before a result replaces a mask."""

from collections.abc import Callable

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QMessageBox, QWidget

NAME = "graphflow-replace"


def ask_to_replace(
    parent: QWidget, text: str, replace: Callable[[], None], add: Callable[[], None]
) -> QMessageBox:
    """Ask whether to replace a mask or to make a new one, without blocking the window."""
    box = QMessageBox(parent.window())
    box.setObjectName(NAME)
    box.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    box.setIcon(QMessageBox.Icon.Question)
    box.setWindowTitle("Replace mask?")
    box.setText(text)
    box.setInformativeText("Replacing can be undone with Ctrl+Z.")
    yes = box.addButton("Replace", QMessageBox.ButtonRole.DestructiveRole)
    new = box.addButton("Make a new mask", QMessageBox.ButtonRole.AcceptRole)
    cancel = box.addButton("Cancel", QMessageBox.ButtonRole.RejectRole)
    box.setDefaultButton(new)
    box.setEscapeButton(cancel)

    def answered(button: object) -> None:
        if button is yes:
            replace()
        elif button is new:
            add()

    box.buttonClicked.connect(answered)
    box.open()
    return box
