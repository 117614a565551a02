"""*Segment* in a real window with a real worker."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from clicking import answer, click
from napari import Viewer
from napari.layers import Labels
from napari.utils.notifications import notification_manager
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QApplication, QDialogButtonBox, QFileDialog, QLineEdit

from napari_graphflow.plugin.segment.widget import SegmentWidget
from napari_graphflow.plugin.viewer.layers import class_names
from napari_graphflow.plugin.viewer.map_layers import is_map
from napari_graphflow.plugin.worker.requests import dispatcher

pytestmark = pytest.mark.both_bindings

SLOW_START_MS = 300_000


@pytest.fixture
def segment(viewer: Viewer) -> Iterator[SegmentWidget]:
    _, widget = viewer.window.add_plugin_dock_widget("napari-graphflow", "Segment")
    yield widget
    viewer.window.remove_dock_widget("all")


def wait_until_done(qtbot: QtBot, widget: SegmentWidget) -> None:
    qtbot.waitUntil(lambda: not widget.running, timeout=SLOW_START_MS)


def open_image(viewer: Viewer, path: Path) -> Any:
    (layer,) = viewer.open(str(path), plugin="napari-graphflow")
    return layer


def test_missing_image_and_model_are_reported_in_order(
    viewer: Viewer, segment: SegmentWidget, make_model, write_scan
):
    assert not segment.button.isEnabled()
    assert "Open an image" in segment.status.text()
    open_image(viewer, write_scan())
    assert not segment.button.isEnabled()
    assert "No saved model found" in segment.status.text()
    assert segment.first.isVisible()
    ways = [button.text() for button in segment.first.buttons]
    assert ways[:2] == ["Open a sample scan", "Train a teacher"]
    folder = make_model("small")
    segment.model.refresh()
    assert not segment.first.isVisible()
    tip = segment.model.combo.itemData(0, Qt.ItemDataRole.ToolTipRole)
    assert "For unknown modality, 3D, 1 channel: organ, lesion\nLicence: not stated" in tip
    assert str(folder) in tip
    assert segment.button.isEnabled()
    assert segment.status.text() == ""
    assert "student · 3D" in segment.model.about.text()


def test_a_volume_is_segmented_by_a_click_and_saved_with_its_geometry(
    viewer: Viewer, segment: SegmentWidget, qtbot: QtBot, make_model, write_scan, tmp_path: Path
) -> None:
    make_model("small")
    segment.model.refresh()
    path = write_scan()
    image = open_image(viewer, path)
    shown: list[str] = []
    segment.progress.bar.valueChanged.connect(lambda _: shown.append(segment.progress.bar.format()))
    click(qtbot, segment.button)
    assert segment.progress.isVisible(), "the progress bar did not appear at once"
    assert not segment.button.isEnabled()
    wait_until_done(qtbot, segment)

    mask = viewer.layers[-1]
    assert isinstance(mask, Labels)
    assert mask.name == "small · scan"
    assert mask.data.shape == image.data.shape
    assert set(np.unique(mask.data)) <= {0, 1, 2}
    assert mask.data.any()
    assert mask.editable
    assert class_names(mask) == {0: "background", 1: "organ", 2: "lesion"}
    assert tuple(mask.scale) == tuple(image.scale)
    assert segment.mask.layer() is mask
    assert "on CPU" in segment.status.text() or "on GPU" in segment.status.text()
    assert segment.button.isEnabled()

    out = tmp_path / "mask.nii.gz"
    answer_file_dialog(out)
    click(qtbot, segment.save)
    assert segment.status.text().startswith("✓ scan: saved and verified mask.nii.gz"), (
        segment.status.text()
    )
    saved, scan = sitk.ReadImage(str(out)), sitk.ReadImage(str(path))
    np.testing.assert_allclose(saved.GetDirection(), scan.GetDirection(), atol=1e-6)
    np.testing.assert_allclose(saved.GetOrigin(), scan.GetOrigin(), atol=1e-4)
    np.testing.assert_allclose(saved.GetSpacing(), scan.GetSpacing(), rtol=1e-6)
    assert np.bincount(sitk.GetArrayFromImage(saved).ravel()).tolist() == (
        np.bincount(mask.data.ravel()).tolist()
    )


def answer_file_dialog(path: Path) -> None:
    """Enter a path in the next file dialog and accept it."""

    def answer() -> None:
        dialog = QApplication.activeModalWidget()
        if not isinstance(dialog, QFileDialog):
            QTimer.singleShot(50, answer)
            return
        dialog.findChild(QLineEdit, "fileNameEdit").setText(str(path))
        dialog.findChild(QDialogButtonBox).button(QDialogButtonBox.StandardButton.Save).click()

    QTimer.singleShot(50, answer)


def test_segmenting_again_updates_the_mask_and_can_be_undone(
    viewer: Viewer, segment: SegmentWidget, qtbot: QtBot, make_model, write_scan
) -> None:
    make_model("small")
    segment.model.refresh()
    open_image(viewer, write_scan())
    click(qtbot, segment.button)
    wait_until_done(qtbot, segment)
    mask = segment.mask.layer()
    result = mask.data.copy()
    edited = np.zeros_like(result)
    mask.data = edited
    click(qtbot, segment.button)
    answer(qtbot, "Replace")
    wait_until_done(qtbot, segment)
    assert segment.mask.layer() is mask
    np.testing.assert_array_equal(mask.data, result)
    mask.undo()
    assert not mask.data.any()


@pytest.mark.parametrize("dims", [2, 3])
def test_segmenting_one_slice_leaves_the_others_unchanged(
    viewer: Viewer, segment: SegmentWidget, qtbot: QtBot, make_model, write_scan, dims: int
) -> None:
    make_model("small", dims=dims)
    segment.model.refresh()
    open_image(viewer, write_scan())
    viewer.dims.set_current_step(0, 4)
    click(qtbot, segment.slice)
    click(qtbot, segment.button)
    wait_until_done(qtbot, segment)
    mask = segment.mask.layer()
    assert mask.data[4].any()
    assert not mask.data[:4].any()
    assert not mask.data[5:].any()
    viewer.dims.set_current_step(0, 7)
    click(qtbot, segment.button)
    wait_until_done(qtbot, segment)
    assert segment.mask.layer() is mask
    assert [bool(one.any()) for one in mask.data].count(True) == 2


def test_probability_and_uncertainty_maps_are_added_on_request(
    viewer: Viewer, segment: SegmentWidget, qtbot: QtBot, make_model, write_scan
) -> None:
    make_model("small")
    segment.model.refresh()
    image = open_image(viewer, write_scan())
    segment.probability.setChecked(True)
    segment.uncertainty.setChecked(True)
    click(qtbot, segment.button)
    wait_until_done(qtbot, segment)
    maps = {layer.name: layer for layer in viewer.layers}
    organ, lesion = (
        maps[f"probability of {name} · scan"].data.astype(float) for name in ("organ", "lesion")
    )
    assert organ.shape == image.data.shape
    labels = segment.mask.layer().data
    soft = np.stack([1 - organ - lesion, organ, lesion])
    chosen = np.take_along_axis(soft, labels[None].astype(int), 0)[0]
    # The maps are transferred in half precision.
    assert np.all(chosen > soft.max(0) - 2e-3), "the maps do not match the mask"
    assert np.mean(soft.max(0) - soft.min(0)) > 0.05, "the test needs probabilities that differ"
    uncertainty = maps["uncertainty · scan"].data
    assert 0 <= uncertainty.min() <= uncertainty.max() <= 1.001
    assert segment.image.layer() is image, "a map is listed as an image"
    shown = [name for name, layer in maps.items() if is_map(layer) and layer.visible]
    assert shown == ["uncertainty · scan"], "more than one map is shown"
    assert segment.maps.combo.currentText() == "uncertainty"
    assert maps["uncertainty · scan"].colormap.map(np.zeros(1))[0, 3] == 0, "0 hides the image"
    segment.maps.combo.setCurrentIndex(1)
    segment.maps.combo.activated.emit(1)
    assert [one.visible for one in maps.values() if is_map(one)] == [True, False, False]
    assert "How likely" in segment.maps.caption.text()
    assert "Softmax" in segment.maps.caption.toolTip()
    segment.maps.opacity.setValue(30)
    assert maps["probability of organ · scan"].opacity == 0.3


def test_cancelling_a_segmentation_adds_no_layer(
    viewer: Viewer, segment: SegmentWidget, qtbot: QtBot, make_model, write_scan
) -> None:
    make_model("small")
    segment.model.refresh()
    open_image(viewer, write_scan(shape=(64, 96, 96)))
    click(qtbot, segment.button)
    qtbot.wait(50)
    click(qtbot, segment.progress.cancel)
    wait_until_done(qtbot, segment)
    assert segment.status.text() == "scan: cancelled; nothing was changed."
    assert len(viewer.layers) == 1
    assert segment.button.isEnabled()
    assert not segment.progress.isVisible()


def test_a_killed_worker_is_reported_and_restarted_by_the_next_click(
    viewer: Viewer, segment: SegmentWidget, qtbot: QtBot, make_model, write_scan
) -> None:
    make_model("small")
    segment.model.refresh()
    open_image(viewer, write_scan(shape=(64, 96, 96)))
    click(qtbot, segment.button)
    qtbot.waitUntil(lambda: dispatcher().pid is not None, timeout=SLOW_START_MS)
    os.kill(dispatcher().pid, signal.SIGKILL)
    wait_until_done(qtbot, segment)
    assert segment.status.text().startswith(
        "✕ scan: The segmentation process was killed by the system"
    )
    assert "Traceback" not in segment.status.text()
    assert len(viewer.layers) == 1
    click(qtbot, segment.button)
    wait_until_done(qtbot, segment)
    assert len(viewer.layers) == 2


def test_a_damaged_model_is_reported(
    viewer: Viewer, segment: SegmentWidget, qtbot: QtBot, make_model, write_scan
) -> None:
    weights = make_model("small") / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    segment.model.refresh()
    open_image(viewer, write_scan())
    layers, notified = len(viewer.layers), len(notification_manager.records)
    click(qtbot, segment.button)
    wait_until_done(qtbot, segment)
    assert "weights" in segment.status.text()
    assert len(notification_manager.records) == notified, "the error is shown twice"
    assert len(viewer.layers) == layers


def test_a_2d_colour_image_is_segmented(
    viewer: Viewer, segment: SegmentWidget, qtbot: QtBot, make_model, tmp_path: Path
) -> None:
    make_model("small", dims=2, in_channels=3)
    segment.model.refresh()
    colours = np.random.default_rng(0).integers(0, 255, (31, 45, 3)).astype(np.uint8)
    sitk.WriteImage(sitk.GetImageFromArray(colours, isVector=True), str(tmp_path / "image.png"))
    image = open_image(viewer, tmp_path / "image.png")
    assert image.rgb
    click(qtbot, segment.button)
    wait_until_done(qtbot, segment)
    assert segment.mask.layer().data.shape == (31, 45)
    segment.save_mask(tmp_path / "mask.png")
    assert segment.status.text().startswith("✓ image: saved and verified mask.png"), (
        segment.status.text()
    )


def test_saving_to_a_missing_folder_is_reported(
    viewer: Viewer, segment: SegmentWidget, qtbot: QtBot, make_model, write_scan, tmp_path: Path
) -> None:
    make_model("small")
    segment.model.refresh()
    open_image(viewer, write_scan())
    click(qtbot, segment.button)
    wait_until_done(qtbot, segment)
    segment.save_mask(tmp_path / "missing" / "mask.nii.gz")
    assert segment.status.text().startswith("✕")
    assert "missing" in segment.status.text()
    assert not (tmp_path / "missing").exists()


def test_voxels_without_intensities_are_said_with_the_result(
    viewer: Viewer, segment: SegmentWidget, qtbot: QtBot, make_model, tmp_path: Path
) -> None:
    make_model("small")
    segment.model.refresh()
    array = np.random.default_rng(0).normal(100, 20, (12, 20, 24)).astype(np.float32)
    array[:2] = np.inf
    sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / "scan.nrrd"))
    open_image(viewer, tmp_path / "scan.nrrd")
    click(qtbot, segment.button)
    wait_until_done(qtbot, segment)
    text = segment.status.text()
    assert "16.67% of the voxels are not finite" in text
    assert not text.startswith("✓")
