"""The structures of a mask: colour, name, volume, eye and lock; a click chooses what to paint."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap
from qtpy.QtCore import QTimer, Signal
from qtpy.QtGui import QColor, QIcon
from qtpy.QtWidgets import (
    QFrame,
    QGridLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QToolButton,
    QWidget,
)

from napari_graphflow.imaging.labels import IGNORE
from napari_graphflow.plugin.viewer.layers import class_colours, class_names
from napari_graphflow.plugin.viewer.record import recorded
from napari_graphflow.plugin.viewer.structure_locks import locks_of
from napari_graphflow.plugin.viewer.world import unit_factors, voxel_size
from napari_graphflow.plugin.widgets.background import Background
from napari_graphflow.plugin.widgets.icons import eye_icon, lock_icon
from napari_graphflow.plugin.widgets.words import as_text, in_words, volume_text

#: Time from an edit to the new volumes.
_DELAY_MS = 250


class Legend(QWidget):
    """Shows the structures of one mask layer.

    Attributes
    ----------
    layer
        The mask, or None.
    volumes
        Volume of each structure, in the unit of `unit`, by label.
    """

    #: Another structure was chosen, or locks or volumes changed.
    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.layer: Labels | None = None
        self.volumes: dict[int, float] = {}
        self.unit = "ml"
        self.hidden: frozenset[int] = frozenset()
        self.names: dict[int, QPushButton] = {}
        self.sizes: dict[int, QLabel] = {}
        self.eyes: dict[int, QToolButton] = {}
        self.locks: dict[int, QToolButton] = {}
        self._rows: list[QWidget] = []
        self._colours: Any = class_colours()
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(6)
        self._grid.setVerticalSpacing(1)
        self._grid.setColumnStretch(1, 1)
        self._background = Background(self)
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(_DELAY_MS)
        self._soon.timeout.connect(self.measure)

    def show_layer(self, layer: Labels | None) -> None:
        """Show the structures of another mask; what is hidden and locked is kept by label."""
        if self.layer is not None:
            for event in self._events(self.layer):
                event.disconnect(self._later)
            self.layer.events.selected_label.disconnect(self._mark)
        locked = frozenset(value for value, one in self.locks.items() if one.isChecked())
        self.layer, self.volumes = layer, {}
        self._colours = class_colours() if layer is None else layer.colormap
        self._fill(layer, locked)
        if layer is None:
            return
        for event in self._events(layer):
            event.connect(self._later)
        layer.events.selected_label.connect(self._mark)
        self._lock()
        self._paint_eyes()
        self._mark()
        self.measure()

    def chosen(self) -> int:
        """Return the label that is painted; 0 without a mask."""
        return int(self.layer.selected_label) if self.layer is not None else 0

    def locked(self) -> frozenset[int]:
        """Return the locked labels."""
        return locks_of(self.layer).locked if self.layer is not None else frozenset()

    def name(self, label: int) -> str:
        """Return the name of a structure."""
        return self.names[label].text() if label in self.names else f"label {label}"

    def measure(self) -> None:
        """Measure the volumes in the background."""
        layer = self.layer
        if layer is None:
            return
        if self._background.busy():  # painting goes on meanwhile
            self._soon.start()
            return
        data = np.asarray(layer.data)
        size, self.unit = voxel_unit(layer)

        def show(found: Mapping[int, int]) -> None:
            if layer is self.layer:
                self.volumes = {value: count * size for value, count in found.items()}
                self._show_volumes()

        self._background.run(lambda: count_labels(data), show, lambda _: None)

    def stop(self) -> None:
        """Stop measuring."""
        self.show_layer(None)
        self._soon.stop()
        self._background.stop()

    def _events(self, layer: Labels) -> tuple[Any, ...]:
        # Undo emits nothing but this one.
        return layer.events.paint, layer.events.set_data

    def _fill(self, layer: Labels | None, locked: frozenset[int]) -> None:
        for widget in self._rows:
            self._grid.removeWidget(widget)
            widget.setParent(None)
            widget.deleteLater()
        self._rows = []
        for part in (self.names, self.sizes, self.eyes, self.locks):
            part.clear()
        if layer is None:
            return
        names = {value: in_words(name) for value, name in class_names(layer).items() if value}
        for line, (value, name) in enumerate(names.items()):
            colour = QLabel()
            colour.setFixedSize(14, 14)
            colour.setFrameShape(QFrame.Shape.NoFrame)
            colour.setStyleSheet(
                f"background: {_colour(self._colours, value)}; border-radius: 3px;"
            )
            choose = QPushButton(name)
            choose.setCheckable(True)
            choose.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
            choose.setMinimumWidth(60)
            choose.setStyleSheet("text-align: left; padding: 2px 6px;")
            choose.setToolTip(as_text(f"Paint {name} (label {value})"))
            choose.clicked.connect(lambda _, one=value: self._choose(one))
            volume = QLabel("–")
            volume.setMinimumWidth(62)
            eye = _toggle(eye_icon(), f"Show or hide {name}")
            eye.setChecked(value not in self.hidden)
            eye.toggled.connect(self._eyes_changed)
            lock = _toggle(lock_icon(), f"Lock {name}: painting and tools do not change it")
            lock.setChecked(value in locked)
            lock.toggled.connect(self._lock)
            for column, widget in enumerate((colour, choose, volume, eye, lock)):
                self._grid.addWidget(widget, line, column)
                self._rows.append(widget)
            self.names[value], self.sizes[value] = choose, volume
            self.eyes[value], self.locks[value] = eye, lock
            if value == IGNORE:
                lock.setEnabled(False)

    def _choose(self, value: int) -> None:
        if self.layer is not None:
            self.layer.selected_label = value
            self._mark()

    def _mark(self, event: Any = None) -> None:
        for value, button in self.names.items():
            button.setChecked(value == self.chosen())
        self.changed.emit()

    def _lock(self, _: bool = False) -> None:
        if self.layer is not None:
            locked = frozenset(value for value, one in self.locks.items() if one.isChecked())
            locks_of(self.layer).locked = locked
            self.changed.emit()

    def _eyes_changed(self, _: bool = False) -> None:
        self.hidden = frozenset(value for value, eye in self.eyes.items() if not eye.isChecked())
        self._paint_eyes()

    def _paint_eyes(self) -> None:
        layer = self.layer
        if layer is None:
            return
        hidden = self.hidden & set(self.eyes)
        if not hidden:
            if isinstance(layer.colormap, DirectLabelColormap):
                layer.colormap = self._colours
            return
        colours: dict[int | None, Any] = {
            value: "transparent" if value in hidden else _colour(self._colours, value)
            for value in self.names
        }
        layer.colormap = DirectLabelColormap(
            color_dict={**colours, 0: "transparent", None: "transparent"}
        )

    def _later(self, event: Any = None) -> None:
        if not self._soon.isActive():
            self._soon.start()

    def _show_volumes(self) -> None:
        for value, label in self.sizes.items():
            found = self.volumes.get(value, 0.0)
            label.setText(volume_text(found, self.unit) if found else "–")
        self.changed.emit()


def count_labels(labels: np.ndarray[Any, Any]) -> dict[int, int]:
    """Return the number of voxels of each label except 0, slice by slice to save memory."""
    counts: dict[int, int] = {}
    small = labels.dtype in (np.uint8, np.uint16)
    for one in labels if labels.ndim == 3 else [labels]:
        if small:  # many times faster than sorting
            numbers = np.bincount(one.ravel())
            for value in np.flatnonzero(numbers[1:]).tolist():
                counts[value + 1] = counts.get(value + 1, 0) + int(numbers[value + 1])
            continue
        values, found = np.unique(one[one != 0], return_counts=True)
        for value, count in zip(values.tolist(), found.tolist(), strict=True):
            counts[value] = counts.get(value, 0) + count
    return counts


def voxel_unit(layer: Labels) -> tuple[float, str]:
    """Return the size of a voxel and its unit: ml, mm² in 2D, or voxels of unknown size."""
    place = recorded(layer)
    if not all(unit_factors(layer)) or (place is not None and not place.sized):
        return 1.0, "px" if layer.ndim == 2 else "voxels"
    size = math.prod(voxel_size(layer))
    return (size, "mm²") if layer.ndim == 2 else (size / 1000, "ml")


def _colour(colours: Any, value: int) -> str:
    red, green, blue = (round(255 * float(one)) for one in colours.map(value)[:3])
    return QColor(red, green, blue).name()


def _toggle(icon: QIcon, tip: str) -> QToolButton:
    button = QToolButton()
    button.setIcon(icon)
    button.setCheckable(True)
    button.setFixedSize(26, 22)
    button.setToolTip(tip)
    return button
