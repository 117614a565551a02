"""The box of the image that is shown and selected."""

from typing import Any

from napari.components import ViewerModel
from napari.layers import Image, Layer

from napari_graphflow.plugin.viewer.cases import cases_of
from napari_graphflow.plugin.viewer.layers import is_image
from napari_graphflow.plugin.widgets.layer_combo import LayerCombo


class ShownImage(LayerCombo):
    """Always the image that is shown and selected; choosing another one shows and selects it.

    Box and view cannot differ, so what is computed is what is seen.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self._cases = cases_of(viewer)
        super().__init__(viewer, is_image, empty="no image is open")
        self._cases.events.changed.connect(self.refresh, position="last")
        self.currentIndexChanged.connect(self._chosen)

    def layer(self) -> Image | None:
        """Return the image that is shown and selected now, or None."""
        shown = self._cases.shown()
        return shown.image if shown is not None else None

    def case(self) -> str:
        """Return the name of the case that is shown, empty if none is."""
        shown = self._cases.shown()
        return shown.name if shown is not None else ""

    def key(self) -> str:
        """Return what identifies the case that is shown, empty if none is."""
        shown = self._cases.shown()
        return shown.key if shown is not None else ""

    def refresh(self, event: Any = None) -> None:
        """List the images, and choose the one that is shown."""
        self._optional = "" if self.layer() is not None else "select an image"
        super().refresh()

    def _choice(self) -> Image | None:
        return self.layer()

    def _chosen(self, index: int) -> None:
        layer = self.itemData(index)
        if isinstance(layer, Layer) and layer is not self.layer():
            self._cases.show(layer)
