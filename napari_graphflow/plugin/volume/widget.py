"""*Volume*: inspect files and DICOM folders, open them, and set the intensity window."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from napari.components import ViewerModel
from napari.layers import Image, Layer
from qtpy.QtCore import Qt
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QComboBox,
    QFileDialog,
    QHeaderView,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
)

from napari_graphflow.imaging.contents import Contents, Part, inspect_path, times
from napari_graphflow.imaging.windows import CT_WINDOWS, is_ct, percentiles
from napari_graphflow.plugin.viewer.cases import cases_of
from napari_graphflow.plugin.viewer.default_reader import is_default, set_default
from napari_graphflow.plugin.viewer.layers import placed_volumes
from napari_graphflow.plugin.viewer.part_layers import Opened, open_part
from napari_graphflow.plugin.viewer.record import recorded
from napari_graphflow.plugin.widgets.layout import Rows, note, row, scaled
from napari_graphflow.plugin.widgets.panel import NOT_A_DEVICE, Panel, PrimaryButton, enabled
from napari_graphflow.plugin.widgets.progress import ProgressRow
from napari_graphflow.plugin.widgets.shown_image import ShownImage

#: Each row has two lines, because a dock is narrow.
COLUMNS = ("Series", "Slices", "Size, spacing (mm)")
ROW_HEIGHT = 40
NOTHING_YET = "Open a file or a folder of DICOM images."
AUTOMATIC = "Automatic"


class VolumeWidget(Panel):
    """Lists the images of a file or folder with their problems, and opens them."""

    def __init__(self, napari_viewer: ViewerModel) -> None:
        super().__init__(napari_viewer)
        self.file = QPushButton("File …")
        self.file.setToolTip("NIfTI, NRRD, MetaImage, DICOM, PNG, JPEG, TIFF")
        self.folder = QPushButton("DICOM folder …")
        self.folder.setToolTip("Lists all series in a folder and its subfolders.")
        self.table = _table()
        self.resample = QCheckBox("Resample to equal slice spacing")
        self.resample.setToolTip("Linear interpolation between neighbouring slices.")
        self.button = PrimaryButton("Open", self)
        self.progress = ProgressRow()
        self.progress.cancel.hide()
        self._cases = cases_of(napari_viewer)
        self.image = ShownImage(napari_viewer)
        self.side_by_side = QCheckBox("Side by side")
        self.side_by_side.setToolTip(
            "Show all open cases next to each other. Otherwise only the selected one is shown."
        )
        self.window_preset = QComboBox()
        self.window_preset.setToolTip(
            "Intensity range: presets in Hounsfield units for CT; Automatic uses the 0.5 and "
            "99.5 percentiles."
        )
        self.facts = note()
        self.default = QCheckBox("Graph Flow opens such files")
        self.default.setToolTip(
            "It keeps the voxel size and the position, and napari does not ask for a reader. "
            "Listed in Preferences > Plugins; readers that you have chosen yourself stay."
        )
        self.default.setChecked(bool(is_default()))
        self._contents: Contents | None = None

        openers = row(self.file, self.folder)
        openers.setStretch(1, 1)
        self.column.addLayout(openers)
        self.column.addWidget(self.table)
        self.column.addWidget(self.status)
        self.column.addWidget(self.resample)
        self.column.addWidget(self.button)
        self.column.addWidget(self.progress)
        view = Rows()
        view.add("Image", self.image)
        view.add("Window", self.window_preset)
        view.add("", self.side_by_side)
        view.add_wide(self.facts)
        self.column.addSpacing(6)
        self.column.addLayout(view)
        self.column.addWidget(self.default)
        self.column.addStretch(1)
        self.column.addWidget(note(NOT_A_DEVICE))

        self.file.clicked.connect(self._choose_file)
        self.folder.clicked.connect(self._choose_folder)
        self.table.itemSelectionChanged.connect(self._selected)
        self.table.cellDoubleClicked.connect(self.open_selected)
        self.button.clicked.connect(self.open_selected)
        self.image.layer_changed.connect(self._describe_image)
        self.default.clicked.connect(set_default)
        self.window_preset.activated.connect(self._apply_window)
        self.side_by_side.clicked.connect(self._set_side_by_side)
        self._cases.events.changed.connect(self._cases_changed, position="last")
        self._show_parts(())
        self.status.info(NOTHING_YET)
        self._describe_image(self.image.layer())
        self._cases_changed()

    def showEvent(self, event: QShowEvent) -> None:
        """Show the answer that may have been given meanwhile."""
        super().showEvent(event)
        self.default.setChecked(bool(is_default()))

    def inspect(self, path: Path) -> None:
        """List the images at a path; open a single one without warnings at once."""
        self._show_parts(())
        self._busy(f"inspecting {path.name} …")
        self.background.run(partial(inspect_path, path), self._inspected, self._failed)

    def selected(self) -> Part | None:
        """Return the part selected in the table, or None."""
        rows = self.table.selectionModel().selectedRows()
        return self._contents.parts[rows[0].row()] if rows and self._contents else None

    def open_selected(self) -> None:
        """Read the selected part in the background and add its layers."""
        part = self.selected()
        if part is None or self._contents is None or not self.button.isEnabled():
            return
        self._busy(f"reading {part.title} …")
        resample = self.resample.isChecked() and part.resamplable
        images = placed_volumes(self.viewer.layers)
        read = partial(open_part, self._contents.path, part, resample, images)
        self.background.run(read, self._opened, self._failed)

    def _choose_file(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Open a volume")
        if path:
            self.inspect(Path(path))

    def _choose_folder(self) -> None:
        path = QFileDialog.getExistingDirectory(self, "Open a DICOM folder")
        if path:
            self.inspect(Path(path))

    def _busy(self, text: str) -> None:
        enabled(False, (self.file, self.folder, self.button, self.table))
        self.status.info("")
        self.progress.wait(text)

    def _ready(self) -> None:
        self.progress.hide()
        enabled(True, (self.file, self.folder, self.table))
        self._selected()

    def _failed(self, error: Exception) -> None:
        self._ready()
        self.fail(error)

    def _inspected(self, contents: Contents) -> None:
        self._contents = contents
        self._show_parts(contents.parts)
        self._ready()
        if len(contents.parts) == 1 and not contents.parts[0].warnings:
            self.open_selected()
        elif len(contents.parts) > 1:
            self.status.info(f"{len(contents.parts)} series found. Select one and click Open.")

    def _show_parts(self, parts: Sequence[Part]) -> None:
        self.table.setRowCount(0)
        self.table.setVisible(bool(parts))
        for part in parts:
            index = self.table.rowCount()
            self.table.insertRow(index)
            name, kind, date, slices, size, spacing = part.cells
            mark = "⚠ " if part.warnings else ""
            about = " · ".join(text for text in (kind, date) if text)
            for column, text in enumerate((f"{mark}{name}\n{about}", slices, f"{size}\n{spacing}")):
                item = QTableWidgetItem(text)
                item.setToolTip("\n".join((name, *part.warnings)))
                self.table.setItem(index, column, item)
        rows = min(6, len(parts))
        head = self.table.horizontalHeader().sizeHint().height()
        self.table.setFixedHeight(rows * scaled(ROW_HEIGHT) + head + 4)
        if len(parts) == 1:
            self.table.selectRow(0)
        self._selected()

    def _selected(self) -> None:
        part = self.selected()
        self.resample.setVisible(part is not None and part.resamplable)
        self.button.setVisible(self.table.rowCount() > 0)
        self.button.setEnabled(part is not None and (not part.problem or part.resamplable))
        if part is None:
            return
        self.resample.setChecked(bool(part.problem) and part.resamplable)
        if part.problem and not part.resamplable:
            self.status.fail(part.problem)
        elif part.warnings:
            self.status.warn(" ".join(part.warnings))
        else:
            self.status.info("")

    def _opened(self, opened: Opened) -> None:
        layers, warnings = opened
        self._ready()
        names = []
        for one in layers:
            layer = Layer.create(*one)
            self.viewer.add_layer(layer)
            names.append(layer.name)
        self.table.clearSelection()
        self.button.setEnabled(False)
        self.resample.hide()
        if warnings:
            self.status.warn(" ".join(warnings))
            return
        self.status.done(f"Opened {', '.join(names[:3])}{' …' * (len(names) > 3)}.")

    def _describe_image(self, layer: Layer | None) -> None:
        known = recorded(layer) if layer is not None else None
        self.window_preset.clear()
        self.window_preset.addItem(AUTOMATIC)
        if isinstance(layer, Image) and not layer.rgb:
            if is_ct(layer.data):
                self.window_preset.addItems(list(CT_WINDOWS))
            limits = tuple(layer.contrast_limits)
            for name, window in CT_WINDOWS.items():
                if limits == window.limits:
                    self.window_preset.setCurrentText(name)
        self.window_preset.setEnabled(isinstance(layer, Image) and not layer.rgb)
        self.facts.setVisible(known is not None)
        if known is not None and layer is not None:
            shape = times(layer.data.shape[: layer.ndim])
            units = "voxels" if layer.ndim == 3 else "pixels"
            size = f" of {times(known.spacing)}\u00a0mm" if known.sized else ", size unknown"
            self.facts.setText(f"{shape} {units}{size}")
            turned = known.orientation if known.anatomical else ""
            axes = f"Axes of the file: {turned}. " if turned else ""
            self.facts.setToolTip(f"{axes}Type of its numbers: {layer.data.dtype}.")

    def _set_side_by_side(self, wanted: bool) -> None:
        self._cases.side_by_side = wanted

    def _cases_changed(self, event: Any = None) -> None:
        together = self._cases.side_by_side
        self.side_by_side.setChecked(together)
        self.side_by_side.setEnabled(together or len(self._cases.keys()) > 1)

    def _apply_window(self, index: int) -> None:
        layer = self.image.layer()
        if isinstance(layer, Image):
            name = self.window_preset.itemText(index)
            chosen = CT_WINDOWS.get(name)
            layer.contrast_limits = chosen.limits if chosen else percentiles(layer.data)


def _table() -> QTableWidget:
    table = QTableWidget(0, len(COLUMNS))
    table.setHorizontalHeaderLabels(COLUMNS)
    table.verticalHeader().hide()
    table.verticalHeader().setDefaultSectionSize(scaled(ROW_HEIGHT))
    table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
    table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    table.setShowGrid(False)
    table.setWordWrap(False)
    header = table.horizontalHeader()
    header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
    header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
    header.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft)
    table.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    return table
