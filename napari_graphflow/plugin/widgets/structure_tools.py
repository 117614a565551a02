"""Tools for the structure that is painted: each is one undo step and leaves locked ones alone."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from napari.layers import Labels
from numpy.typing import NDArray
from qtpy.QtWidgets import QGridLayout, QPushButton, QWidget

from napari_graphflow.errors import UserError
from napari_graphflow.labelling import tools
from napari_graphflow.plugin.viewer.painting import replace_labels
from napari_graphflow.plugin.viewer.world import voxel_size
from napari_graphflow.plugin.widgets.background import Background
from napari_graphflow.plugin.widgets.legend import Legend
from napari_graphflow.plugin.widgets.panel import Panel

#: Parts smaller than this are islands, in ml (mm² in 2D).
ISLAND = 0.1
#: Width of the smoothing, in voxels of the finest axis.
SMOOTHNESS = 1.0
TOOLS = {
    "between": (
        "Fill between slices",
        "Fill the empty slices between those that contain the structure.",
    ),
    "above": (
        "Copy slice above",
        "Replace the structure in this slice by that of the slice above it.",
    ),
    "holes": ("Fill holes", "Fill the background that the structure encloses."),
    "smooth": ("Smooth", "Smooth the border of the structure."),
    "islands": ("Remove islands", f"Remove parts that are smaller than {ISLAND} ml."),
    "largest": ("Keep largest", "Keep only the largest part of the structure."),
}


class StructureTools(QWidget):
    """Buttons that change the structure chosen in a legend.

    Parameters
    ----------
    panel
        Shows what was done.
    legend
        Names the mask, the structure and the locks.
    slice_in_view
        Returns the axis across the view and the index of the slice in view; raises a `UserError`
        if there is none.
    """

    def __init__(
        self, panel: Panel, legend: Legend, slice_in_view: Callable[[], tuple[int, int]]
    ) -> None:
        super().__init__()
        self._panel, self._legend, self._slice = panel, legend, slice_in_view
        self._background = Background(self)
        self._running = False
        self.buttons: dict[str, QPushButton] = {}
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(4)
        for number, (name, (text, tip)) in enumerate(TOOLS.items()):
            button = QPushButton(text)
            button.setToolTip(f"{tip} Ctrl+Z takes it back.")
            button.clicked.connect(partial(self.apply, name))
            grid.addWidget(button, number // 2, number % 2)
            self.buttons[name] = button
        legend.changed.connect(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """Enable what makes sense for the chosen structure."""
        layer, value = self._legend.layer, self._legend.chosen()
        usable = bool(
            layer is not None
            and layer.editable
            and value in self._legend.names
            and value not in self._legend.locked()
            and not self._running
        )
        flat = layer is not None and layer.ndim == 2
        for name, button in self.buttons.items():
            button.setEnabled(usable and not (flat and name in ("between", "above")))

    def apply(self, name: str, _: bool = False) -> None:
        """Run a tool in the background, and change the mask in one undo step."""
        if self._legend.layer is not None:
            self._apply(name, self._legend.layer, self._legend.chosen())

    def _apply(self, name: str, layer: Labels, value: int) -> None:
        try:
            function = self._function(name, layer, value)
        except UserError as error:
            self._panel.fail(error)
            return
        before = np.array(layer.data)
        self._running = True
        self.refresh()
        structure, text = self._legend.name(value), TOOLS[name][0]

        def done(found: NDArray[Any]) -> None:
            self._running = False
            self.refresh()
            still_shown = layer is self._legend.layer
            if not still_shown:
                return
            if not np.array_equal(np.asarray(layer.data), before):
                self._panel.status.warn(f"{text}: the mask was changed meanwhile. Try again.")
                return
            count = replace_labels(layer, found)
            done_text = f"{count:,} voxels of {structure} changed. Ctrl+Z takes it back."
            self._panel.status.info(f"{text}: {done_text if count else 'nothing to change.'}")

        def failed(error: Exception) -> None:
            self._running = False
            self.refresh()
            self._panel.fail(error)

        self._background.run(lambda: function(before), done, failed)

    def stop(self) -> None:
        """Stop; a result that is not there yet is dropped."""
        self._background.stop()

    def _function(
        self, name: str, layer: Labels, value: int
    ) -> Callable[[NDArray[Any]], NDArray[Any]]:
        locked, spacing = self._legend.locked(), voxel_size(layer)
        common: dict[str, Any] = {"value": value, "locked": locked}
        if name == "between":
            axis, _ = self._slice()
            return partial(tools.fill_between_slices, spacing=spacing, axis=axis, **common)
        if name == "above":
            axis, index = self._slice()
            return partial(tools.copy_slice, source=index + 1, target=index, axis=axis, **common)
        if name == "smooth":
            radius = SMOOTHNESS * min(spacing)
            return partial(tools.smooth, radius=radius, spacing=spacing, **common)
        if name == "islands":
            return partial(tools.remove_islands, smallest=ISLAND, spacing=spacing, **common)
        return partial(tools.fill_holes if name == "holes" else tools.keep_largest, **common)
