"""Chooses the map that is shown, with its opacity, colour bar and caption."""

import re
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image
from qtpy.QtCore import QPointF, QRectF, Qt
from qtpy.QtGui import QColor, QLinearGradient, QPainter
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLabel, QSlider, QVBoxLayout, QWidget
from superqt.utils import signals_blocked

from napari_graphflow.plugin.viewer.cases import cases_of
from napari_graphflow.plugin.viewer.map_layers import CAPTION, TERM, maps_of, show_only
from napari_graphflow.plugin.widgets.layout import note, row, shrinkable
from napari_graphflow.plugin.widgets.words import as_text

NONE = "no map"


class MapBox(QWidget):
    """Shows one map of the case in view at a time; hidden while it has none."""

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self._viewer, self._cases = viewer, cases_of(viewer)
        self._layer: Image | None = None
        self.combo = QComboBox()
        shrinkable(self.combo)
        self.combo.setAccessibleName("Map")
        self.opacity = QSlider(Qt.Orientation.Horizontal)
        self.opacity.setRange(0, 100)
        self.opacity.setToolTip("Opacity of the map")
        self.opacity.setAccessibleName("Opacity of the map")
        self.bar = ColourBar()
        self.low, self.high = QLabel(), QLabel()
        self.caption = note()
        self._shown = QWidget()
        column = QVBoxLayout(self._shown)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addLayout(row(self.low, self.bar, self.high, stretch=1))
        column.addLayout(row(QLabel("Opacity"), self.opacity, stretch=1))
        column.addWidget(self.caption)
        line = QHBoxLayout()
        line.addWidget(QLabel("Map"))
        line.addWidget(self.combo, 1)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.setSpacing(4)
        whole.addLayout(line)
        whole.addWidget(self._shown)
        self.combo.activated.connect(self._choose)
        self.opacity.valueChanged.connect(self._set_opacity)
        self._cases.events.changed.connect(self.refresh, position="last")
        self.refresh()

    def show_map(self, layer: Image) -> None:
        """Show a map that was just computed, and hide the others."""
        show_only(self._viewer, self._cases.key(layer), layer)
        self.refresh()

    def refresh(self, event: Any = None) -> None:
        """List the maps of the case in view."""
        shown = self._cases.shown()
        maps = maps_of(self._viewer, shown.key) if shown is not None else []
        self._layer = next((one for one in reversed(maps) if one.visible), None)
        with signals_blocked(self.combo):
            self.combo.clear()
            self.combo.addItem(NONE, None)
            for layer in maps:
                self.combo.addItem(_title(layer), layer)
            chosen = maps.index(self._layer) + 1 if self._layer is not None else 0
            self.combo.setCurrentIndex(chosen)
        self.setVisible(bool(maps))
        self._describe()

    def _choose(self, index: int) -> None:
        shown = self._cases.shown()
        self._layer = self.combo.itemData(index)
        if shown is not None:
            show_only(self._viewer, shown.key, self._layer)
        self._describe()

    def _set_opacity(self, percent: int) -> None:
        if self._layer is not None:
            self._layer.opacity = percent / 100

    def _describe(self) -> None:
        layer = self._layer
        self._shown.setVisible(layer is not None)
        if layer is None:
            return
        with signals_blocked(self.opacity):
            self.opacity.setValue(round(100 * layer.opacity))
        low, high = layer.contrast_limits
        self.low.setText(f"{low:.2g}")
        self.high.setText(f"{high:.2g}")
        self.bar.show_colours(np.asarray(layer.colormap.map(np.linspace(0, 1, 17))))
        self.caption.setText(layer.metadata.get(CAPTION, ""))
        self.caption.setToolTip(as_text(layer.metadata.get(TERM, "")))


class ColourBar(QWidget):
    """A horizontal bar of the colours of a map, from its smallest to its largest value."""

    def __init__(self) -> None:
        super().__init__()
        self.setMinimumSize(60, 12)
        self._colours: list[QColor] = []

    def show_colours(self, colours: np.ndarray) -> None:
        """Show other colours, (n, 4) from 0 to 1."""
        self._colours = [QColor.fromRgbF(*(float(part) for part in one)) for one in colours]
        self.update()

    def paintEvent(self, event: Any) -> None:
        bar = QRectF(0, 1, self.width(), self.height() - 2)
        gradient = QLinearGradient(QPointF(0, 0), QPointF(self.width(), 0))
        for index, colour in enumerate(self._colours):
            gradient.setColorAt(index / max(len(self._colours) - 1, 1), colour)
        painter = QPainter(self)
        painter.fillRect(bar, QColor("black"))  # as the empty parts of an image
        painter.fillRect(bar, gradient)
        painter.end()


def _title(layer: Image) -> str:
    """Return the name of a map without that of its image."""
    return re.sub(r" · .*$", "", layer.name)
