"""The maps of *Compare*: what a distillation method compares, as image layers or as a matrix."""

import re
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Layer
from numpy.typing import NDArray
from qtpy.QtWidgets import QComboBox, QPushButton, QSpinBox, QVBoxLayout, QWidget

from napari_graphflow.config.model_card import read_model_card
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.plugin.viewer.cases import cases_of
from napari_graphflow.plugin.viewer.channels import volume_for
from napari_graphflow.plugin.viewer.map_layers import map_layer
from napari_graphflow.plugin.viewer.placement import DERIVED, size_and_axes
from napari_graphflow.plugin.viewer.record import Placement
from napari_graphflow.plugin.widgets.later import Later
from napari_graphflow.plugin.widgets.layout import Rows, note, shrinkable
from napari_graphflow.plugin.widgets.map_box import MapBox
from napari_graphflow.plugin.widgets.model_picker import ModelPicker
from napari_graphflow.plugin.widgets.panel import Panel
from napari_graphflow.plugin.widgets.progress import ProgressRow
from napari_graphflow.plugin.widgets.shown_image import ShownImage
from napari_graphflow.plugin.worker.replies import Reply
from napari_graphflow.plugin.worker.requests import Request, dispatcher

if TYPE_CHECKING:
    from napari_graphflow.plugin.compare.matrices import MatrixPlot

CAPTION = "Internal features of the network, not tissue properties."
#: Name of each kind in layers, its title, and its term in the paper.
KINDS = {
    "variation": (
        "Change from encoder to decoder",
        "Variation maps of Graph Flow: where features change most between encoder and decoder.",
    ),
    "importance": (
        "Strongest features",
        "Importance maps of EMKD: features of the encoder (tap hi), summed at power 4.",
    ),
    "attention": (
        "Strong features",
        "Attention transfer: features of the encoder (tap hi), squared and summed.",
    ),
    "affinity": (
        "Similarity of structures",
        "Region affinity of EMKD: cosine of the mean features of every two structures.",
    ),
    "graph": (
        "Change of channels, as a matrix",
        "Variation graph of Graph Flow: its vertices, and its edges between every two channels.",
    ),
}
PARTS = ("teacher", "student", "difference")
#: Kinds that are drawn as matrices, and those of one pair of taps.
MATRICES, OF_PAIRS = ("affinity", "graph"), ("variation", "graph")
PAIRS = ("innermost", "second", "third")


