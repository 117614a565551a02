"""The table of jobs, one row each."""

from collections.abc import Callable

from qtpy.QtCore import QEvent, QModelIndex, QPersistentModelIndex, QRectF, Qt
from qtpy.QtGui import QColor, QPainter
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableWidget,
    QTableWidgetItem,
)
from superqt.utils import signals_blocked

from napari_graphflow.jobs.job import Job
from napari_graphflow.plugin.jobs.presenter import Row
from napari_graphflow.plugin.widgets.layout import GREY
from napari_graphflow.plugin.widgets.words import as_text

SHOWN_ROWS = 5
ROW_HEIGHT = 26
#: Colour of each state, legible in napari's dark and light theme.
COLOURS = {
    "created": GREY,
    "queued": GREY,
    "running": "#4fb3ff",
    "paused": "#d9a514",
    "done": "#5fbf6a",
    "failed": "#f0716c",
    "cancelled": GREY,
    "lost": "#f0716c",
}
#: Header and tooltip of each column, and the longest text that must fit.
COLUMNS = (
    ("Job", "", ""),
    ("State", "", "cancelled"),
    ("Left", "Time left in the current phase", "2 h 05"),
    ("On", "Device or cluster that runs the job", "cuda:0"),
    ("Dice", "Best mean Dice on the validation cases", "0.000"),
)
STATE = 1
SHARE = Qt.ItemDataRole.UserRole
PADDING = 12
BAR_HEIGHT = 3


class JobsTable(QTableWidget):
    """Shows the rows of the presenter."""

    def __init__(self) -> None:
        super().__init__(0, len(COLUMNS))
        self.jobs: list[Job] = []
        self._rows: dict[Job, int] = {}
        self.setHorizontalHeaderLabels([head for head, _, _ in COLUMNS])
        for column, (_, tip, _) in enumerate(COLUMNS):
            head = self.horizontalHeaderItem(column)
            head.setToolTip(tip)
            side = Qt.AlignmentFlag.AlignRight if column > STATE else Qt.AlignmentFlag.AlignLeft
            head.setTextAlignment(int(side | Qt.AlignmentFlag.AlignVCenter))
        header = self.horizontalHeader()
        # napari does not style headers, and the bevels of the system style stand out.
        header.setStyleSheet(
            f"QHeaderView::section {{ background: transparent; border: none; color: {GREY}; }}"
        )
        header.setHighlightSections(False)
        header.setSectionsClickable(False)
        header.setMinimumSectionSize(1)
        header.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self.verticalHeader().hide()
        self.verticalHeader().setMinimumSectionSize(ROW_HEIGHT)
        self.verticalHeader().setDefaultSectionSize(ROW_HEIGHT)
        self._bar = Bar(self)  # Qt does not own it
        self.setItemDelegateForColumn(STATE, self._bar)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setShowGrid(False)
        self.setWordWrap(False)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._fit()

    def changeEvent(self, event: QEvent) -> None:
        """Update the column widths when the theme or its font changes."""
        super().changeEvent(event)
        if event.type() in (QEvent.Type.StyleChange, QEvent.Type.FontChange):
            self._fit()

    def selected(self) -> Job | None:
        """Return the job of the selected row, or None."""
        chosen = {item.row() for item in self.selectedItems()}
        return self.jobs[min(chosen)] if chosen else None

    def choose(self, job: Job) -> None:
        """Select the row of a listed job."""
        self.selectRow(self._rows[job])

    def list_jobs(self, jobs: list[Job], row: Callable[[Job], Row], chosen: Job | None) -> None:
        """List other jobs without emitting a signal; select `chosen` or the first job."""
        with signals_blocked(self):
            self.jobs = list(jobs)
            self._rows = {job: number for number, job in enumerate(jobs)}
            self.setRowCount(len(jobs))
            for job in jobs:
                self.fill(job, row(job))
            if chosen in self._rows:
                self.selectRow(self._rows[chosen])
            elif jobs:
                self.selectRow(0)
        self.setVisible(bool(jobs))
        self._fit()

    def fill(self, job: Job, row: Row) -> None:
        """Update the row of a job."""
        number = self._rows.get(job)
        if number is None:
            return
        for column, (text, tip) in enumerate(zip(row.texts, row.tips, strict=True)):
            item = self.item(number, column)
            if item is None:
                item = QTableWidgetItem()
                side = Qt.AlignmentFlag.AlignRight if column > STATE else Qt.AlignmentFlag.AlignLeft
                item.setTextAlignment(int(side | Qt.AlignmentFlag.AlignVCenter))
                self.setItem(number, column, item)
            item.setText(text)
            item.setToolTip(as_text(tip))
        state_item = self.item(number, STATE)
        state_item.setForeground(QColor(COLOURS[row.state]))
        state_item.setData(SHARE, row.share)

    def _fit(self) -> None:
        metrics = self.fontMetrics()
        for column, (head, _, text) in enumerate(COLUMNS[1:], start=1):
            width = max(metrics.horizontalAdvance(words) for words in (head, text))
            self.setColumnWidth(column, width + PADDING)
        rows = min(max(len(self.jobs), 1), SHOWN_ROWS)
        self.setFixedHeight(rows * ROW_HEIGHT + self.horizontalHeader().sizeHint().height() + 4)


class Bar(QStyledItemDelegate):
    """Draws a thin progress bar below the percentage of a running job."""

    def paint(
        self,
        painter: QPainter,
        option: QStyleOptionViewItem,
        index: QModelIndex | QPersistentModelIndex,
    ) -> None:
        """Draw the text and the bar."""
        super().paint(painter, option, index)
        share = index.data(SHARE)
        if share is None:
            return
        cell = option.rect
        width = cell.width() - PADDING
        bar = QRectF(cell.left() + 4, cell.bottom() - BAR_HEIGHT - 1, width, BAR_HEIGHT)
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        groove = QColor(GREY)
        groove.setAlpha(90)
        for colour, length in ((groove, width), (QColor(COLOURS["running"]), width * share)):
            painter.setBrush(colour)
            bar.setWidth(min(length, width))
            painter.drawRoundedRect(bar, BAR_HEIGHT / 2, BAR_HEIGHT / 2)
        painter.restore()
