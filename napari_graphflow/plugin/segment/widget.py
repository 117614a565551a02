"""*Segment*: segment an open image with a teacher or a student."""

from pathlib import Path
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer
from numpy.typing import NDArray
from qtpy.QtWidgets import (
    QButtonGroup,
    QCheckBox,
    QComboBox,
    QFileDialog,
    QLabel,
    QPushButton,
    QRadioButton,
)

from napari_graphflow.errors import UserError
from napari_graphflow.imaging.formats.endings import READ, split_ending
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.plugin.viewer.autosave import mark_saved
from napari_graphflow.plugin.viewer.layers import (
    image_volume,
    is_image,
    is_mask,
    save_labels,
)
from napari_graphflow.plugin.viewer.opening import ask_for_image
from napari_graphflow.plugin.viewer.placement import (
    DERIVED,
    same_place,
    size_and_axes,
)
from napari_graphflow.plugin.viewer.record import (
    KEY,
    recorded,
)
from napari_graphflow.plugin.viewer.world import grid_shape, transform_keywords
from napari_graphflow.plugin.widgets.command_line import segment_command
from napari_graphflow.plugin.widgets.layer_combo import LayerCombo
from napari_graphflow.plugin.widgets.layout import (
    Rows,
    browse_button,
    folded,
    note,
    row,
    shrinkable,
)
from napari_graphflow.plugin.widgets.model_picker import ModelPicker
from napari_graphflow.plugin.widgets.panel import (
    NOT_A_DEVICE,
    Panel,
    PrimaryButton,
    copy_text,
    enabled,
)
from napari_graphflow.plugin.widgets.progress import ProgressRow
from napari_graphflow.plugin.worker.requests import Reply, Request, dispatcher
from napari_graphflow.plugin.worker.segmentation import (
    Task,
    add_mask,
    request_segmentation,
    slab_around,
    update_mask,
)

DEVICES = {
    "automatic": "auto",
    "CPU": "cpu",
    "NVIDIA GPU": "cuda",
    "Apple GPU": "mps",
}
NEW = "new mask"


