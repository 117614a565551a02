"""Small pieces that every widget of ours is made of."""

from collections.abc import Iterable
from typing import Any

from napari.components import ViewerModel
from napari.utils.notifications import show_error, show_info, show_warning
from napari.utils.theme import get_theme
from qtpy.QtCore import QEvent, QSize, Qt, QTimer
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import (
    QApplication,
    QDockWidget,
    QFrame,
    QLabel,
    QMainWindow,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_graphflow.errors import UserError
from napari_graphflow.plugin.viewer.session import start_session
from napari_graphflow.plugin.widgets.background import Background
from napari_graphflow.plugin.widgets.words import Message

WIDTH = 340


NOT_A_DEVICE = (
    "For research. Not a medical device: never the only basis of a diagnosis or treatment."
)


class Panel(QScrollArea):
    """A dock's content: a column as wide as the dock, which scrolls when the screen is low.

    Subclasses fill `self.column` and say everything through `self.status`.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self.viewer = viewer
        self._placed = False
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        # Expanding, so that napari adds no stretch of its own below.
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)
        self.setMinimumWidth(WIDTH)
        body = QWidget()
        # A narrow dock squeezes the rows instead of cutting them off at the right.
        body.setMinimumWidth(1)
        self.column = QVBoxLayout(body)
        self.column.setContentsMargins(10, 8, 10, 8)
        self.column.setSpacing(8)
        self.setWidget(body)
        self.status = StatusLine()
        self.background = Background(self)
        start_session(viewer)

    def sizeHint(self) -> QSize:
        """Ask for the width of the sketches and for the height that all rows need."""
        return QSize(WIDTH, self.widget().sizeHint().height())

    def event(self, event: QEvent) -> bool:
        """Notice that the dock was closed: napari takes its content out and forgets it."""
        if event.type() == QEvent.Type.ParentChange and self.parent() is None:
            self.released()
        return super().event(event)

    def showEvent(self, event: QShowEvent) -> None:
        """Lie beside our other widgets as a tab; each is as high as the screen."""
        super().showEvent(event)
        if not self._placed:
            self._placed = True
            QTimer.singleShot(0, self._join_tabs)

    def _join_tabs(self) -> None:
        dock = self.parent()
        window = self.window()
        if not isinstance(dock, QDockWidget) or not isinstance(window, QMainWindow):
            return
        area = window.dockWidgetArea(dock)
        for other in window.findChildren(QDockWidget):
            ours = other is not dock and isinstance(other.widget(), Panel)
            if ours and not other.isFloating() and window.dockWidgetArea(other) == area:
                window.tabifyDockWidget(other, dock)
                dock.raise_()
                return

    def released(self) -> None:
        """Stop what goes on beside the window."""
        self.background.stop()

    def fail(self, error: Exception) -> None:
        """Show what the user can mend as a sentence; let napari report anything else."""
        if not isinstance(error, UserError):
            raise error
        self.status.fail(str(error))
        show_error(str(error))

    def colour(self, name: str) -> str:
        """A colour of napari's current theme, such as ``current`` or ``text``."""
        return str(getattr(get_theme(self.viewer.theme), name).as_hex())


class StatusLine(QLabel):
    """The line in which a widget says what it does, what to do next, or what went wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.setWordWrap(True)
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.say("")

    def say(self, text: str) -> None:
        """State something plainly."""
        self._show(text, "")

    def done(self, text: str) -> None:
        """State that something the user asked for has been done."""
        self._show(f"✓ {text}", "color: #46a854;")

    def warn(self, text: str, *, notify: bool = False) -> None:
        """State something to be aware of."""
        self._show(f"⚠ {text}", "color: #c08a12;")
        if notify:
            show_warning(text)

    def fail(self, text: str) -> None:
        """State a failure."""
        self._show(f"✕ {text}", "color: #e8605a;")

    def show_message(self, message: Message) -> None:
        """Show a message of any level."""
        show = {"say": self.say, "done": self.done, "warn": self.warn, "fail": self.fail}
        show[message.level](message.text)

    def _show(self, text: str, style: str) -> None:
        self.setText(text)
        self.setStyleSheet(style)
        self.setVisible(bool(text))


class PrimaryButton(QPushButton):
    """The one button of a widget that stands out."""

    def __init__(self, text: str, panel: Panel) -> None:
        super().__init__(text)
        self._panel = panel
        self.setMinimumHeight(30)
        panel.viewer.events.theme.connect(self._paint)
        self._paint()

    def _paint(self, event: Any = None) -> None:
        self.setStyleSheet(
            f"QPushButton:enabled {{ background-color: {self._panel.colour('current')};"
            " font-weight: bold; }"
        )


def copy_text(text: str) -> None:
    """Put text on the clipboard and say so."""
    QApplication.clipboard().setText(text)
    show_info("Copied.")


def enabled(flag: bool, widgets: Iterable[QWidget]) -> None:
    """Switch several widgets on or off together."""
    for widget in widgets:
        widget.setEnabled(flag)
