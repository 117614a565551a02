"""Icons of an eye and a lock, drawn, because fonts often lack them."""

from collections.abc import Callable

from qtpy.QtCore import QPointF, QRectF, Qt
from qtpy.QtGui import QColor, QIcon, QPainter, QPen, QPixmap

from napari_graphflow.plugin.widgets.palette import SYMBOL_GREY

_SIZE = 32
_ACTIVE = "#3a9fe0"


def eye_icon() -> QIcon:
    """Return an open eye for a checked button, a crossed one for an unchecked one."""
    return _icon(_open_eye, _closed_eye)


def lock_icon() -> QIcon:
    """Return a closed lock for a checked button, an open one for an unchecked one."""
    return _icon(_closed_lock, _open_lock)


def _icon(on: Callable[[QPainter], None], off: Callable[[QPainter], None]) -> QIcon:
    icon = QIcon()
    for draw, state, colour in (
        (on, QIcon.State.On, _ACTIVE), (off, QIcon.State.Off, SYMBOL_GREY),
    ):  # fmt: skip
        pixmap = QPixmap(_SIZE, _SIZE)
        pixmap.fill(Qt.GlobalColor.transparent)
        painter = QPainter(pixmap)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QPen(QColor(colour), 3))
        draw(painter)
        painter.end()
        icon.addPixmap(pixmap, QIcon.Mode.Normal, state)
    return icon


def _open_eye(painter: QPainter) -> None:
    painter.drawEllipse(QRectF(3, 8, 26, 16))
    painter.setBrush(painter.pen().color())
    painter.drawEllipse(QRectF(12, 12, 8, 8))


def _closed_eye(painter: QPainter) -> None:
    painter.drawEllipse(QRectF(3, 8, 26, 16))
    painter.drawLine(QPointF(4, 28), QPointF(28, 4))


def _closed_lock(painter: QPainter) -> None:
    painter.drawArc(QRectF(9, 4, 14, 18), 0, 180 * 16)
    painter.setBrush(painter.pen().color())
    painter.drawRect(QRectF(6, 14, 20, 14))


def _open_lock(painter: QPainter) -> None:
    painter.drawArc(QRectF(9, 2, 14, 18), 25 * 16, 155 * 16)
    painter.drawRect(QRectF(6, 14, 20, 14))
