"""Questions before something that cannot be undone."""

from collections.abc import Callable

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QMessageBox, QWidget


def ask(
    parent: QWidget, name: str, title: str, text: str, yes: str, no: str, act: Callable[[], None]
) -> None:
    """Ask a question without blocking the window, and act if the answer is yes."""
    box = QMessageBox(parent.window())
    box.setObjectName(f"graphflow-{name}")
    box.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    box.setIcon(QMessageBox.Icon.Question)
    box.setWindowTitle(title)
    box.setTextFormat(Qt.TextFormat.PlainText)  # names in files are no markup
    box.setText(text)
    agreed = box.addButton(yes, QMessageBox.ButtonRole.DestructiveRole)
    refused = box.addButton(no, QMessageBox.ButtonRole.RejectRole)
    box.setDefaultButton(refused)
    box.setEscapeButton(refused)
    box.buttonClicked.connect(lambda button: act() if button is agreed else None)
    box.open()
