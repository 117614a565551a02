"""*Compare*: two masks or models, by scores, outlines and slice by slice."""

import math
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer
from napari.utils.colormaps import CyclicLabelColormap
from numpy.typing import NDArray
from qtpy.QtCore import Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QHeaderView,
    QLabel,
    QTableWidget,
    QTableWidgetItem,
)

from napari_graphflow.errors import UserError
from napari_graphflow.evaluation.comparison import DISAGREEMENT, Row, compare_masks
from napari_graphflow.plugin.compare.heatmaps import HeatmapSection
from napari_graphflow.plugin.compare.mask_or_model import MaskOrModelCombo, ModelRuns
from napari_graphflow.plugin.viewer.layers import (
    class_names,
    class_table,
    is_image,
    is_mask,
)
from napari_graphflow.plugin.viewer.placement import (
    DERIVED,
    same_place,
)
from napari_graphflow.plugin.viewer.world import (
    grid_shape,
    transform_keywords,
    voxel_size,
    voxels,
)
from napari_graphflow.plugin.widgets.layer_combo import LayerCombo
from napari_graphflow.plugin.widgets.layout import Rows, folded, note, row, swatch
from napari_graphflow.plugin.widgets.panel import NOT_A_DEVICE, Panel, PrimaryButton, enabled
from napari_graphflow.plugin.widgets.progress import ProgressRow

COLOURS = {"A": "#35c8f0", "B": "#ff9d3c", "reference": "#6fdc6f"}
NO_MASKS = "Choose two masks or models. Masks must be open in the viewer."


