"""The question which classes of a teacher are those of a dataset."""

from collections.abc import Callable, Sequence

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QFormLayout,
    QLabel,
    QLineEdit,
    QVBoxLayout,
    QWidget,
)

NAME = "graphflow-classes"


def ask_for_classes(
    parent: QWidget, reason: str, classes: Sequence[str], accept: Callable[[list[str]], None]
) -> QDialog:
    """Ask for the teacher's names of each class, without blocking the window.

    Parameters
    ----------
    parent
        The widget that asks.
    reason
        Why it is asked, as a sentence.
    classes
        Names of the classes of the dataset, the background first.
    accept
        Receives entries such as ``lung=lung_left,lung_right``.
    """
    dialog = QDialog(parent.window())
    dialog.setObjectName(NAME)
    dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    dialog.setWindowTitle("Classes of the teacher")
    text = QLabel(
        f"{reason} Write the teacher's name for each class of the dataset, several with commas; "
        "leave a field empty if it does not know the class."
    )
    text.setWordWrap(True)
    rows = QFormLayout()
    fields = {}
    for name in classes[1:]:
        fields[name] = QLineEdit(name)
        fields[name].setAccessibleName(f"Teacher's name of {name}")
        rows.addRow(name, fields[name])
    kinds = QDialogButtonBox.StandardButton
    buttons = QDialogButtonBox(kinds.Ok | kinds.Cancel)
    buttons.accepted.connect(dialog.accept)
    buttons.rejected.connect(dialog.reject)
    layout = QVBoxLayout(dialog)
    layout.addWidget(text)
    layout.addLayout(rows)
    layout.addWidget(buttons)
    dialog.accepted.connect(
        lambda: accept([f"{name}={field.text().strip()}" for name, field in fields.items()])
    )
    dialog.open()
    return dialog
