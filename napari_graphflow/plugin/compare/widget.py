"""*Compare*: two masks or models, by scores, outlines and slice by slice."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Labels, Layer
from napari.utils.colormaps import CyclicLabelColormap
from numpy.typing import NDArray
from qtpy.QtWidgets import (
    QCheckBox,
    QLabel,
)

from napari_graphflow.errors import UserError
from napari_graphflow.evaluation.comparison import DISAGREEMENT, Row, compare_masks
from napari_graphflow.plugin.compare.heatmaps import HeatmapSection
from napari_graphflow.plugin.compare.mask_or_model import (
    MaskOrModelCombo,
    ModelRuns,
    is_mask_of_shown,
)
from napari_graphflow.plugin.compare.presenter import Comparison, compared, guidance
from napari_graphflow.plugin.compare.table import ComparisonTable
from napari_graphflow.plugin.viewer.cases import cases_of
from napari_graphflow.plugin.viewer.layers import class_names, class_table
from napari_graphflow.plugin.viewer.placement import DERIVED, same_place
from napari_graphflow.plugin.viewer.world import (
    grid_shape,
    transform_keywords,
    voxel_size,
    voxels,
)
from napari_graphflow.plugin.widgets.layer_combo import LayerCombo
from napari_graphflow.plugin.widgets.layout import Rows, folded, note, row, swatch
from napari_graphflow.plugin.widgets.legend import voxel_unit
from napari_graphflow.plugin.widgets.panel import NOT_A_DEVICE, Panel, PrimaryButton, enabled
from napari_graphflow.plugin.widgets.progress import ProgressRow
from napari_graphflow.plugin.widgets.shown_image import ShownImage
from napari_graphflow.plugin.widgets.words import Message

COLOURS = {"A": "#35c8f0", "B": "#ff9d3c", "reference": "#6fdc6f"}


class CompareWidget(Panel):
    """Compares two masks, running models first where chosen, and shows variation maps."""

    def __init__(self, napari_viewer: ViewerModel) -> None:
        super().__init__(napari_viewer)
        self._cases = cases_of(napari_viewer)
        self.a = MaskOrModelCombo(napari_viewer)
        self.b = MaskOrModelCombo(napari_viewer)
        self.image = ShownImage(napari_viewer)
        self.image.setToolTip("Image on which the models run.")
        self.reference = LayerCombo(
            napari_viewer,
            partial(is_mask_of_shown, self._cases),
            empty="no mask is open",
            optional="none",
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
        self._runs = ModelRuns(napari_viewer, self.progress)
        self.table = ComparisonTable()
        self.legend = note(
            "Dice: 1 = identical, 0 = no overlap. Click a row to show the slice that differs most."
        )
        self.heatmap = HeatmapSection(self)
        self._result: Comparison | None = None
        self._line = Message("")
        self._views: dict[str, Labels] = {}
        self._key = self.image.key()
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
        self._cases.events.changed.connect(self._case_changed, position="last")
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
        """Run the chosen models on the shown image, then compare; both in the background."""
        shown = self._cases.shown()
        if shown is None:
            self._say(Message(self._cases.advice()))
            return
        sides = [combo.layer() or combo.model() for combo in (self.a, self.b)]
        reference, image = self.reference.layer(), shown.image
        to_run = any(isinstance(side, Path) for side in sides)
        present = [layer for layer in (*sides, reference) if isinstance(layer, Labels)]
        try:
            for other in [*present[1:], *([image] if to_run and present and image else [])]:
                _check(present[0], other)
        except UserError as error:
            self._failed(shown.name, error)
            return
        if not to_run:
            self._runs.cautions.clear()
            self._compare(reference, present[0], present[1])
            return
        assert image is not None
        self._runs.cautions.clear()
        self._say(Message(f"{shown.name}: running …"))
        self._runs.start(
            [side for side in sides if side is not None],
            image,
            done=partial(self._ran, [self.a, self.b], reference),
            failed=partial(self._failed, shown.name),
            cancelled=partial(self._was_cancelled, shown.name),
        )
        self._update()

    def _ran(
        self, combos: list[MaskOrModelCombo], reference: Labels | None, masks: list[Labels]
    ) -> None:
        """Compare the masks of the models; choose them if their case is still shown."""
        for combo, mask in zip(combos, masks, strict=True):
            combo.refresh()
            combo.choose(mask)
        self._compare(reference, *masks)

    def _compare(self, reference: Labels | None, a: Labels, b: Labels) -> None:
        masks = np.asarray(voxels(a)), np.asarray(voxels(b))
        truth = None if reference is None else np.asarray(voxels(reference))
        names = class_names(b) | class_names(a)
        spacing = voxel_size(a)
        self.button.setEnabled(False)
        case = self._cases.name(self._cases.key(a))
        self._say(Message(f"{case}: comparing …"))
        self.background.run(
            lambda: compare_masks(*masks, truth, spacing, names),
            lambda result: self._show(a, b, *result),
            partial(self._failed, case),
        )

    def _failed(self, case: str, error: Exception) -> None:
        if isinstance(error, UserError):
            error = error.of_case(case)
        self._line = Message(str(error), "fail")
        self._update()
        self.fail(error)

    def _say(self, line: Message) -> None:
        self._line = line
        self.status.show_message(line)

    def _was_cancelled(self, case: str) -> None:
        self._update()
        self._say(Message(f"{case}: cancelled; no masks were compared."))

    def _case_changed(self, event: Any = None) -> None:
        """List the masks of the shown case, and hide the table of another one."""
        if self.image.key() != self._key:
            self._key = self.image.key()
            for combo in (self.a, self.b, self.reference):
                combo.refresh()
            if self.a.currentData() == self.b.currentData() and self.b.count() > 1:
                self.b.setCurrentIndex(1)
            result = self._result
            self._line = result.line if result and result.key == self._key else Message("")
        self._update()

    def _show(self, a: Labels, b: Labels, rows: list[Row], differs: NDArray[np.uint8]) -> None:
        self._remove_views()
        key = self._cases.key(a)
        line = compared(self._cases.name(key), differs, _units(a), self._runs.cautions)
        self._result = Comparison(key, a, b, rows, line)
        self.table.fill(rows, voxel_unit(a)[1])
        if a not in self.viewer.layers or b not in self.viewer.layers:
            self._result = None
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
        # Last, so that it is read even if another case is shown by now.
        self._say(line)

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
        self._cases.add(layer, like)
        return layer

    def _show_views(self) -> None:
        outlines = self.contours.isChecked()
        for title, layer in self._views.items():
            wanted = self.disagreement.isChecked() if title == "disagreement" else outlines
            self._cases.set_visible(layer, wanted)
        if self._result is not None and self._views:
            for layer in (self._result.a, self._result.b):
                self._cases.set_visible(layer, not outlines)

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
        enabled(idle, (self.a, self.b, self.reference))
        ours = self._result is not None and self._result.key == self.image.key()
        missing = runs and self.image.layer() is None
        ready = a is not None and b is not None and a != b and not missing
        misfit = self.a.misfit() or self.b.misfit()
        self.button.setEnabled(ready and idle and not misfit and not self.background.busy())
        self.table.setVisible(ours)
        self.legend.setVisible(ours)
        text = guidance(
            shown=bool(self.image.key()) or not self.viewer.layers,
            advice=self._cases.advice(),
            chosen=a is not None and b is not None and self.a.count() > 1,
            different=a != b,
            image=not missing,
        )
        if text and idle and not self.background.busy():
            self.status.info(text)
        elif misfit and idle:
            self.status.warn(misfit)
        else:
            self.status.show_message(self._line)

    def _go_to_row(self, index: int, column: int = 0) -> None:
        result = self._result
        if result is None:
            return
        found, layer = result.rows[index], result.a
        if found.worst_slice is None:
            self._say(Message(f"A and B are identical in {found.name}."))
            return
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
        self._say(Message(f"{where}: {voxels} of {found.name} {verb}."))


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
