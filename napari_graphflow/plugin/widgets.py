"""Small pieces that every widget of ours is made of."""

from collections.abc import Callable, Iterable
from typing import Any

from napari.components import ViewerModel
from napari.layers import Layer
from napari.utils.notifications import show_error, show_info, show_warning
from napari.utils.theme import get_theme
from qtpy.QtCore import QEvent, QSize, Qt, QTimer, Signal
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import (
    QApplication,
    QComboBox,
    QDockWidget,
    QFrame,
    QHBoxLayout,
    QLabel,
    QMainWindow,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_graphflow.errors import UserError
from napari_graphflow.plugin.attend import attend
from napari_graphflow.plugin.background import Background
from napari_graphflow.plugin.layout import shrinkable

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
        attend(viewer)

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

    def _show(self, text: str, style: str) -> None:
        self.setText(text)
        self.setStyleSheet(style)
        self.setVisible(bool(text))


class LayerCombo(QComboBox):
    """Lists the layers of the viewer that `accept` lets through, by object and not by name."""

    layer_changed = Signal(object)

    def __init__(
        self,
        viewer: ViewerModel,
        accept: Callable[[Layer], bool],
        *,
        empty: str,
        optional: str = "",
    ) -> None:
        super().__init__()
        self._viewer, self._accept, self._empty, self._optional = viewer, accept, empty, optional
        shrinkable(self)
        self._shown: Any = None
        for event in (
            viewer.layers.events.inserted,
            viewer.layers.events.removed,
            viewer.layers.events.reordered,
        ):
            event.connect(self.refresh)
        self.currentIndexChanged.connect(self._announce)
        self.refresh()

    def layer(self) -> Layer | None:
        """The chosen layer, or None."""
        found = self.currentData()
        return found if isinstance(found, Layer) else None

    def choose(self, layer: Layer) -> None:
        """Choose a layer that is listed."""
        for index in range(self.count()):
            if self.itemData(index) is layer:
                self.setCurrentIndex(index)

    def refresh(self, event: Any = None) -> None:
        """List the layers of now; the choice stays where it is still there."""
        chosen = self.currentData()
        layers = [layer for layer in reversed(list(self._viewer.layers)) if self._accept(layer)]
        for layer in layers:
            layer.events.name.connect(self._rename)
        self.blockSignals(True)
        self.clear()
        if self._optional or not layers:
            self.addItem(self._optional if layers else self._empty, None)
        for layer in layers:
            self.addItem(layer.name, layer)
        more = self._more()
        for title, data in more:
            self.addItem(title, data)
        self.setEnabled(bool(layers or more))
        entries = [self.itemData(index) for index in range(self.count())]
        if chosen in entries:
            self.setCurrentIndex(entries.index(chosen))
        self.blockSignals(False)
        self._announce()

    def _more(self) -> list[tuple[str, Any]]:
        """Entries after the layers, with their data."""
        return []

    def _rename(self, event: Any) -> None:
        for index in range(self.count()):
            layer = self.itemData(index)
            if isinstance(layer, Layer):
                self.setItemText(index, layer.name)

    def _announce(self) -> None:
        if self.currentData() is not self._shown:
            self._shown = self.currentData()
            self.layer_changed.emit(self.layer())


class ProgressRow(QWidget):
    """A bar, the time left and a button that cancels."""

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

    def follow(self, reply: dict[str, Any]) -> None:
        """Show how far the worker says it is."""
        if reply.get("total"):
            self.advance(reply["done"], reply["total"], reply.get("eta_s"))
        else:
            self.wait(str(reply.get("phase", "")))

    def wait(self, text: str) -> None:
        """Show that something without known steps goes on."""
        self.bar.setRange(0, 0)
        self.bar.setFormat(text)
        self.setToolTip(text)
        self.show()

    def advance(self, done: int, total: int, eta_s: float | None) -> None:
        """Show how many of the known steps are done."""
        self.bar.setRange(0, max(total, 1))
        self.bar.setValue(done)
        self.bar.setFormat(progress_text(done, total, eta_s))
        self.show()


def progress_text(done: int, total: int, eta_s: float | None) -> str:
    """Say progress in a few characters, such as ``62 % · 0:14 left``."""
    share = f"{100 * done // max(total, 1)} %"
    return share if eta_s is None else f"{share} · {duration(eta_s)} left"


def duration(seconds: float) -> str:
    """Write a time as 0:14, 3:20 or 2 h 05 min."""
    whole = max(0, round(seconds))
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes}:{rest:02d}"


def count_text(number: int) -> str:
    """Write a number of parameters as 38 M, 0.35 M or 12 k."""
    if number >= 10_000_000:
        return f"{number / 1e6:.0f} M"
    if number >= 1_000_000:
        return f"{number / 1e6:.1f} M"
    if number >= 100_000:
        return f"{number / 1e6:.2f} M"
    return f"{number / 1e3:.0f} k" if number >= 1000 else str(number)


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
