"""Tables to read, such as those of rounds and readers."""

from collections.abc import Collection, Sequence

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractItemView, QTableWidget, QTableWidgetItem


def table(headers: Sequence[str]) -> QTableWidget:
    """Make a table to read."""
    found = QTableWidget(0, len(headers))
    found.setHorizontalHeaderLabels(headers)
    found.verticalHeader().hide()
    found.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    found.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    found.setWordWrap(False)
    found.horizontalHeader().setDefaultAlignment(Qt.AlignmentFlag.AlignLeft)
    found.horizontalHeader().setStretchLastSection(True)
    return found


def fill(found: QTableWidget, rows: Sequence[Sequence[str]], numbers: Collection[int] = ()) -> None:
    """Show rows of texts; columns of numbers are aligned at the right."""
    found.setRowCount(len(rows))
    for line, texts in enumerate(rows):
        for column, text in enumerate(texts):
            item = QTableWidgetItem(text)
            item.setToolTip(text)
            if column in numbers:
                side = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
                item.setTextAlignment(int(side))
            found.setItem(line, column, item)
    found.resizeColumnsToContents()
    for column in range(found.columnCount()):
        found.setColumnWidth(column, min(found.columnWidth(column), 380))
