"""A progress bar with words and the time left."""

import time
from typing import Any

from qtpy.QtCore import QTimer, Signal
from qtpy.QtWidgets import (
    QHBoxLayout,
    QProgressBar,
    QPushButton,
    QWidget,
)

from napari_graphflow.plugin.widgets.words import Progress, as_text, progress_text

CANCELLING = "cancelling …"
#: Seconds of waiting from which they are counted in the bar.
COUNTED_S = 2
#: Least seconds between two numbers in the bar: with it Qt paints all that lies behind it.
SHOWN_S = 0.2


class ProgressRow(QWidget):
    """A progress bar with the time left, and a cancel button."""

    cancelled = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._text, self._since = "", 0.0
        self._shown_at = 0.0
        self.bar = WordsBar()
        self.bar.setMinimumHeight(20)
        self.cancel = QPushButton("✕")
        self.cancel.setFixedSize(24, 22)
        self.cancel.setToolTip("Cancel")
        self.cancel.setAccessibleName("Cancel")
        self.cancel.clicked.connect(self._cancel)
        self._seconds = QTimer(self)
        self._seconds.setInterval(1000)
        self._seconds.timeout.connect(self._count)
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
        if self._text == CANCELLING:
            return  # an answer on its way is no news
        phase = str(reply.get("phase", ""))
        if reply.get("total"):
            done, total = reply["done"], reply["total"]
            steps = reply.get("steps")
            words = f"{steps} {done} of {total}" if steps else phase
            self.advance(done, total, reply.get("eta_s"), words)
        else:
            self.wait(phase)

    def wait(self, text: str) -> None:
        """Show an activity with an unknown number of steps, and its seconds."""
        if text != self._text:
            self._text, self._since = text, time.monotonic()
        self.bar.setRange(0, 0)
        self.setToolTip(as_text(text))
        self._seconds.start()
        self._count()
        self.show()

    def advance(self, done: int, total: int, eta_s: float | None, words: str = "") -> None:
        """Show how many of `total` steps are done, a few times a second."""
        now = time.monotonic()
        going_on = self.isVisible() and not self._text and total == self.bar.maximum()
        if going_on and done < total and now - self._shown_at < SHOWN_S:
            return
        self._shown_at = now
        self._text = ""
        self._seconds.stop()
        self.bar.setRange(0, max(total, 1))
        self.bar.setValue(done)
        numbers = progress_text(done, total, eta_s)
        self.bar.setFormat(f"{words} · {numbers}" if words else numbers)
        self.setToolTip(self.bar.format())
        self.show()

    def hideEvent(self, event: Any) -> None:
        """Count no longer."""
        super().hideEvent(event)
        if self.isHidden():  # not only its dock
            self._seconds.stop()
            self._text = ""

    def _count(self) -> None:
        seconds = int(time.monotonic() - self._since)
        self.bar.setFormat(f"{self._text} {seconds} s" if seconds >= COUNTED_S else self._text)

    def _cancel(self) -> None:
        self.wait(CANCELLING)
        self.cancelled.emit()


class WordsBar(QProgressBar):
    """A progress bar that shows its words while the number of steps is unknown, too."""

    def text(self) -> str:
        """Return the words; Qt has none for a bar without steps."""
        if self.maximum() == 0:
            return str(self.format())
        return str(super().text())
