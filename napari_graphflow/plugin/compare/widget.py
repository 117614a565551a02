"""*Compare*: masks or models, by scores, outlines and slice by slice."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Labels, Layer
from numpy.typing import NDArray
from qtpy.QtWidgets import QCheckBox, QLabel, QPushButton

from napari_graphflow.errors import UserError
from napari_graphflow.evaluation.comparison import Place, Row, compare_masks, places
from napari_graphflow.plugin.compare import presenter
from napari_graphflow.plugin.compare.mask_or_model import (
    MaskOrModelCombo,
    ModelRuns,
    is_mask_of_shown,
)
from napari_graphflow.plugin.compare.presenter import Comparison, compared, guidance
from napari_graphflow.plugin.compare.table import ComparisonTable
from napari_graphflow.plugin.compare.views import COLOURS, ComparisonViews
from napari_graphflow.plugin.jobs.announcer import announce_ends
from napari_graphflow.plugin.viewer.cases import cases_of
from napari_graphflow.plugin.viewer.layers import class_names
from napari_graphflow.plugin.viewer.world import voxel_size, voxels
from napari_graphflow.plugin.widgets.keys import KeyButton, button_keys
from napari_graphflow.plugin.widgets.later import Later
from napari_graphflow.plugin.widgets.layer_combo import LayerCombo
from napari_graphflow.plugin.widgets.layout import Rows, note, row, swatch
from napari_graphflow.plugin.widgets.legend import voxel_unit
from napari_graphflow.plugin.widgets.panel import NOT_A_DEVICE, Panel, PrimaryButton, enabled
from napari_graphflow.plugin.widgets.progress import ProgressRow
from napari_graphflow.plugin.widgets.shown_image import ShownImage
from napari_graphflow.plugin.widgets.words import Message

if TYPE_CHECKING:
    from napari_graphflow.plugin.compare.dataset_section import DatasetSection
    from napari_graphflow.plugin.compare.heatmaps import HeatmapSection


class CompareWidget(Panel):
    """Compares two masks, running models first where chosen, and shows the networks' maps."""

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
            "Ground truth for all masks. Its layer is locked while it is the reference."
        )
        self.contours = _check("Outlines", "Show outlines instead of filled masks.")
        self.disagreement = _check(
            "Disagreement", "Show where A and B differ: only in A, only in B, other classes."
        )
        self.beside = _check("Side by side", "A and B beside each other, moved together.", on=False)
        self.flicker = KeyButton("Flicker")
        self.flicker.setToolTip("Show A and B in turn, once per click or key.")
        self.worst = KeyButton("Worst to reference")
        self.worst.setToolTip("Go to the slice in which B differs most from the reference.")
        self.worst_pair = QPushButton("Worst A to B")
        self.worst_pair.setToolTip("Go to the slice in which A and B differ most.")
        self.next_place = KeyButton("Next worst")
        self.next_place.setToolTip("Go to the next worst place, over all structures.")
        self.button = PrimaryButton("Compare", self)
        self.progress = ProgressRow()
        self._runs = ModelRuns(napari_viewer, self.progress)
        self.table = ComparisonTable()
        self.units = note()
        self.costs = note()
        self._maps, self._dataset = Later(self._make_maps), Later(self._make_dataset)
        self._views = ComparisonViews(napari_viewer, self._cases)
        self._result: Comparison | None = None
        self._line = Message("")
        self._key = self.image.key()
        self._protected: Labels | None = None
        self._at = -1

        self._on = QLabel("Image")
        self._titles = {title: swatch(title, COLOURS[title]) for title in "AB"}
        rows = Rows()
        rows.add(self._titles["A"], self.a)
        rows.add(self._titles["B"], self.b)
        rows.add(self._on, self.image)
        rows.add(swatch("Reference", COLOURS["reference"]), self.reference)
        self.column.addLayout(rows)
        self.column.addLayout(row(self.contours, self.disagreement, stretch=-1))
        self.column.addWidget(self.button)
        self.column.addWidget(self.progress)
        self.column.addWidget(self.status)
        self.column.addWidget(self.table)
        self.column.addWidget(self.units)
        jumps = (self.worst, self.worst_pair, self.next_place)
        self._result_buttons = (*jumps, self.flicker, self.beside)
        self.column.addLayout(row(self.next_place, self.flicker, stretch=-1))
        self.column.addLayout(row(self.worst_pair, self.beside, stretch=-1))
        self.column.addWidget(self.worst)
        self.column.addWidget(self.costs)
        self.whole = self._dataset.folded("A whole dataset")
        self.column.addWidget(self.whole)
        self.column.addWidget(self._maps.folded("Maps of the networks"))
        self.column.addStretch(1)
        self.column.addWidget(note(NOT_A_DEVICE))

        self.button.clicked.connect(self.compare)
        self.table.cellClicked.connect(self._go_to_row)
        self.worst.clicked.connect(lambda: self._go_to_worst("worst_reference"))
        self.worst_pair.clicked.connect(lambda: self._go_to_worst("worst"))
        self.next_place.clicked.connect(self._go_to_next)
        self.flicker.clicked.connect(self._flicker)
        buttons = {
            "compare": self.button,
            "worst": self.worst,
            "next": self.next_place,
            "flicker": self.flicker,
        }
        places = ("worst", "next", "flicker")  # pressed while the eye is on the image
        announce_ends(self)
        self._keys = button_keys(self, "compare_keys", buttons, self.status.warn, places)
        self.contours.toggled.connect(self._outlines_changed)
        self.disagreement.toggled.connect(self._show_views)
        self.beside.toggled.connect(self._beside_changed)
        for combo in (self.a, self.b, self.image, self.reference):
            combo.layer_changed.connect(self._update)
        for combo in (self.a, self.b):
            combo.currentIndexChanged.connect(self._update)
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
        for section in (self._maps.made, self._dataset.made):
            if section is not None:
                section.release()

    @property
    def heatmap(self) -> "HeatmapSection":
        """The maps of the networks, made when they are first unfolded."""
        return self._maps.widget()

    @property
    def dataset(self) -> "DatasetSection":
        """The comparison on a whole dataset, made when it is first unfolded."""
        return self._dataset.widget()

    def _make_dataset(self) -> "DatasetSection":
        from napari_graphflow.plugin.compare.dataset_section import DatasetSection

        section = DatasetSection(self)
        section.choose(self.a.maker(), self.b.maker())
        return section

    def _make_maps(self) -> "HeatmapSection":
        from napari_graphflow.plugin.compare.heatmaps import HeatmapSection

        return HeatmapSection(self)

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
                presenter.check_grid(present[0], other)
        except UserError as error:
            self._failed(shown.name, error)
            return
        self._runs.cautions.clear()
        self._runs.costs.clear()
        headings = presenter.headings(sides)
        if not to_run:
            self._compare(reference, headings, present[0], present[1])
            return
        assert image is not None
        alone = presenter.alone_of(sides) if reference is not None else None
        self._say(Message(f"{shown.name}: running …"))
        self._runs.start(
            [side for side in (*sides, alone) if side is not None],
            image,
            done=partial(self._ran, reference, headings),
            failed=partial(self._failed, shown.name),
            cancelled=partial(self._was_cancelled, shown.name),
        )
        self._update()

    def _ran(self, reference: Labels | None, headings: list[str], masks: list[Labels]) -> None:
        """Compare the masks of the models; choose them if their case is still shown."""
        for combo, mask in zip((self.a, self.b), masks, strict=False):
            combo.refresh()
            combo.choose(mask)
        self._compare(reference, headings, *masks)

    def _compare(self, reference: Labels | None, headings: list[str], *layers: Labels) -> None:
        masks = [np.asarray(voxels(layer)) for layer in layers]
        truth = None if reference is None else np.asarray(voxels(reference))
        names = class_names(layers[1]) | class_names(layers[0])
        spacing = voxel_size(layers[0])
        enabled(False, (self.button, *self._result_buttons))
        case = self._cases.name(self._cases.key(layers[0]))
        self._say(Message(f"{case}: comparing …"))

        def compute() -> tuple[list[Row], NDArray[np.uint8], list[Place]]:
            rows, differs = compare_masks(masks, truth, spacing, names)
            classes = {one.name: one.label for one in rows}
            against = masks[0] if truth is None else truth
            return rows, differs, places(masks[1], against, classes)

        self.background.run(
            compute,
            lambda found: self._show(layers[0], layers[1], reference, headings, *found),
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

    def _show(
        self,
        a: Labels,
        b: Labels,
        reference: Labels | None,
        headings: list[str],
        rows: list[Row],
        differs: NDArray[np.uint8],
        worst: list[Place],
    ) -> Iterator[None]:
        self.beside.setChecked(False)
        yield from self._views.show(a, b, reference, differs, self._wanted)
        key = self._cases.key(a)
        line = compared(self._cases.name(key), differs, presenter.units(a), self._runs.cautions)
        self._result = Comparison(key, a, b, rows, line, worst)
        self._at = -1
        self.table.fill(rows, voxel_unit(a)[1], headings)
        self.units.setText(presenter.units_text(voxel_unit(a)[1]))
        self.costs.setText("\n".join(self._runs.costs))
        if a not in self.viewer.layers or b not in self.viewer.layers:
            self._result = None
            self._update()
            return
        self._update()
        # Last, so that it is read even if another case is shown by now.
        self._say(line)

    def _wanted(self) -> dict[str, bool]:
        return {
            "outlines": self.contours.isChecked(),
            "disagreement": self.disagreement.isChecked(),
        }

    def _show_views(self) -> None:
        self._views.update(**self._wanted())

    def _outlines_changed(self) -> None:
        self._views.flickering = ""
        self._show_views()

    def _flicker(self) -> None:
        side = self._views.flicker()
        if side and self._result is not None:
            self._show_views()
            mask = self._result.a if side == "A" else self._result.b
            self._say(Message(f"Shown: {side}, {mask.name}. Click Outlines for both."))

    def _beside_changed(self, wanted: bool) -> None:
        if wanted and len(self._cases.keys()) > 1:
            self.beside.setChecked(False)
            self._say(Message("Close the other cases first: they would stand beside it, too."))
            return
        self._views.flickering = ""
        self._show_views()
        self._views.side_by_side(self.image.layer(), wanted)

    def _update(self, layer: Any = None) -> None:
        a, b = self.a.currentData(), self.b.currentData()
        runs = any(combo.model() is not None for combo in (self.a, self.b))
        self._on.setVisible(runs)
        self.image.setVisible(runs)
        chosen = [combo.layer() or combo.model() for combo in (self.a, self.b)]
        for title, heading in zip("AB", presenter.headings(chosen), strict=False):
            text = title if heading == title else f"{title} {heading.lower()}"
            self._titles[title].setText(swatch(text, COLOURS[title]).text())
        idle = not self._runs.running
        enabled(idle, (self.a, self.b, self.reference))
        ours = self._result is not None and self._result.key == self.image.key()
        missing = runs and self.image.layer() is None
        ready = a is not None and b is not None and a != b and not missing
        misfit = self.a.misfit() or self.b.misfit()
        self.button.setEnabled(ready and idle and not misfit and not self.background.busy())
        enabled(not self.background.busy(), self._result_buttons)
        for widget in (self.table, self.units, *self._result_buttons):
            widget.setVisible(ours)
        rows = self._result.rows if self._result is not None else ()
        self.worst.setVisible(ours and any(one.scores for one in rows))
        self.costs.setVisible(ours and bool(self.costs.text()))
        if self._dataset.made is not None:
            self._dataset.made.choose(self.a.maker(), self.b.maker())
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
        if self._result is not None:
            found = self._result.rows[self.table.structures[index]]
            self._go(found.worst, found.name)

    def _go_to_worst(self, which: str) -> None:
        if self._result is not None:
            found = [place for one in self._result.rows if (place := getattr(one, which))]
            self._go(max(found, key=lambda place: place.voxels, default=None), "any structure")

    def _go_to_next(self) -> None:
        if self._result is not None and self._result.places:
            self._at = (self._at + 1) % len(self._result.places)
            count = f" Place {self._at + 1} of {len(self._result.places)}."
            self._go(self._result.places[self._at], "", count)

    def _go(self, place: Place | None, name: str, more: str = "") -> None:
        assert self._result is not None
        layer = self._result.a
        if place is None:
            self._say(Message(f"There is no difference in {name}."))
            return
        if layer.ndim == 3:
            self.viewer.dims.ndisplay = 2
            self.viewer.dims.order = tuple(range(self.viewer.dims.ndim))
            axis = self.viewer.dims.ndim - 3
            self.viewer.dims.set_point(axis, layer.data_to_world((place.slice, 0, 0))[0])
        self._say(presenter.where(place, layer.ndim, presenter.units(layer), more))


def _check(text: str, tip: str, *, on: bool = True) -> QCheckBox:
    box = QCheckBox(text)
    box.setToolTip(tip)
    box.setChecked(on)
    return box
