"""A progress bar with the time left."""

from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QHBoxLayout,
    QProgressBar,
    QPushButton,
    QWidget,
)

from napari_graphflow.plugin.widgets.words import Progress, as_text, progress_text


class ProgressRow(QWidget):
    """A progress bar with the time left, and a cancel button."""

    cancelled = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.bar = QProgressBar()
        self.bar.setFixedHeight(18)
        self.cancel = QPushButton("✕")
        self.cancel.setFixedSize(24, 22)
        self.cancel.setToolTip("Cancel")
        self.cancel.clicked.connect(self.cancelled)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(6)
        row.addWidget(self.bar, 1)
        row.addWidget(self.cancel)
        self.hide()

    def present(self, progress: Progress | None) -> None:
        """Show what a presenter says; nothing if it is None."""
        if progress is None:
            self.hide()
        elif progress.total:
            self.advance(progress.step, progress.total, progress.eta_s, progress.text)
        else:
            self.wait(progress.text)

    def follow(self, reply: dict[str, Any]) -> None:
        """Show the progress that the worker reports."""
        if reply.get("total"):
            phase = str(reply.get("phase", ""))
            self.advance(reply["done"], reply["total"], reply.get("eta_s"), phase)
        else:
            self.wait(str(reply.get("phase", "")))

    def wait(self, text: str) -> None:
        """Show an activity with an unknown number of steps."""
        self.bar.setRange(0, 0)
        self.bar.setFormat(text)
        self.setToolTip(as_text(text))
        self.show()

    def advance(self, done: int, total: int, eta_s: float | None, phase: str = "") -> None:
        """Show how many of `total` steps are done."""
        self.bar.setRange(0, max(total, 1))
        self.bar.setValue(done)
        self.bar.setFormat(progress_text(done, total, eta_s))
        self.setToolTip(as_text(phase))
        self.show()
