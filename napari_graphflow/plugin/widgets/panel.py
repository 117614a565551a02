"""Base class of the docks, with the status line and the primary button."""

from collections.abc import Iterable
from typing import Any

from napari.components import ViewerModel
from napari.settings import get_settings
from napari.utils.notifications import show_error, show_info, show_warning
from napari.utils.theme import get_theme
from qtpy.QtCore import QEvent, QSize, Qt, QTimer, Signal
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import (
    QApplication,
    QDockWidget,
    QFrame,
    QLabel,
    QMainWindow,
    QScrollArea,
    QSizePolicy,
    QTabBar,
    QVBoxLayout,
    QWidget,
)

from napari_graphflow.errors import UserError
from napari_graphflow.plugin.viewer.preferences import after_opening
from napari_graphflow.plugin.viewer.session import start_session
from napari_graphflow.plugin.widgets.background import Background
from napari_graphflow.plugin.widgets.keys import KeyButton
from napari_graphflow.plugin.widgets.later import import_in_thread
from napari_graphflow.plugin.widgets.layout import scaled, set_role
from napari_graphflow.plugin.widgets.palette import colours_of, style_sheet
from napari_graphflow.plugin.widgets.tab_order import focus_on, next_control
from napari_graphflow.plugin.widgets.words import Message

#: Width of a dock in pixels at the size of napari's font.
WIDTH = 340
NOT_A_DEVICE = "For research use only. Not a medical device; not for diagnosis or treatment."


class Panel(QScrollArea):
    """The content of a dock: one column that scrolls vertically.

    Subclasses fill `self.column` and report through `self.status`.

    Attributes
    ----------
    closing
        Emitted when background work must stop.
    colours
        Colours of texts for the theme of napari.
    themed
        Emitted with these colours when the theme changes.
    """

    closing = Signal()
    themed = Signal(object)

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self.viewer = viewer
        self._placed = False
        self._restyle()
        viewer.events.theme.connect(self._restyle)
        get_settings().appearance.events.font_size.connect(self._restyle)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        # Expanding, so that napari adds no stretch below.
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)
        self.setMinimumWidth(scaled(WIDTH))
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

    def _restyle(self, _: Any = None) -> None:
        self.colours = colours_of(self.viewer.theme)
        self.setStyleSheet(style_sheet(self.viewer.theme, get_settings().appearance.font_size))
        self.themed.emit(self.colours)

    @property
    def title(self) -> str:
        """Name of the dock, that of its room."""
        return type(self).__module__.split(".")[-2].capitalize()

    def sizeHint(self) -> QSize:
        """Return the default width and the height of all rows."""
        return QSize(scaled(WIDTH), self.widget().sizeHint().height())

    def event(self, event: QEvent) -> bool:
        """Release resources when the dock is closed: napari then removes its content."""
        if event.type() == QEvent.Type.ParentChange and self.parent() is None:
            self.released()
        return super().event(event)

    def showEvent(self, event: QShowEvent) -> None:
        """Join the other docks of this plugin as a tab."""
        super().showEvent(event)
        if not self._placed:
            self._placed = True
            QTimer.singleShot(0, self._join_tabs)
            after_opening(self, import_in_thread)

    def _join_tabs(self) -> None:
        dock = self.parent()
        window = self.window()
        if not isinstance(dock, QDockWidget) or not isinstance(window, QMainWindow):
            return
        # napari adds the name of the plugin, which cuts the tabs; it finds docks by another name.
        dock.setWindowTitle(self.title)
        for tabs in window.findChildren(QTabBar):
            tabs.setElideMode(Qt.TextElideMode.ElideNone)
        area = window.dockWidgetArea(dock)
        for other in window.findChildren(QDockWidget):
            ours = other is not dock and isinstance(other.widget(), Panel)
            if ours and not other.isFloating() and window.dockWidgetArea(other) == area:
                window.tabifyDockWidget(other, dock)
                dock.raise_()
                return

    def focusNextPrevChild(self, forward: bool) -> bool:
        """Go to the control below, or above; Qt would go by the order in which they were made."""
        control = next_control(self, forward=forward)
        if control is None:
            return bool(super().focusNextPrevChild(forward))
        focus_on(control, forward=forward)
        if self.isAncestorOf(control):
            self.ensureWidgetVisible(control)
        return True

    def released(self) -> None:
        """Stop background work."""
        self.closing.emit()
        self.background.stop()
        get_settings().appearance.events.font_size.disconnect(self._restyle)

    def fail(self, error: Exception) -> None:
        """Show a `UserError` once: in the status line, or as a notification if that is hidden.

        Any other error is raised.
        """
        if not isinstance(error, UserError):
            raise error
        self.status.fail(str(error))
        if self.isVisible():
            QTimer.singleShot(0, self._show_status)
        else:
            show_error(str(error))

    def _show_status(self) -> None:
        self.ensureWidgetVisible(self.status)

    def colour(self, name: str) -> str:
        """Return a colour of napari's current theme, such as ``current`` or ``text``."""
        return str(getattr(get_theme(self.viewer.theme), name).as_hex())


class StatusLine(QLabel):
    """Shows what a widget does, what to do next, or an error."""

    def __init__(self) -> None:
        super().__init__()
        self.setWordWrap(True)
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.info("")

    def info(self, text: str) -> None:
        """Show a message."""
        self._show(text, "")

    def done(self, text: str) -> None:
        """Show that an action has succeeded."""
        self._show(f"✓ {text}", "done")

    def warn(self, text: str, *, notify: bool = False) -> None:
        """Show a warning."""
        self._show(f"⚠ {text}", "warn")
        if notify:
            show_warning(text)

    def fail(self, text: str) -> None:
        """Show an error."""
        self._show(f"✕ {text}", "fail")

    def show_message(self, message: Message) -> None:
        """Show a message of any level."""
        show = {"info": self.info, "done": self.done, "warn": self.warn, "fail": self.fail}
        show[message.level](message.text)

    def _show(self, text: str, role: str) -> None:
        self.setText(text)
        if role != self.property("graphflow"):
            set_role(self, role)
        self.setVisible(bool(text))


class PrimaryButton(KeyButton):
    """The highlighted main button of a dock."""

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
    """Copy text to the clipboard."""
    QApplication.clipboard().setText(text)
    show_info("Copied to the clipboard.")


def enabled(flag: bool, widgets: Iterable[QWidget]) -> None:
    """Enable or disable several widgets."""
    for widget in widgets:
        widget.setEnabled(flag)
