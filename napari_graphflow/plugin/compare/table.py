"""The table of a comparison: one row per class."""

import math
from collections.abc import Sequence

from qtpy.QtCore import Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem

from napari_graphflow.evaluation.comparison import Row


class ComparisonTable(QTableWidget):
    """Shows Dice and size per class."""

    def __init__(self) -> None:
        super().__init__()
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(24)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setShowGrid(False)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)

    def fill(self, rows: Sequence[Row], unit: str) -> None:
        """Show the rows; sizes are volumes in ml, areas in mm², or numbers of voxels or pixels."""
        with_reference = any(found.scores for found in rows)
        titles = ["class", "A · B"]
        titles += ["A · ref", "B · ref"] if with_reference else []
        titles += [f"A {unit}", f"B {unit}"]
        tips = ["", "Dice of A and B"]
        tips += ["Dice of A and reference", "Dice of B and reference"] if with_reference else []
        size = {"ml": "Volume", "mm²": "Area"}.get(unit, "Size")
        tips += [f"{size} in A", f"{size} in B"]
        self.setColumnCount(len(titles))
        self.setHorizontalHeaderLabels(titles)
        for column, tip in enumerate(tips):
            self.horizontalHeaderItem(column).setToolTip(tip)
        self.setRowCount(len(rows))
        for index, found in enumerate(rows):
            cells = [found.name, _score(found.agreement)]
            cells += [_score(score) for score in found.scores or ()]
            # They are in ml; without a voxel size, a voxel counts as 1 mm³.
            factor = 1000 if unit == "voxels" else 1
            cells += [_volume(volume * factor) for volume in found.volumes]
            for column, text in enumerate(cells):
                self.setItem(index, column, _cell(text, column > 0))
        header = self.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        shown = range(min(len(rows), 8))
        height = header.sizeHint().height() + sum(self.rowHeight(index) for index in shown)
        self.setFixedHeight(height + 4)


def _cell(text: str, number: bool) -> QTableWidgetItem:
    item = QTableWidgetItem(text)
    side = Qt.AlignmentFlag.AlignRight if number else Qt.AlignmentFlag.AlignLeft
    item.setTextAlignment(int(side | Qt.AlignmentFlag.AlignVCenter))
    if text == "–":
        item.setForeground(QColor("#888888"))
    return item


def _score(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"


def _volume(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