class HeatmapSection(QWidget):
    """Requests the maps of a student and its teacher on one image."""

    def __init__(self, panel: Panel) -> None:
        super().__init__()
        self._panel = panel
        self._request: Request | None = None
        self._cases = cases_of(panel.viewer)
        self.image = ShownImage(panel.viewer)
        self.student = ModelPicker(panel, prefer="student")
        self.teacher = ModelPicker(panel, prefer="teacher", optional="none")
        self.kind = QComboBox()
        for name, (title, tip) in KINDS.items():
            self.kind.addItem(title, name)
            self.kind.setItemData(self.kind.count() - 1, tip, 3)  # as tooltip
        self.pair = QComboBox()
        self.pair.addItems([f"{name} pair of layers" for name in PAIRS])
        self.pair.setToolTip(
            "Which layer of the encoder is compared with which of the decoder. Networks without "
            "further pairs have one."
        )
        self.channel = QSpinBox()
        self.channel.setRange(0, 4096)
        self.channel.setPrefix("channel ")
        self.channel.setSpecialValueText("all channels")
        self.channel.setToolTip("The feature whose change is drawn; all of them are added up.")
        for combo in (self.kind, self.pair):
            shrinkable(combo, entry_as_tip=False)
        self.button = QPushButton("Show maps")
        self.progress = ProgressRow()
        self.notes = note(CAPTION)
        self.matrix = Later(_matrix_plot, panel)
        self.matrix.hide()
        self.maps = MapBox(panel.viewer)
        rows = Rows()
        rows.add("Image", self.image)
        rows.add("Student", self.student)
        rows.add("", self.student.about)
        rows.add("Teacher", self.teacher)
        rows.add("", self.teacher.about)
        rows.add("Map", self.kind)
        rows.add("", self.pair)
        rows.add("", self.channel)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(6)
        column.addLayout(rows)
        for widget in (self.button, self.progress, self.maps, self.matrix, self.notes):
            column.addWidget(widget)
        self.button.clicked.connect(self.show_maps)
        self.progress.cancelled.connect(self._cancel)
        self.image.layer_changed.connect(self._update)
        self.student.model_changed.connect(self._update)
        self.teacher.model_changed.connect(self._update)
        self.kind.currentIndexChanged.connect(self._update)
        self._update()

    def show_maps(self) -> None:
        """Compute the maps and show them as layers in the grid of the image, or as matrices."""
        layer, student = self.image.layer(), self.student.folder()
        if not isinstance(layer, Image) or student is None:
            return
        teacher = self.teacher.folder()
        case = self._cases.name(self._cases.key(layer))
        try:
            card = read_model_card(student)
            volume = volume_for(layer, card, self._cases)
            place = size_and_axes(layer)
        except UserError as error:
            self._panel.fail(error.of_case(case))
            return
        self.progress.wait("starting …")
        kind = self.kind.currentData()
        matrix = kind in MATRICES
        self._request = dispatcher().send(
            kind if matrix else "heatmap",
            Request(
                progress=self.progress.follow,
                done=partial(self._show_matrices if matrix else self._show, layer, kind),
                failed=partial(self._failed, case),
                cancelled=self._ended,
                finish=_matrices if matrix else lambda reply: _maps(reply, volume, place),
            ),
            image=volume,
            student=str(student),
            teacher=None if teacher is None else str(teacher),
            kind=kind,
            **self._of_pair(kind),
        )
        self._update()

    def _of_pair(self, kind: str) -> dict[str, int]:
        found = {"pair": self.pair.currentIndex()} if kind in OF_PAIRS else {}
        if kind == "variation" and self.channel.value():
            found["channel"] = self.channel.value() - 1
        return found

    def release(self) -> None:
        """Drop the pending request."""
        if self._request is not None:
            dispatcher().drop(self._request)

    def _show_matrices(self, layer: Image, kind: str, found: dict[str, Any]) -> None:
        self._ended()
        matrices = {name: found[name] for name in PARTS if name in found}
        channels = [str(number + 1) for number in range(matrices["student"].shape[1])]
        names = found["classes"] or channels
        self.matrix.widget().fill(matrices, names)
        self.matrix.show()
        self.notes.show()
        self.notes.setText(" ".join(found["notes"]))
        case = self._cases.name(self._cases.key(layer))
        self._panel.status.done(f"{case}: {KINDS[kind][0].lower()}.")

    def _show(
        self, layer: Image, kind: str, found: tuple[dict[str, NDArray[Any]], list[str]]
    ) -> None:
        maps, notes = found
        self._ended()
        self.matrix.hide()
        self.notes.hide()  # the caption of the maps
        if layer not in self._panel.viewer.layers:
            self._panel.status.warn(f"{layer.name} was closed; its maps were discarded.")
            return
        shared = [maps[name] for name in ("student", "teacher") if name in maps]
        # One range for both, so that equal colours mean equal values.
        limits = (0.0, float(max(1e-6, *(np.nanmax(one) for one in shared))))
        for name, array in maps.items():
            title = f"{kind} ({name})"
            ours = self._cases.layers(self._cases.key(layer))
            for old in [one for one in ours if _is_map(one, title)]:
                self._panel.viewer.layers.remove(old)
            difference = name == "difference"
            reach = float(max(1e-6, np.nanmax(np.abs(array))))
            added = map_layer(
                array,
                layer,
                title,
                (-reach, reach) if difference else limits,
                colours="coolwarm" if difference else "magma",
                signed=difference,
                caption=" ".join(notes),
                term=KINDS[kind][1],
            )
            added.visible = False
            self._cases.add(added, layer)
            if name == "student":
                self.maps.show_map(added)
        case = self._cases.name(self._cases.key(layer))
        self._panel.status.done(
            f"{case}: {kind} maps added as layers; choose the one to show below the button."
        )

    def _failed(self, case: str, error: Exception) -> None:
        if isinstance(error, UserError):
            error = error.of_case(case)
        self._ended()
        self._panel.fail(error)

    def _ended(self) -> None:
        self._request = None
        self.progress.hide()
        self._update()

    def _cancel(self) -> None:
        if self._request is not None:
            self.progress.wait("cancelling …")
            dispatcher().cancel(self._request)

    def _update(self, layer: Layer | int | None = None) -> None:
        image = self.image.layer()
        kind = self.kind.currentData()
        self.kind.setToolTip(KINDS[kind][1])
        self.pair.setVisible(kind in OF_PAIRS)
        self.channel.setVisible(kind == "variation")
        for picker in (self.student, self.teacher):
            picker.judge_for(image)
        self.button.setEnabled(
            self._request is None
            and self.image.layer() is not None
            and self.student.folder() is not None
            and not (self.student.misfit() or self.teacher.misfit())
        )


def _matrix_plot() -> "MatrixPlot":
    from napari_graphflow.plugin.compare.matrices import MatrixPlot

    return MatrixPlot()


def _maps(
    reply: Reply, volume: Volume, place: Placement
) -> tuple[dict[str, NDArray[Any]], list[str]]:
    maps = {
        name: np.ascontiguousarray(place.shown(volume.with_array(reply[name])).array)
        for name in PARTS
        if isinstance(reply.get(name), np.ndarray)
    }
    return maps, reply.get("notes", [CAPTION])


def _matrices(reply: Reply) -> dict[str, Any]:
    found = {name: reply[name] for name in PARTS if isinstance(reply.get(name), np.ndarray)}
    return found | {
        "classes": list(reply.get("classes", ())),
        "notes": reply.get("notes", [CAPTION]),
    }


def _is_map(layer: Layer, title: str) -> bool:
    # napari numbers layers of equal names, as those of two cases.
    return DERIVED in layer.metadata and re.sub(r" \[\d+\]$", "", layer.name) == title
