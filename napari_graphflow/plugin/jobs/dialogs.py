"""The log, the settings and the preview of a job."""

import json
from collections.abc import Callable
from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtGui import QPixmap
from qtpy.QtWidgets import (
    QComboBox,
    QDialog,
    QLabel,
    QMessageBox,
    QPlainTextEdit,
    QVBoxLayout,
    QWidget,
)

from napari_graphflow.jobs.folder import choose_case, chosen_case
from napari_graphflow.jobs.job import Job
from napari_graphflow.plugin.widgets.layout import note, row, shrinkable
from napari_graphflow.runners.foreign import accept_job, named_elsewhere

LOG_BYTES = 200_000
PREVIEW_SIZE = 300


def show_log(job: Job, parent: QWidget) -> None:
    """Show the end of a job's log."""
    with job.log.open("rb") as file:
        file.seek(max(0, job.log.stat().st_size - LOG_BYTES))
        content = file.read().decode("utf-8", "replace")
    dialog, text = _text_dialog(f"Log: {job.title}", content or "The log is empty.", parent)
    dialog.show()
    text.verticalScrollBar().setValue(text.verticalScrollBar().maximum())


def show_settings(job: Job, parent: QWidget) -> None:
    """Show the specification of a job."""
    content = {"folder": str(job.folder)} | job.spec
    dialog, _ = _text_dialog(f"Settings: {job.title}", json.dumps(content, indent=2), parent)
    dialog.show()


def ask_to_remove(parent: QWidget, text: str, remove: Callable[[], None]) -> None:
    """Ask whether to remove a job, without blocking the window."""
    _ask(parent, "remove-job", "Remove job?", text, "Remove", "Keep", remove)


def ask_to_trust(parent: QWidget, job: Job, go_on: Callable[[], None]) -> None:
    """Ask whether to accept what a job from elsewhere names, without blocking the window."""
    named = "\n".join(f"• It {one}." for one in named_elsewhere(job))
    text = f"The job “{job.title}” was not created here.\n{named}\n\nDo you trust it?"

    def accept() -> None:
        accept_job(job)
        go_on()

    _ask(parent, "trust-job", "Job from elsewhere", text, "Trust it", "Cancel", accept)


def _ask(
    parent: QWidget, name: str, title: str, text: str, yes: str, no: str, act: Callable[[], None]
) -> None:
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


class Preview(QWidget):
    """The latest preview of a validation case, and the choice of the case."""

    def __init__(self) -> None:
        super().__init__()
        self._job: Job | None = None
        self._drawn = 0.0
        self.case = QComboBox()
        self.case.setToolTip("Validation case to draw from the next validation on.")
        shrinkable(self.case)
        self.image = QLabel()
        self.image.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.text = note("White: reference. Colour: current prediction.")
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addLayout(row(QLabel("Preview"), self.case, stretch=1))
        column.addWidget(self.image)
        column.addWidget(self.text)
        self.case.activated.connect(self._choose)
        self.hide()

    def show_job(self, job: Job | None) -> None:
        """Show another job."""
        self._job, self._drawn = job, 0.0
        self.hide()
        self.refresh()

    def refresh(self) -> None:
        """Reload the preview if it has changed."""
        path = None if self._job is None else self._job.preview
        try:
            changed = 0.0 if path is None else path.stat().st_mtime
        except OSError:
            changed = 0.0
        if self._job is None or not changed or changed == self._drawn:
            return
        self._drawn = changed
        image = QPixmap(str(path))
        if image.isNull():
            return
        if max(image.width(), image.height()) > PREVIEW_SIZE:
            image = image.scaled(
                PREVIEW_SIZE, PREVIEW_SIZE, Qt.AspectRatioMode.KeepAspectRatio,
                Qt.TransformationMode.SmoothTransformation,
            )  # fmt: skip
        self.image.setPixmap(image)
        names = _validation_cases(self._job)
        if [self.case.itemText(index) for index in range(self.case.count())] != names:
            self.case.clear()
            self.case.addItems(names)
        self.case.setCurrentText(chosen_case(self._job.folder, names) or "")
        self.show()

    def _choose(self, _: int) -> None:
        if self._job is not None:
            choose_case(self._job.folder, self.case.currentText())


def _validation_cases(job: Job) -> list[str]:
    try:
        return list(json.loads(job.cases_file.read_text("utf-8"))["validation"])
    except (OSError, ValueError, KeyError):
        return []


def _text_dialog(title: str, content: str, parent: QWidget) -> tuple[QDialog, Any]:
    dialog = QDialog(parent)
    dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    dialog.setWindowTitle(title)
    dialog.resize(760, 420)
    text = QPlainTextEdit(content)
    text.setReadOnly(True)
    text.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
    QVBoxLayout(dialog).addWidget(text)
    return dialog, text
