"""The list of cases: picture, name, status, volumes of structures, uncertainty, reader, date."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from qtpy.QtCore import QAbstractTableModel, QModelIndex, QSize, Qt, Signal
from qtpy.QtGui import QColor, QFont, QIcon, QImage, QPainter, QPixmap
from qtpy.QtWidgets import QAbstractItemView, QFrame, QHeaderView, QTableView, QWidget

from napari_graphflow.labelling.overview import CaseRow
from napari_graphflow.labelling.statuses import STATUSES, Status
from napari_graphflow.plugin.dataset import presenter
from napari_graphflow.plugin.dataset.pictures import SIZE, Picture
from napari_graphflow.plugin.dataset.volumes import Measured
from napari_graphflow.plugin.widgets.layout import scaled

HEADERS = ("Case", "Status", "Structures", "Unsure of", "Reader", "Changed")
_SORT_BY_STATUS = {status: number for number, status in enumerate(STATUSES)}


class CaseModel(QAbstractTableModel):
    """The cases that match the search, in the chosen order."""

    def __init__(self) -> None:
        super().__init__()
        self._rows: list[CaseRow] = []
        self._shown: list[CaseRow] = []
        self._order: list[str] = []
        self._volumes: dict[str, Mapping[str, float]] = {}
        self._pictures: dict[str, QIcon] = {}
        self._search = ""
        self._status: Status | None = None
        self._sort = (0, Qt.SortOrder.AscendingOrder)
        self._icons = {status: _dot(colour) for status, colour in presenter.COLOURS.items()}
        self.current = ""

    def put(self, rows: list[CaseRow]) -> None:
        """Show other cases."""
        self._rows = rows
        self._arrange()

    def put_measured(self, name: str, found: Measured) -> None:
        """Show the volumes of the structures of a case in ml, and its picture."""
        if found.volumes is None:
            self._volumes.pop(name, None)
        else:
            self._volumes[name] = found.volumes
        self.put_picture(name, found.picture)

    def put_picture(self, name: str, found: Picture | None) -> None:
        """Show the picture of a case."""
        if found is not None:
            lines = np.ascontiguousarray(found)
            height, width, _ = lines.shape
            image = QImage(lines.data, width, height, 3 * width, QImage.Format.Format_RGB888)
            pixmap, icon = QPixmap.fromImage(image), QIcon()
            for mode in (QIcon.Mode.Normal, QIcon.Mode.Selected):  # else Qt tints it
                icon.addPixmap(pixmap, mode)
            self._pictures[name] = icon
        self._redraw()

    def put_order(self, names: list[str]) -> None:
        """List cases in an order of priority, others after them; empty for the chosen column."""
        self._order = names
        self._arrange()

    def filter(self, search: str, status: Status | None) -> None:
        """Show only the cases that match."""
        self._search, self._status = search, status
        self._arrange()

    def mark(self, name: str) -> None:
        """Show which case is open."""
        self.current = name
        self._redraw()

    def names(self) -> list[str]:
        """Return the names of the listed cases in their order."""
        return [row.name for row in self._shown]

    def row_of(self, name: str) -> int:
        """Return the row of a case, -1 if it is not listed."""
        names = self.names()
        return names.index(name) if name in names else -1

    def sort(self, column: int, order: Any = Qt.SortOrder.AscendingOrder) -> None:
        """Sort by a column."""
        self._sort, self._order = (column, order), []
        self._arrange()

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        return len(self._shown)

    def columnCount(self, parent: QModelIndex | None = None) -> int:
        return len(HEADERS)

    def headerData(self, section: int, orientation: Any, role: Any = 0) -> Any:
        if role == Qt.ItemDataRole.DisplayRole and orientation == Qt.Orientation.Horizontal:
            return HEADERS[section]
        return None

    def data(self, index: QModelIndex, role: Any = 0) -> Any:
        row = self._shown[index.row()]
        if role == Qt.ItemDataRole.DecorationRole:
            if index.column() == 0:
                return self._pictures.get(row.name)
            return self._icons[row.status] if index.column() == 1 else None
        if role == Qt.ItemDataRole.FontRole and row.name == self.current:
            font = QFont()
            font.setBold(True)
            return font
        if role not in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.ToolTipRole):
            return None
        shown = presenter.cells(row, self._volumes.get(row.name))
        if role == Qt.ItemDataRole.ToolTipRole:
            return shown.tip
        return self._texts(row, shown)[index.column()]

    def _texts(self, row: CaseRow, shown: presenter.Cells) -> tuple[str, ...]:
        sign = "⚠ " if row.problem else ""
        name = sign + shown.name
        return (name, shown.status, shown.volumes, shown.unsure, shown.who, shown.when)

    def _arrange(self) -> None:
        column, order = self._sort
        found = [one for one in self._rows if presenter.matches(one, self._search, self._status)]
        if self._order:
            places = {name: place for place, name in enumerate(self._order)}
            found.sort(key=lambda one: (places.get(one.name, len(places)), one.name))
        else:
            found.sort(key=lambda one: self._key(one, column))
            if order == Qt.SortOrder.DescendingOrder:
                found.reverse()
        self.beginResetModel()
        self._shown = found
        self.endResetModel()

    def _key(self, row: CaseRow, column: int) -> Any:
        if column == 1:
            return _SORT_BY_STATUS[row.status], row.name
        if column == 2:
            return sum(self._volumes.get(row.name, {}).values()), row.name
        if column == 3:
            return (row.uncertainty or ("", 0.0))[1], row.name
        shown = presenter.cells(row)
        return (shown.who if column == 4 else shown.when if column == 5 else ""), row.name

    def _redraw(self) -> None:
        if self._shown:
            last = self.index(len(self._shown) - 1, len(HEADERS) - 1)
            self.dataChanged.emit(self.index(0, 0), last)


class CaseTable(QTableView):
    """Shows a `CaseModel`; a double click opens a case."""

    opened = Signal(str)

    def __init__(self, model: CaseModel) -> None:
        super().__init__()
        self.setModel(model)
        self.cases = model
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setShowGrid(False)
        self.setWordWrap(False)
        # Names of cases often differ at their end only.
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.setAlternatingRowColors(False)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(scaled(28))
        self.setIconSize(QSize(SIZE, SIZE))
        header = self.horizontalHeader()
        header.setSectionsClickable(True)
        header.setSortIndicatorShown(True)
        header.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        header.setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
        for column, width in enumerate((124, 98, 110, 90, 80, 110)):
            header.resizeSection(column, scaled(width))
        header.setStretchLastSection(True)
        header.sortIndicatorChanged.connect(model.sort)
        header.setSortIndicator(0, Qt.SortOrder.AscendingOrder)
        self.setTextElideMode(Qt.TextElideMode.ElideRight)
        self.make_room(False)
        model.modelReset.connect(self._fit_names)
        self.doubleClicked.connect(self._open)

    def sizeHint(self) -> QSize:
        return QSize(300, self.minimumHeight() + 10)

    def make_room(self, wanted: bool) -> None:
        """Leave room for the open case, in a low window."""
        height = scaled(124 if wanted else 180)
        if height != self.minimumHeight():
            self.setMinimumHeight(height)
            self.updateGeometry()

    def _fit_names(self) -> None:
        longest = max(
            (self.fontMetrics().horizontalAdvance(one) for one in self.cases.names()), default=0
        )
        # The open case is in bold letters.
        width = SIZE + 18 + round(1.15 * longest)
        self.horizontalHeader().resizeSection(0, max(90, min(width, 190)))

    def chosen(self) -> str:
        """Return the selected case; empty without one."""
        found = self.selectionModel().selectedRows()
        return self.cases.names()[found[0].row()] if found else ""

    def choose(self, name: str) -> None:
        """Select a case and scroll to it."""
        row = self.cases.row_of(name)
        if row >= 0:
            self.selectRow(row)
            self.scrollTo(self.cases.index(row, 0))

    def keyPressEvent(self, event: Any) -> None:
        """Open the selected case with Return."""
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and self.chosen():
            self.opened.emit(self.chosen())
            return
        super().keyPressEvent(event)

    def _open(self, index: QModelIndex) -> None:
        self.opened.emit(self.cases.names()[index.row()])


class CountsBar(QWidget):
    """A bar with one part per status."""

    def __init__(self) -> None:
        super().__init__()
        self.setFixedHeight(8)
        self._counts: Mapping[Status, int] = {}

    def put(self, counts: Mapping[Status, int]) -> None:
        """Show other counts."""
        self._counts = counts
        self.setToolTip(presenter.counts_text(counts))
        self.update()

    def paintEvent(self, event: Any) -> None:
        painter = QPainter(self)
        total, left = sum(self._counts.values()), 0.0
        for status, count in self._counts.items():
            width = self.width() * count / total
            colour = QColor(presenter.COLOURS[status])
            painter.fillRect(round(left), 0, max(2, round(width) - 1), self.height(), colour)
            left += width
        painter.end()


def _dot(colour: str) -> QPixmap:
    pixmap = QPixmap(12, 12)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(QColor(colour))
    painter.drawEllipse(1, 1, 10, 10)
    painter.end()
    return pixmap