class SegmentWidget(Panel):
    """Sends an image, a model and a region to the inference worker and shows the mask."""

    def __init__(self, napari_viewer: ViewerModel) -> None:
        super().__init__(napari_viewer)
        self._request: Request | None = None
        self.image = LayerCombo(napari_viewer, is_image, empty="no image is open")
        self.open = browse_button("Open an image with its geometry")
        self.model = ModelPicker(self)
        self.whole = QRadioButton("whole volume")
        self.slice = QRadioButton("this slice")
        self.slice.setToolTip(
            "Segment the current slice only; other slices of the mask are not changed."
        )
        self._region = QButtonGroup(self)
        self.device = QComboBox()
        self.mask = LayerCombo(napari_viewer, self._fits, empty=NEW, optional=NEW)
        self.mask.setToolTip("Changes to an existing mask can be undone with Ctrl+Z.")
        self.button = PrimaryButton("Segment", self)
        self.progress = ProgressRow()
        self.save = QPushButton("Save mask …")
        self.save.setToolTip(
            "Save with the geometry of the image; the file is verified by reading it back."
        )
        self.probability = QCheckBox("class probabilities")
        self.uncertainty = QCheckBox("uncertainty")
        self.uncertainty.setToolTip(
            "Normalised entropy of the class probabilities: 0 = certain, 1 = all equally likely."
        )
        self.command = QLabel()
        self.command.setWordWrap(True)
        self.copy = QPushButton("Copy")

        for button in (self.whole, self.slice):
            self._region.addButton(button)
        self.whole.setChecked(True)
        for title, name in DEVICES.items():
            self.device.addItem(title, name)
        shrinkable(self.device)
        rows = Rows()
        rows.add("Image", row(self.image, self.open))
        rows.add("Model", self.model)
        rows.add("", self.model.about)
        rows.add("Region", row(self.whole, self.slice, stretch=1))
        rows.add("Result", self.mask)
        rows.add("Device", self.device)
        self.column.addLayout(rows)
        self.column.addWidget(self.button)
        self.column.addWidget(self.progress)
        self.column.addWidget(self.status)
        self.column.addWidget(self.save)
        self.column.addWidget(folded("Additional maps", self.probability, self.uncertainty))
        self.column.addWidget(folded("Copy as command line", self.command, self.copy))
        self.column.addStretch(1)
        self.column.addWidget(note(NOT_A_DEVICE))

        self.open.clicked.connect(self._open)
        self.image.layer_changed.connect(self._image_changed)
        self.model.model_changed.connect(self._model_changed)
        self.mask.layer_changed.connect(self._update)
        self.device.currentIndexChanged.connect(self._update)
        self.probability.toggled.connect(self._update)
        self.button.clicked.connect(self.segment)
        self.progress.cancelled.connect(self.cancel)
        self.save.clicked.connect(self._save)
        self.copy.clicked.connect(lambda: copy_text(self.command.text()))
        self._update()

    @property
    def running(self) -> bool:
        """Whether a request of this widget is running."""
        return self._request is not None

    def segment(self) -> None:
        """Request a mask from the worker; return at once."""
        try:
            task = self._task()
        except UserError as error:
            self.fail(error)
            return
        self.progress.wait("starting …")
        self.status.info("")
        folder = self.model.folder()
        assert folder is not None
        self._request = request_segmentation(
            task,
            folder,
            str(self.device.currentData()),
            progress=self.progress.follow,
            done=lambda found: self._show(task, *found),
            failed=self._failed,
            cancelled=self._was_cancelled,
        )
        self._update()

    def cancel(self) -> None:
        """Cancel the running request."""
        if self._request is not None:
            self.progress.wait("cancelling …")
            dispatcher().cancel(self._request)

    def released(self) -> None:
        """Drop the pending request."""
        super().released()
        if self._request is not None:
            dispatcher().drop(self._request)

    def save_mask(self, path: Path) -> None:
        """Write the chosen mask with the geometry of its image."""
        layer = self.mask.layer()
        if not isinstance(layer, Labels):
            return
        image = self.image.layer()
        # The image chosen above decides between several that match.
        images = [image] if image is not None and same_place(layer, image) else self.viewer.layers
        try:
            volume = save_labels(path, layer, images, ask_for_image)
            mark_saved(layer)
        except UserError as error:
            self.fail(error)
            return
        spacing = " x ".join(f"{value:.3g}" for value in volume.spacing)
        self.status.done(f"Saved and verified {path.name} ({spacing} mm).")

    def _task(self) -> Task:
        layer, card, mask = self.image.layer(), self.model.card(), self.mask.layer()
        assert isinstance(layer, Image)
        assert card is not None
        volume = image_volume(layer)
        slab, index = None, 0
        if self.slice.isChecked() and layer.ndim == 3:
            index = self._slice_in_view(layer)
            slab = slab_around(index, volume, card, size_and_axes(layer))
        return Task(
            layer,
            card,
            volume,
            mask if isinstance(mask, Labels) else None,
            slab,
            index,
            self.probability.isChecked(),
            self.uncertainty.isChecked(),
        )

    def _slice_in_view(self, layer: Image) -> int:
        dims = self.viewer.dims
        axis = dims.ndim - layer.ndim
        if dims.ndisplay != 2 or axis in dims.displayed:
            raise UserError(
                "No single slice along z is in view.",
                "Switch to the 2D view with z on the slider, or segment the whole volume.",
            )
        index = round(layer.world_to_data(dims.point)[0])
        return int(np.clip(index, 0, grid_shape(layer)[0] - 1))

    def _show(self, task: Task, reply: Reply, labels: Volume, extras: dict[str, Any]) -> None:
        self._ended()
        if task.image not in self.viewer.layers:
            self.status.warn("The image was closed during segmentation; its mask was discarded.")
            return
        if task.mask is not None and task.mask in self.viewer.layers:
            update_mask(task.mask, task.place.shown(labels).array, task)
            layer = task.mask
        else:
            layer = add_mask(self.viewer, task, labels, reply["classes"])
        self.mask.choose(layer)
        self.viewer.layers.selection.active = layer
        for name, array in extras.items():
            self._add_map(task.image, name, array)
        memory = reply.get("peak_bytes")
        self.status.done(
            f"Segmented in {reply['seconds']:.1f} s on {reply['device']}"
            + (f", peak memory {memory / 2**30:.1f} GB." if memory else ".")
        )

    def _add_map(self, image: Image, name: str, array: NDArray[Any]) -> None:
        title = f"{name} · {image.name}"
        for old in [
            one for one in self.viewer.layers if one.name == title and DERIVED in one.metadata
        ]:
            self.viewer.layers.remove(old)
        active = self.viewer.layers.selection.active
        self.viewer.add_image(
            array,
            name=title,
            **transform_keywords(image),
            colormap="inferno" if name == "uncertainty" else "viridis",
            contrast_limits=(0.0, 1.0),
            blending="additive",
            opacity=0.6,
            metadata={KEY: image.metadata.get(KEY), DERIVED: image.name},
        )
        self.viewer.layers.selection.active = active

    def _failed(self, error: Exception) -> None:
        self._ended()
        self.fail(error)

    def _was_cancelled(self) -> None:
        self._ended()
        self.status.info("Cancelled; nothing was changed.")

    def _ended(self) -> None:
        self._request = None
        self.progress.hide()
        self._update()

    def _image_changed(self, layer: Layer | None) -> None:
        self.mask.refresh()
        self._update()

    def _model_changed(self) -> None:
        # The mask of another model must not overwrite the last one.
        self.mask.setCurrentIndex(0)
        self._update()

    def _fits(self, layer: Layer) -> bool:
        image = self.image.layer()
        return is_mask(layer) and image is not None and same_place(layer, image)

    def _update(self, *_: Any) -> None:
        image, card = self.image.layer(), self.model.card()
        idle = self._request is None
        self.button.setEnabled(idle and image is not None and card is not None)
        enabled(idle, (self.image, self.model, self.mask))
        self.slice.setEnabled(image is not None and image.ndim == 3)
        if not self.slice.isEnabled():
            self.whole.setChecked(True)
        self.whole.setText("whole volume" if image is None or image.ndim == 3 else "whole image")
        self.save.setEnabled(idle and self.mask.layer() is not None)
        self.command.setText(self._command())
        if not idle:
            return
        if image is None:
            self.status.info(
                "Open an image: drop a file onto the window or use File > Open Sample."
            )
        elif card is None:
            self.status.info("No saved model found. Train one with Plugins > Graph Flow > Distil.")
        elif recorded(image) is None:
            self.status.warn(
                "This image was opened by another reader, so its position and orientation are "
                "unknown. Reopen it with the … button to keep them."
            )
        elif self.mask.layer() is None:
            self.status.info("")

    def _command(self) -> str:
        image, folder = self.image.layer(), self.model.folder()
        if image is None or folder is None:
            return ""
        known = recorded(image)
        return segment_command(
            known.path if known else "",
            folder,
            str(self.device.currentData()),
            self.probability.isChecked(),
        )

    def _open(self) -> None:
        patterns = " ".join(f"*{suffix}" for suffix in READ)
        path, _ = QFileDialog.getOpenFileName(
            self, "Open an image", "", f"Images ({patterns});;All files (*)"
        )
        if path:
            self.viewer.open(path, plugin="napari-graphflow")

    def _save(self) -> None:
        layer, image = self.mask.layer(), self.image.layer()
        if layer is None:
            return
        known = recorded(image) if image is not None else None
        source = Path(known.path) if known and known.path else Path(layer.name)
        flat = layer.ndim == 2
        suffix = ".png" if flat else ".nii.gz"
        kinds = "2D images (*.png *.tif)" if flat else "Volumes (*.nii.gz *.nii *.nrrd *.mha)"
        path, _ = QFileDialog.getSaveFileName(
            self,
            "Save mask",
            str(source.with_name(f"{split_ending(source.name)[0]}_mask{suffix}")),
            kinds,
        )
        if path:
            chosen = Path(path)
            self.save_mask(chosen if chosen.suffix else chosen.with_name(chosen.name + suffix))
