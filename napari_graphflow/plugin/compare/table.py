"""The table of a comparison: for each structure a row, or with a reference one per mask."""

import math
from collections.abc import Mapping, Sequence

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem

from napari_graphflow.evaluation.comparison import Row
from napari_graphflow.evaluation.metrics import RULE, TOLERANCE
from napari_graphflow.plugin.widgets.layout import scaled
from napari_graphflow.plugin.widgets.words import in_words

_ROWS_SHOWN = 12
_TIPS = {
    "Dice": "Overlap: 1 = identical, 0 = none.",
    "NSD": f"Surface Dice: share of both surfaces within {TOLERANCE:g} mm of each other.",
    "HD95": "95th percentile of the surface distances, in mm.",
    "ASSD": "Mean surface distance, in mm.",
    "error": "Relative error of the size against the reference.",
}
_METRICS = {
    "Dice": ("dice_score", 3),
    "NSD": ("surface_dice", 3),
    "HD95": ("hausdorff_distance_95", 1),
    "ASSD": ("average_surface_distance", 2),
}


class ComparisonTable(QTableWidget):
    """Shows overlap, distances and size per structure and mask."""

    def __init__(self) -> None:
        super().__init__()
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(scaled(22))
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setShowGrid(False)
        self.setToolTip(RULE)
        #: Index of the structure of each row.
        self.structures: list[int] = []

    def fill(self, rows: Sequence[Row], unit: str, headings: Sequence[str]) -> None:
        """Show the rows; sizes are volumes in ml, areas in mm², or numbers of voxels or pixels.

        Parameters
        ----------
        rows
            The comparison.
        unit
            Of sizes.
        headings
            What each mask is called.
        """
        referenced = any(row.scores for row in rows)
        titles = ["", *_METRICS, unit, *(["error"] if referenced else [])]
        self.structures = []
        lines: list[list[str]] = []
        # They are in ml; without a voxel size, a voxel counts as 1 mm³.
        factor = 1000 if unit == "voxels" else 1
        for index, row in enumerate(rows):
            sizes = [_volume(volume * factor) for volume in row.volumes]
            found = [[in_words(row.name)]]
            if referenced:
                found += [
                    [title, *_cells(scores), size, _percent(scores["relative_volume_error"])]
                    for title, scores, size in zip(headings, row.scores, sizes, strict=False)
                ]
            else:
                found.append(["A to B", *_cells(row.agreement), " · ".join(sizes[:2])])
            lines += found
            self.structures += [index] * len(found)
        self.setColumnCount(len(titles))
        self.setHorizontalHeaderLabels(titles)
        for column, title in enumerate(titles):
            tip = _TIPS.get(title, "")
            self.horizontalHeaderItem(column).setToolTip(
                tip if unit in ("ml", "mm²") else tip.replace(" mm", f" {unit}")
            )
        self.clearSpans()
        self.setRowCount(len(lines))
        for at, cells in enumerate(lines):
            for column, text in enumerate(cells):
                self.setItem(at, column, _cell(text, column > 0))
            if len(cells) == 1:  # a structure, above the masks
                self.setSpan(at, 0, 1, len(titles))
                font = self.font()
                font.setBold(True)
                self.item(at, 0).setFont(font)
        header = self.horizontalHeader()
        header.setMinimumSectionSize(20)
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        # The names above the masks have the whole width.
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        shown = range(min(len(lines), _ROWS_SHOWN))
        height = header.sizeHint().height() + sum(self.rowHeight(index) for index in shown)
        self.setFixedHeight(height + 4 + self.horizontalScrollBar().sizeHint().height())


def _cells(metrics: Mapping[str, float]) -> list[str]:
    return [_number(metrics[key], digits) for key, digits in _METRICS.values()]


def _cell(text: str, number: bool) -> QTableWidgetItem:
    item = QTableWidgetItem(text)
    side = Qt.AlignmentFlag.AlignRight if number else Qt.AlignmentFlag.AlignLeft
    item.setTextAlignment(int(side | Qt.AlignmentFlag.AlignVCenter))
    return item


def _number(value: float, digits: int) -> str:
    if math.isinf(value):
        return "missed"
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


def _percent(value: float) -> str:
    return "–" if not math.isfinite(value) else f"{100 * value:+.0f} %".replace("-", "−")


def _volume(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
