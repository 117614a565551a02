"""The log and the settings of a job, and the questions about it."""

from collections.abc import Callable

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QDialog,
    QPlainTextEdit,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_graphflow.jobs.job import Job
from napari_graphflow.plugin.jobs.settings import settings_rows
from napari_graphflow.plugin.widgets.questions import ask
from napari_graphflow.plugin.widgets.words import as_text
from napari_graphflow.runners.foreign import accept_job, named_elsewhere
from napari_graphflow.system.regular_file import open_regular

LOG_BYTES = 200_000


def show_log(job: Job, parent: QWidget) -> None:
    """Show the end of a job's log."""
    with open_regular(job.log) as file:
        file.seek(max(0, job.log.stat().st_size - LOG_BYTES))
        content = file.read().decode("utf-8", "replace")
    text = QPlainTextEdit(content or "The log is empty.")
    text.setReadOnly(True)
    text.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
    _dialog(f"Log: {job.title}", text, parent).show()
    text.verticalScrollBar().setValue(text.verticalScrollBar().maximum())


def show_settings(job: Job, parent: QWidget) -> None:
    """Show the settings of a job as a table."""
    rows = settings_rows(job)
    table = QTableWidget(len(rows), 2)
    table.setHorizontalHeaderLabels(["Setting", "Value"])
    table.verticalHeader().hide()
    table.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
    table.setShowGrid(False)
    for number, texts in enumerate(rows):
        for column, text in enumerate(texts):
            item = QTableWidgetItem(text)
            item.setToolTip(as_text(text))
            table.setItem(number, column, item)
    table.resizeColumnToContents(0)
    table.horizontalHeader().setStretchLastSection(True)
    _dialog(f"Settings: {job.title}", table, parent).show()


def ask_to_remove(parent: QWidget, text: str, remove: Callable[[], None]) -> None:
    """Ask whether to remove a job, without blocking the window."""
    ask(parent, "remove-job", "Remove job?", text, "Remove", "Keep", remove)


def ask_to_trust(parent: QWidget, job: Job, go_on: Callable[[], None]) -> None:
    """Ask whether to accept what a job from elsewhere names, without blocking the window."""
    named = "\n".join(f"• It {one}." for one in named_elsewhere(job))
    text = f"The job “{job.title}” was not created here.\n{named}\n\nDo you trust it?"

    def accept() -> None:
        accept_job(job)
        go_on()

    ask(parent, "trust-job", "Job from elsewhere", text, "Trust it", "Cancel", accept)


def _dialog(title: str, content: QWidget, parent: QWidget) -> QDialog:
    dialog = QDialog(parent)
    dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    dialog.setWindowTitle(title)
    dialog.resize(760, 420)
    QVBoxLayout(dialog).addWidget(content)
    return dialog
