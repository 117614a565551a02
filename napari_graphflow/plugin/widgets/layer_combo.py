"""A combo box of layers."""

from collections.abc import Callable
from typing import Any

from napari.components import ViewerModel
from napari.layers import Layer
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox
from superqt.utils import signals_blocked

from napari_graphflow.plugin.widgets.layout import shrinkable


class LayerCombo(QComboBox):
    """Lists the layers of the viewer that `accept` returns True for."""

    layer_changed = Signal(object)

    def __init__(
        self,
        viewer: ViewerModel,
        accept: Callable[[Layer], bool],
        *,
        empty: str,
        optional: str = "",
    ) -> None:
        super().__init__()
        self._viewer, self._accept, self._empty, self._optional = viewer, accept, empty, optional
        shrinkable(self)
        self._shown: Any = None
        for event in (
            viewer.layers.events.inserted,
            viewer.layers.events.removed,
            viewer.layers.events.reordered,
        ):
            event.connect(self.refresh)
        self.currentIndexChanged.connect(self._announce)
        self.refresh()

    def layer(self) -> Layer | None:
        """Return the chosen layer, or None."""
        found = self.currentData()
        return found if isinstance(found, Layer) else None

    def choose(self, layer: Layer | None) -> None:
        """Choose a layer that is listed, or None for none."""
        for index in range(self.count()):
            if self.itemData(index) is layer:
                self.setCurrentIndex(index)

    def refresh(self, event: Any = None) -> None:
        """List the current layers; keep the choice if it still exists."""
        chosen = self._choice()
        layers = [layer for layer in reversed(list(self._viewer.layers)) if self._accept(layer)]
        for layer in layers:
            layer.events.name.connect(self._rename)
        with signals_blocked(self):
            self.clear()
            if self._optional or not layers:
                self.addItem(self._optional if layers else self._empty, None)
            for layer in layers:
                self.addItem(layer.name, layer)
            more = self._more()
            for title, data in more:
                self.addItem(title, data)
            self.setEnabled(bool(layers or more))
            entries = [self.itemData(index) for index in range(self.count())]
            if chosen in entries:
                self.setCurrentIndex(entries.index(chosen))
        self._announce()

    def _choice(self) -> Any:
        """Return the data of the entry to choose when the list is refreshed."""
        return self.currentData()

    def _more(self) -> list[tuple[str, Any]]:
        """Return the entries after the layers, with their data."""
        return []

    def _rename(self, event: Any) -> None:
        for index in range(self.count()):
            layer = self.itemData(index)
            if isinstance(layer, Layer):
                self.setItemText(index, layer.name)

    def _announce(self) -> None:
        if self.currentData() is not self._shown:
            self._shown = self.currentData()
            self.layer_changed.emit(self.layer())
