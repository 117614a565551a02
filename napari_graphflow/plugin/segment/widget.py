"""*Segment*: segment an open image with a teacher or a student."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from napari.components import ViewerModel
from napari.layers import Labels, Layer
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
from napari_graphflow.imaging.formats.endings import READ
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.plugin.segment.export_row import export_section
from napari_graphflow.plugin.segment.first_run import FirstRun
from napari_graphflow.plugin.segment.option_boxes import OptionBoxes
from napari_graphflow.plugin.segment.presenter import (
    DEVICES,
    button_text,
    guidance,
    question,
    save_tip,
    saved,
    segmented,
    sent_to_dataset,
)
from napari_graphflow.plugin.segment.replace_dialog import ask_to_replace
from napari_graphflow.plugin.segment.save_dialog import ask_where_to_save
from napari_graphflow.plugin.segment.target import (
    existing,
    region_copy,
    slice_along_z,
    why_discarded,
    why_new_mask,
)
from napari_graphflow.plugin.viewer import case_masks
from napari_graphflow.plugin.viewer.autosave import mark_saved
from napari_graphflow.plugin.viewer.cases import cases_of
from napari_graphflow.plugin.viewer.channels import volume_for
from napari_graphflow.plugin.viewer.layers import is_mask, save_labels
from napari_graphflow.plugin.viewer.placement import same_place, size_and_axes
from napari_graphflow.plugin.viewer.preferences import after_opening, prefer_device
from napari_graphflow.plugin.viewer.record import recorded
from napari_graphflow.plugin.widgets.command_line import segment_command
from napari_graphflow.plugin.widgets.keys import KeyButton, button_keys
from napari_graphflow.plugin.widgets.layer_combo import LayerCombo
from napari_graphflow.plugin.widgets.layout import (
    Rows,
    browse_button,
    folded,
    note,
    row,
    shrinkable,
)
from napari_graphflow.plugin.widgets.map_box import MapBox
from napari_graphflow.plugin.widgets.model_picker import ModelPicker
from napari_graphflow.plugin.widgets.panel import (
    NOT_A_DEVICE,
    Panel,
    PrimaryButton,
    copy_text,
    enabled,
)
from napari_graphflow.plugin.widgets.progress import CANCELLING, ProgressRow
from napari_graphflow.plugin.widgets.shown_image import ShownImage
from napari_graphflow.plugin.widgets.words import Message
from napari_graphflow.plugin.worker.replies import Reply
from napari_graphflow.plugin.worker.requests import Request, dispatcher
from napari_graphflow.plugin.worker.segmentation import (
    Task,
    add_map,
    add_mask,
    request_segmentation,
    slab_around,
    update_mask,
)

NEW = "new mask"


class SegmentWidget(Panel):
    """Sends an image, a model and a region to the inference worker and shows the mask."""

    def __init__(self, napari_viewer: ViewerModel) -> None:
        super().__init__(napari_viewer)
        self._request: Request | None = None
        self._cases = cases_of(napari_viewer)
        self._result = Message("")
        self.image = ShownImage(napari_viewer)
        self.open = browse_button("Open an image with its geometry")
        self.model = ModelPicker(self)
        self.whole = QRadioButton("whole volume")
        self.slice = QRadioButton("this slice")
        self.slice.setToolTip("Only the current slice; other slices of the mask are not changed.")
        self._region = QButtonGroup(self)
        self.device = QComboBox()
        self.mask = LayerCombo(napari_viewer, self._fits, empty=NEW, optional=NEW)
        self.mask.setToolTip(
            "A new mask, or one of this case. Changes to a mask can be undone with Ctrl+Z."
        )
        self.button = PrimaryButton("Segment", self)
        self.progress = ProgressRow()
        self.save = KeyButton("Save mask …")
        self.probability = QCheckBox("class probabilities")
        self.uncertainty = QCheckBox("uncertainty")
        self.uncertainty.setToolTip(
            "How unsure the model is in each voxel, as a map: 0 = sure, 1 = all structures equally "
            "likely (normalised entropy of the class probabilities)."
        )
        self.options = OptionBoxes(self._update)
        self.maps = MapBox(napari_viewer)
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
        self.first = FirstRun(self, self.model)
        self.column.addWidget(self.first)
        self.column.addWidget(self.button)
        self.column.addWidget(self.progress)
        self.column.addWidget(self.status)
        self.column.addWidget(self.maps)
        self.column.addWidget(self.save)
        self.column.addWidget(folded("Additional maps", self.probability, self.uncertainty))
        self.column.addWidget(folded("Options", self.options.mirror, self.options.largest))
        self.column.addWidget(folded("Copy as command line", self.command, self.copy))
        self.column.addWidget(export_section(self, self.model))
        self.column.addStretch(1)
        self.column.addWidget(note(NOT_A_DEVICE))

        self.open.clicked.connect(self._open)
        self.image.layer_changed.connect(self._image_changed)
        self.model.model_changed.connect(self._model_changed)
        self.mask.layer_changed.connect(self._update)
        self._cases.events.changed.connect(self._case_changed, position="last")
        case_masks.events.changed.connect(self._update)
        self.device.currentIndexChanged.connect(self._update)
        self.probability.toggled.connect(self._update)
        self.button.clicked.connect(self.segment)
        self.progress.cancelled.connect(self.cancel)
        self.save.clicked.connect(self._save)
        self.copy.clicked.connect(lambda: copy_text(self.command.text()))
        self._case_changed()
        after_opening(self, partial(prefer_device, self.device))
        button_keys(
            self, "segment_keys", {"segment": self.button, "save": self.save}, self.status.warn
        )

    @property
    def running(self) -> bool:
        """Whether a request of this widget is running."""
        return self._request is not None

    def segment(self) -> None:
        """Request a mask from the worker; return at once."""
        try:
            task = self._task()
        except UserError as error:
            self._report(self.image.case(), error)
            return
        text = ""
        if task.mask is not None:
            units = "voxels" if task.image.ndim == 3 else "pixels"
            text = question(task.card.name, existing(task), units=units)
        if text:
            new = partial(self._start, replace(task, mask=None))
            ask_to_replace(self, text, partial(self._start, task), new)
            return
        self._start(task)

    def _start(self, task: Task) -> None:
        if self._request is not None:
            return
        case, before = self._cases.name(self._cases.key(task.image)), region_copy(task)
        self._result = Message(f"{case}: segmenting …")
        self.progress.wait("starting …")
        self._request = request_segmentation(
            task,
            Path(task.made_by),
            str(self.device.currentData()),
            progress=self.progress.follow,
            done=lambda found: self._show(task, before, *found),
            failed=partial(self._failed, case),
            cancelled=partial(self._was_cancelled, case),
        )
        self._update()

    def cancel(self) -> None:
        """Cancel the running request."""
        if self._request is not None:
            self.progress.wait(CANCELLING)
            dispatcher().cancel(self._request)

    def released(self) -> None:
        """Drop the pending request."""
        super().released()
        if self._request is not None:
            dispatcher().drop(self._request)

    def save_mask(self, path: Path) -> None:
        """Write the mask that is shown and selected with the geometry of its image."""
        if (layer := self.mask_to_save()) is not None:
            self._write(layer, path)

    def _write(self, layer: Labels, path: Path) -> None:
        from napari_graphflow.plugin.viewer.opening import ask_for_image  # it reads every format

        case = self._cases.name(self._cases.key(layer))
        try:
            volume = save_labels(path, layer, choose=ask_for_image)
            mark_saved(layer)
        except UserError as error:
            self._report(case, error)
        else:
            self._result = saved(case, layer.name, path.name, volume)
            self.status.show_message(self._result)

    def mask_to_save(self) -> Labels | None:
        """Return the mask of the shown case to save: the selected one, or the only visible one."""
        shown, active = self._cases.shown(), self.viewer.layers.selection.active
        active = getattr(active, "__wrapped__", active)  # a widget may get napari's proxies
        if shown is None:
            return None
        masks = [one for one in self._cases.layers(shown.key) if is_mask(one) and one.visible]
        for chosen in (active, self.mask.layer()):
            for mask in masks:
                if mask is chosen:
                    return mask
        return masks[0] if len(masks) == 1 else None

    def _task(self) -> Task:
        layer, card, mask = self.image.layer(), self.model.card(), self.mask.layer()
        folder = self.model.folder()
        if layer is None:
            raise UserError("No image is shown and selected.", self._cases.advice())
        assert card is not None
        assert folder is not None
        volume = volume_for(layer, card, self._cases)
        slab, index = None, 0
        if self.slice.isChecked() and layer.ndim == 3:
            index = slice_along_z(self.viewer.dims, layer)
            slab = slab_around(index, volume, card, size_and_axes(layer))
        into = mask if isinstance(mask, Labels) else None
        soft = self.probability.isChecked(), self.uncertainty.isChecked()
        options = self.options.options()
        return Task(layer, card, volume, into, slab, index, *soft, str(folder), options)

    def _show(
        self,
        task: Task,
        before: NDArray[Any] | None,
        reply: Reply,
        labels: Volume,
        extras: dict[str, Any],
    ) -> None:
        self._request = None
        self.progress.hide()
        key, remark = self._cases.key(task.image), ""
        if lost := why_discarded(self.viewer, task):
            self._result = Message(lost, "warn")
            self._update()
            return
        layer = task.mask if task.mask in self.viewer.layers else None
        if layer is not None:
            new = task.place.shown(labels).array
            remark = why_new_mask(task, before, new)
            if not remark:
                update_mask(layer, new, task)
        if layer is None or remark:
            layer = add_mask(self.viewer, task, labels, reply["classes"])
        for name, array in extras.items():
            self.maps.show_map(add_map(self.viewer, task.image, name, array))
        self._result = segmented(self._cases.name(key), reply, remark)
        shown = self._cases.shown()
        if shown is not None and shown.key == key:
            self.viewer.layers.selection.active = layer
            self.mask.choose(layer)
        self._update()

    def _failed(self, case: str, error: Exception) -> None:
        self._ended(Message(""))
        self._report(case, error)

    def _report(self, case: str, error: Exception) -> None:
        if isinstance(error, UserError):
            error = error.of_case(case)
        self._result = Message(str(error), "fail")
        self.fail(error)

    def _was_cancelled(self, case: str) -> None:
        self._ended(Message(f"{case}: cancelled; nothing was changed."))

    def _ended(self, result: Message) -> None:
        self._request, self._result = None, result
        self.progress.hide()
        self._update()

    def _case_changed(self, event: Any = None) -> None:
        self.model.judge_for(self.image.layer())
        self.mask.refresh()
        self._update()

    def _image_changed(self, layer: Layer | None) -> None:
        self.mask.choose(None)
        self._case_changed()

    def _model_changed(self) -> None:
        # The mask of another model must not overwrite the last one.
        self.mask.setCurrentIndex(0)
        self._update()

    def _fits(self, layer: Layer) -> bool:
        image = self.image.layer()
        if image is None or not is_mask(layer):
            return False
        return self._cases.key(layer) == self._cases.key(image) and same_place(layer, image)

    def _update(self, *_: Any) -> None:
        image, card = self.image.layer(), self.model.card()
        idle = self._request is None
        self.first.setVisible(card is None)
        self.button.setText(button_text(self.image.case()))
        misfit = self.model.misfit_text(self.image.case())
        self.button.setEnabled(idle and image is not None and card is not None and not misfit)
        enabled(idle, (self.model, self.mask))
        self.options.show_for(card)
        self.slice.setEnabled(image is not None and image.ndim == 3)
        if not self.slice.isEnabled():
            self.whole.setChecked(True)
        self.whole.setText("whole volume" if image is None or image.ndim == 3 else "whole image")
        mask = self.mask_to_save()
        self.save.setEnabled(mask is not None)
        case = None if mask is None else case_masks.case_of(mask)
        self.save.setText("Save mask …" if case is None else f"Finish {case.case}")
        self.save.setToolTip(
            save_tip("" if mask is None else mask.name, "" if case is None else case.dataset)
        )
        self.command.setText(self._command())
        self.status.show_message(
            guidance(
                self._result,
                running=not idle,
                advice="" if image is not None else self._cases.advice(),
                model=card is not None,
                misfit=misfit,
                placed=image is not None and recorded(image) is not None,
            )
        )

    def _command(self) -> str:
        image, folder = self.image.layer(), self.model.folder()
        if image is None or folder is None:
            return ""
        path = known.path if (known := recorded(image)) else ""
        device, soft = str(self.device.currentData()), self.probability.isChecked()
        return segment_command(path, folder, device, soft, self.options.options())

    def _open(self) -> None:
        patterns = " ".join(f"*{suffix}" for suffix in READ)
        path, _ = QFileDialog.getOpenFileName(
            self, "Open an image", "", f"Images ({patterns});;All files (*)"
        )
        if path:
            self.viewer.open(path, plugin="napari-graphflow")

    def _save(self) -> None:
        layer = self.mask_to_save()
        if layer is None:
            return
        if (case := case_masks.case_of(layer)) is not None:
            case.use(layer)
            self._result = sent_to_dataset(case.case, case.dataset)
            self._update()
            return
        shown = self._cases.shown()
        if shown is not None and (path := ask_where_to_save(self, layer, shown)) is not None:
            self._write(layer, path)
