"""Hints in empty fields, legible in every theme."""

from qtpy.QtCore import QEvent, QObject
from qtpy.QtGui import QColor, QPalette
from qtpy.QtWidgets import QLineEdit

from napari_graphflow.plugin.widgets.palette import HINTED, hint_colour

_RESTYLED = (QEvent.Type.PaletteChange, QEvent.Type.StyleChange, QEvent.Type.Polish)


def set_hint(field: QLineEdit, text: str) -> None:
    """Show a text in a field of a `Panel` while it is empty.

    Qt would halve the opacity of napari's letters, which leaves too little contrast, whenever a
    style sheet is applied.
    """
    field.setPlaceholderText(text)
    if field.property("graphflow") == HINTED:
        return
    field.setProperty("graphflow", HINTED)
    field.installEventFilter(_Legible(field))
    field.style().unpolish(field)
    field.style().polish(field)


class _Legible(QObject):
    """Colours the hint of its parent."""

    def eventFilter(self, field: QObject, event: QEvent) -> bool:
        if event.type() in _RESTYLED and isinstance(field, QLineEdit):
            palette = field.palette()
            letters = palette.color(QPalette.ColorRole.Text).name()
            colour = QColor(hint_colour(letters))
            if palette.color(QPalette.ColorRole.PlaceholderText) != colour:
                palette.setColor(QPalette.ColorRole.PlaceholderText, colour)
                field.setPalette(palette)
        return False