class CompareWidget(Panel):
    """Compares two masks, running models first where chosen, and shows variation maps."""

    def __init__(self, napari_viewer: ViewerModel) -> None:
        super().__init__(napari_viewer)
        self.a = MaskOrModelCombo(napari_viewer)
        self.b = MaskOrModelCombo(napari_viewer)
        self.image = LayerCombo(napari_viewer, is_image, empty="no image is open")
        self.image.setToolTip("Image on which the models run.")
        self.reference = LayerCombo(
            napari_viewer, is_mask, empty="no mask is open", optional="none"
        )
        self.reference.setToolTip(
            "Ground truth for both masks. Its layer is locked while it is the reference."
        )
        self.contours = QCheckBox("Outlines")
        self.contours.setToolTip("Show outlines instead of filled masks.")
        self.contours.setChecked(True)
        self.disagreement = QCheckBox("Disagreement")
        self.disagreement.setToolTip(
            "Show where the masks differ: only in A, only in B, or different classes."
        )
        self.disagreement.setChecked(True)
        self.button = PrimaryButton("Compare", self)
        self.progress = ProgressRow()
        self._runs = ModelRuns(
            napari_viewer, self.progress, self.compare, self._failed, self._was_cancelled
        )
        self.table = _table()
        self.legend = note(
            "Dice: 1 = identical, 0 = no overlap. Click a row to show the slice that differs most."
        )
        self.heatmap = HeatmapSection(self)
        self._rows: list[Row] = []
        self._views: dict[str, Labels] = {}
        self._compared: tuple[Labels, Labels] | None = None
        self._protected: Labels | None = None

        self._on = QLabel("Image")
        rows = Rows()
        rows.add(swatch("A", COLOURS["A"]), self.a)
        rows.add(swatch("B", COLOURS["B"]), self.b)
        rows.add(self._on, self.image)
        rows.add("Reference", self.reference)
        self.column.addLayout(rows)
        self.column.addLayout(row(self.contours, self.disagreement, stretch=1))
        self.column.addWidget(self.button)
        self.column.addWidget(self.progress)
        self.column.addWidget(self.status)
        self.column.addWidget(self.table)
        self.column.addWidget(self.legend)
        self.column.addWidget(folded("Variation maps of the networks", self.heatmap))
        self.column.addStretch(1)
        self.column.addWidget(note(NOT_A_DEVICE))

        self.button.clicked.connect(self.compare)
        self.table.cellClicked.connect(self._go_to_row)
        self.contours.toggled.connect(self._show_views)
        self.disagreement.toggled.connect(self._show_views)
        for combo in (self.a, self.b, self.image, self.reference):
            combo.layer_changed.connect(self._update)
        self.reference.layer_changed.connect(self._protect)
        if self.b.count() > 1:
            self.b.setCurrentIndex(1)
        self._update()

    def released(self) -> None:
        """Unlock the reference and drop pending requests."""
        super().released()
        self._protect(None)
        self._runs.release()
        self.heatmap.release()

    def _protect(self, layer: Layer | None) -> None:
        """Lock a layer against painting while it is the reference."""
        if self._protected is not None:
            self._protected.editable = True
        self._protected = layer if isinstance(layer, Labels) and layer.editable else None
        if self._protected is not None:
            self._protected.editable = False

    def compare(self) -> None:
        """Run the chosen models, then compare the masks; both in the background."""
        a, b, reference = self.a.layer(), self.b.layer(), self.reference.layer()
        image = self.image.layer()
        to_run = [combo for combo in (self.a, self.b) if combo.model() is not None]
        present = [layer for layer in (a, b, reference) if layer is not None]
        try:
            for other in [*present[1:], *([image] if to_run and present else [])]:
                _check(present[0], other)
        except UserError as error:
            self.fail(error)
            return
        if to_run:
            assert isinstance(image, Image)
            self.status.info("")
            self._runs.start(to_run, image)
            self._update()
            return
        assert a is not None
        assert b is not None
        masks = np.asarray(voxels(a)), np.asarray(voxels(b))
        truth = None if reference is None else np.asarray(voxels(reference))
        names = class_names(b) | class_names(a)
        spacing = voxel_size(a)
        self.button.setEnabled(False)
        self.status.info("Comparing …")
        self.background.run(
            lambda: compare_masks(*masks, truth, spacing, names),
            lambda result: self._show(a, b, *result),
            self.fail,
        )

    def _failed(self, error: Exception) -> None:
        self._update()
        self.fail(error)

    def _was_cancelled(self) -> None:
        self._update()
        self.status.info("Cancelled; no masks were compared.")

    def _show(self, a: Labels, b: Labels, rows: list[Row], differs: NDArray[np.uint8]) -> None:
        self._rows, self._compared = rows, (a, b)
        self._fill_table()
        self._remove_views()
        if a not in self.viewer.layers or b not in self.viewer.layers:
            self._update()
            return
        self._views["disagreement"] = self._add_view(
            differs,
            "disagreement",
            [COLOURS["A"], COLOURS["B"], "#ff4fb0"],
            a,
            features=class_table(DISAGREEMENT),
        )
        for title, layer in (("A", a), ("B", b)):
            self._views[title] = self._add_view(
                voxels(layer), f"outline {title}: {layer.name}", [COLOURS[title]], a, contour=1
            )
        self._show_views()
        self._update()
        count, size = int(np.count_nonzero(differs)), differs.size
        self.status.done(
            f"{count:,} of {size:,} {_units(a)} differ ({100 * count / size:.2f}\u00a0%)."
            if count
            else "The masks are identical."
        )

    def _add_view(
        self,
        data: NDArray[Any],
        name: str,
        colours: list[str],
        like: Labels,
        contour: int = 0,
        features: dict[str, list[Any]] | None = None,
    ) -> Labels:
        layer = Labels(
            data,
            name=name,
            **transform_keywords(like),
            colormap=CyclicLabelColormap(colors=["transparent", *colours]),
            metadata={DERIVED: like.name},
            opacity=1.0 if contour else 0.6,
            visible=False,
            features=features,
        )
        layer.contour = contour
        layer.editable = False
        active = self.viewer.layers.selection.active
        self.viewer.add_layer(layer)
        self.viewer.layers.selection.active = active
        return layer

    def _show_views(self) -> None:
        outlines = self.contours.isChecked()
        for title, layer in self._views.items():
            if layer in self.viewer.layers:
                layer.visible = (
                    self.disagreement.isChecked() if title == "disagreement" else outlines
                )
        if self._compared is not None and self._views:
            for layer in self._compared:
                layer.visible = not outlines

    def _remove_views(self) -> None:
        for layer in self._views.values():
            if layer in self.viewer.layers:
                self.viewer.layers.remove(layer)
        self._views = {}

    def _update(self, layer: Layer | None = None) -> None:
        a, b = self.a.currentData(), self.b.currentData()
        runs = any(combo.model() is not None for combo in (self.a, self.b))
        self._on.setVisible(runs)
        self.image.setVisible(runs)
        idle = not self._runs.running
        enabled(idle, (self.a, self.b, self.image, self.reference))
        missing = runs and self.image.layer() is None
        ready = a is not None and b is not None and a != b and not missing
        self.button.setEnabled(ready and idle and not self.background.busy())
        self.table.setVisible(bool(self._rows))
        self.legend.setVisible(bool(self._rows))
        if a is None or b is None or self.a.count() < 2:
            self.status.info(NO_MASKS)
        elif a == b:
            self.status.info("Choose two different masks or models.")
        elif missing:
            self.status.info("Open the image on which to run the models.")
        elif not self._rows and idle:
            self.status.info("")

    def _fill_table(self) -> None:
        with_reference = any(found.scores for found in self._rows)
        unit = "ml" if self._compared and self._compared[0].ndim == 3 else "mm²"
        titles = ["class", "A · B"]
        titles += ["A · ref", "B · ref"] if with_reference else []
        titles += [f"A {unit}", f"B {unit}"]
        tips = ["", "Dice of A and B"]
        tips += ["Dice of A and reference", "Dice of B and reference"] if with_reference else []
        size = "Volume" if unit == "ml" else "Area"
        tips += [f"{size} in A", f"{size} in B"]
        self.table.setColumnCount(len(titles))
        self.table.setHorizontalHeaderLabels(titles)
        for column, tip in enumerate(tips):
            self.table.horizontalHeaderItem(column).setToolTip(tip)
        self.table.setRowCount(len(self._rows))
        for index, found in enumerate(self._rows):
            cells = [found.name, _score(found.agreement)]
            cells += [_score(score) for score in found.scores or ()]
            cells += [_volume(volume) for volume in found.volumes]
            for column, text in enumerate(cells):
                self.table.setItem(index, column, _cell(text, column > 0))
        header = self.table.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        height = header.sizeHint().height() + sum(
            self.table.rowHeight(index) for index in range(min(len(self._rows), 8))
        )
        self.table.setFixedHeight(height + 4)

    def _go_to_row(self, index: int, column: int = 0) -> None:
        found = self._rows[index]
        if found.worst_slice is None or self._compared is None:
            self.status.info(f"A and B are identical in {found.name}.")
            return
        layer = self._compared[0]
        if layer.ndim == 3:
            self.viewer.dims.ndisplay = 2
            self.viewer.dims.order = tuple(range(self.viewer.dims.ndim))
            axis = self.viewer.dims.ndim - 3
            self.viewer.dims.set_point(axis, layer.data_to_world((found.worst_slice, 0, 0))[0])
            where = f"Slice {found.worst_slice}"
        else:
            where = "2D image"
        count, units = found.worst_voxels, _units(layer)
        voxels = f"1 {units.removesuffix('s')}" if count == 1 else f"{count:,} {units}"
        verb = "differs" if count == 1 else "differ"
        self.status.info(f"{where}: {voxels} of {found.name} {verb}.")


def _check(a: Layer, b: Layer) -> None:
    if grid_shape(a) != grid_shape(b):
        shapes = " and ".join("x".join(map(str, grid_shape(layer))) for layer in (a, b))
        raise UserError(
            f"{a.name} and {b.name} have different shapes ({shapes} {_units(a)}).",
            "Choose layers of the same image.",
        )
    if not same_place(a, b):
        raise UserError(
            f"{a.name} and {b.name} have the same shape but lie differently in napari, so their "
            "voxels cannot be compared.",
            "Choose layers of the same image, or reset the transform of the one that was moved.",
        )


def _units(layer: Layer) -> str:
    return "voxels" if layer.ndim == 3 else "pixels"


def _table() -> QTableWidget:
    table = QTableWidget()
    table.verticalHeader().hide()
    table.verticalHeader().setDefaultSectionSize(24)
    table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
    table.setShowGrid(False)
    table.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    return table


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
