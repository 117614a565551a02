"""The list of jobs, two lines each."""

from collections.abc import Callable

from qtpy.QtCore import QModelIndex, QPersistentModelIndex, QRect, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QPainter
from qtpy.QtWidgets import (
    QAbstractItemView,
    QListWidget,
    QListWidgetItem,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
)
from superqt.utils import signals_blocked

from napari_graphflow.jobs.job import Job
from napari_graphflow.plugin.jobs.presenter import Row
from napari_graphflow.plugin.widgets.palette import DARK, LIST, Colours
from napari_graphflow.plugin.widgets.words import as_text

SHOWN_ROWS = 4
#: Where an item keeps its `Row`.
ROW = Qt.ItemDataRole.UserRole
MARGIN = 6
LINE_GAP = 2
BAR_HEIGHT = 3


class JobsList(QListWidget):
    """Shows the rows of the presenter."""

    def __init__(self) -> None:
        super().__init__()
        self.jobs: list[Job] = []
        self._items: dict[Job, QListWidgetItem] = {}
        self._lines = TwoLines(self)
        self.setItemDelegate(self._lines)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setUniformItemSizes(True)
        self.setAccessibleName("Jobs")
        self.setObjectName(LIST)

    def set_colours(self, colours: Colours) -> None:
        """Draw in the colours of a theme."""
        self._lines.colours = colours
        self.viewport().update()

    def sizeHint(self) -> QSize:
        """Return room for a few rows."""
        rows = min(max(len(self.jobs), 1), SHOWN_ROWS)
        return QSize(200, rows * self._lines.height() + 2 * self.frameWidth())

    def minimumSizeHint(self) -> QSize:
        return self.sizeHint()

    def selected(self) -> Job | None:
        """Return the job of the selected row, or None."""
        chosen = self.selectedItems()
        return self.jobs[self.row(chosen[0])] if chosen else None

    def choose(self, job: Job) -> None:
        """Select the row of a listed job."""
        self.setCurrentItem(self._items[job])

    def list_jobs(self, jobs: list[Job], row: Callable[[Job], Row], chosen: Job | None) -> None:
        """List other jobs without emitting a signal; select `chosen` or the first job."""
        with signals_blocked(self):
            self.clear()
            self.jobs = list(jobs)
            self._items = {job: QListWidgetItem(self) for job in jobs}
            for job in jobs:
                self.fill(job, row(job))
            if jobs:
                self.choose(chosen if chosen in self._items else jobs[0])
        self.setVisible(bool(jobs))
        self.updateGeometry()

    def fill(self, job: Job, row: Row) -> None:
        """Update the row of a job."""
        item = self._items.get(job)
        if item is not None:
            item.setData(ROW, row)
            item.setText(row.text)
            item.setToolTip(as_text(row.tip))

    def row_of(self, job: Job) -> Row:
        """Return what the row of a job shows."""
        shown: Row = self._items[job].data(ROW)
        return shown


class TwoLines(QStyledItemDelegate):
    """Draws name and Dice above method, state and time left, and a bar below."""

    def __init__(self, listing: JobsList) -> None:
        super().__init__(listing)
        self._list = listing
        self.colours = DARK

    def height(self) -> int:
        """Return the height of a row."""
        return 2 * (self._list.fontMetrics().height() + MARGIN) + LINE_GAP + BAR_HEIGHT

    def sizeHint(
        self, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex
    ) -> QSize:
        return QSize(100, self.height())

    def paint(
        self,
        painter: QPainter,
        option: QStyleOptionViewItem,
        index: QModelIndex | QPersistentModelIndex,
    ) -> None:
        """Draw a row."""
        row: Row | None = index.data(ROW)
        if row is None:
            return
        # The style draws the background, but not the text.
        self.initStyleOption(option, index)
        option.text = ""
        style = self._list.style()
        style.drawControl(QStyle.ControlElement.CE_ItemViewItem, option, painter, self._list)
        chosen = bool(option.state & QStyle.StateFlag.State_Selected)
        text = self._list.palette().color(self._list.foregroundRole())
        metrics = self._list.fontMetrics()
        cell = option.rect.adjusted(MARGIN + 4, MARGIN, -MARGIN, -MARGIN)
        upper = QRect(cell.left(), cell.top(), cell.width(), metrics.height())
        lower = upper.translated(0, metrics.height() + LINE_GAP)
        painter.save()
        painter.setFont(self._list.font())
        painter.setPen(text)
        _draw(painter, upper, row.title, row.dice, Qt.TextElideMode.ElideMiddle)
        # The selection of napari is too bright for coloured letters.
        painter.setPen(text if chosen else self._state_colour(row))
        _draw(painter, lower, row.about, row.left, Qt.TextElideMode.ElideRight)
        if row.share is not None:
            self._draw_bar(painter, QRectF(cell.left(), lower.bottom() + 2, cell.width(), 3), row)
        painter.restore()

    def _draw_bar(self, painter: QPainter, bar: QRectF, row: Row) -> None:
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        width = bar.width()
        for colour, length in (
            (self.colours.groove, width),
            (self.colours.active, width * min(row.share or 0, 1)),
        ):
            painter.setBrush(QColor(colour))
            bar.setWidth(length)
            painter.drawRoundedRect(bar, BAR_HEIGHT / 2, BAR_HEIGHT / 2)

    def _state_colour(self, row: Row) -> QColor:
        colours = self.colours
        return QColor(
            {
                "running": colours.active,
                "paused": colours.warn,
                "done": colours.done,
                "failed": colours.fail,
                "lost": colours.fail,
            }.get(row.state, colours.note)
        )


def _draw(painter: QPainter, line: QRect, left: str, right: str, elide: Qt.TextElideMode) -> None:
    """Draw a text at the left, shortened by what stands at the right."""
    metrics = painter.fontMetrics()
    middle = Qt.AlignmentFlag.AlignVCenter
    painter.drawText(line, int(middle | Qt.AlignmentFlag.AlignRight), right)
    room = line.width() - (metrics.horizontalAdvance(right) + 2 * MARGIN if right else 0)
    shown = metrics.elidedText(left, elide, max(room, 0))
    painter.drawText(line, int(middle | Qt.AlignmentFlag.AlignLeft), shown)
