"""*Volume*: the table of series, reported problems, window presets and orientation letters."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from dicom_cases import write_series
from napari import Viewer
from napari.components import ViewerModel
from napari.layers import Labels
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt

from napari_graphflow.imaging.windows import CT_WINDOWS, is_ct
from napari_graphflow.plugin.viewer.orientation_letters import show_orientation_letters
from napari_graphflow.plugin.volume.widget import AUTOMATIC, VolumeWidget


@pytest.fixture
def widget(viewer: Viewer) -> VolumeWidget:
    _, found = viewer.window.add_plugin_dock_widget("napari-graphflow", "Volume")
    assert isinstance(found, VolumeWidget)
    return found


def inspect(widget: VolumeWidget, qtbot: QtBot, path: Path) -> None:
    widget.inspect(path)
    qtbot.waitUntil(lambda: not widget.background.busy())


def click_open(widget: VolumeWidget, qtbot: QtBot) -> None:
    qtbot.mouseClick(widget.button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not widget.background.busy())


def cells(widget: VolumeWidget, row: int) -> list[str]:
    return [widget.table.item(row, column).text() for column in range(widget.table.columnCount())]


def test_all_series_of_a_folder_are_listed_and_the_selected_one_opens(
    viewer: Viewer, widget: VolumeWidget, qtbot: QtBot, tmp_path: Path
) -> None:
    write_series(tmp_path / "PATIENT^NAME/a", uid="1.2.3.1")
    write_series(tmp_path / "PATIENT^NAME/b", [0.0, 2.0, 4.0], uid="1.2.3.2")
    inspect(widget, qtbot, tmp_path)
    assert widget.table.rowCount() == 2 and len(viewer.layers) == 0
    assert cells(widget, 0) == ["Abdomen 5 mm\nCT · 2024-02-29", "8", "12 × 10\n5 × 0.8 × 0.5"]
    assert not widget.button.isEnabled()
    widget.table.selectRow(1)
    click_open(widget, qtbot)
    (layer,) = viewer.layers
    assert layer.data.shape == (3, 12, 10) and layer.name == "Abdomen 5 mm"
    assert widget.status.text() == "✓ Opened Abdomen 5 mm."


def test_a_truncated_series_is_reported_and_cannot_be_opened(
    viewer: Viewer, widget: VolumeWidget, qtbot: QtBot, tmp_path: Path
) -> None:
    paths = write_series(tmp_path)
    paths[3].write_bytes(paths[3].read_bytes()[:-50])
    inspect(widget, qtbot, tmp_path)
    assert "1 file of the series is truncated" in widget.status.text()
    assert cells(widget, 0)[0].startswith("⚠")
    assert not widget.button.isEnabled() and widget.resample.isHidden()
    assert len(viewer.layers) == 0


def test_uneven_slices_are_resampled_if_the_user_agrees(
    viewer: Viewer, widget: VolumeWidget, qtbot: QtBot, tmp_path: Path
) -> None:
    write_series(tmp_path, [0.0, 5.0, 10.0, 20.0, 25.0])
    inspect(widget, qtbot, tmp_path)
    assert "1 slice is missing" in widget.status.text() and len(viewer.layers) == 0
    assert widget.resample.isVisible() and widget.resample.isChecked()
    widget.resample.setChecked(False)
    click_open(widget, qtbot)
    assert len(viewer.layers) == 0 and "1 slice is missing" in widget.status.text()
    widget.resample.setChecked(True)
    click_open(widget, qtbot)
    (layer,) = viewer.layers
    assert layer.data.shape == (6, 12, 10)
    assert "resampled" in widget.status.text()


def test_a_valid_file_opens_at_once_and_a_damaged_or_missing_one_is_reported(
    viewer: Viewer, widget: VolumeWidget, qtbot: QtBot, write_scan
) -> None:
    scan = write_scan()
    widget.inspect(scan)
    qtbot.waitUntil(lambda: len(viewer.layers) == 1)
    qtbot.waitUntil(lambda: not widget.background.busy())
    assert "12 × 20 × 24 voxels of 2.5 × 0.7 × 0.8\u00a0mm" in widget.facts.text()
    scan.write_bytes(scan.read_bytes()[:-500])
    inspect(widget, qtbot, scan)
    assert "scan.nii.gz is" in widget.status.text() and len(viewer.layers) == 1
    inspect(widget, qtbot, scan.with_name("gone.nii.gz"))
    assert "There is no file or folder" in widget.status.text() and len(viewer.layers) == 1


def test_class_names_are_read_and_written_with_a_mask(
    viewer: Viewer, widget: VolumeWidget, qtbot: QtBot, tmp_path: Path
) -> None:
    labels = np.zeros((4, 6, 8), np.uint8)
    labels[1, 2, 3] = 2
    path = tmp_path / "mask.nii.gz"
    sitk.WriteImage(sitk.GetImageFromArray(labels), str(path))
    names = '{"labels": {"background": 0, "Größe": 2}}'
    path.with_name("mask.nii.gz.labels.json").write_text(names, "utf-8")
    widget.inspect(path)
    qtbot.waitUntil(lambda: len(viewer.layers) == 1)
    (layer,) = viewer.layers
    assert isinstance(layer, Labels) and "Größe" in set(layer.features["name"])
    out = tmp_path / "out.nrrd"
    viewer.layers.save(str(out), plugin="napari-graphflow")
    side_file = out.with_name("out.nrrd.labels.json")
    assert (
        side_file.read_text("utf-8").split() == names.replace("{", "{ ").replace("}", " }").split()
    )


def test_ct_gets_window_presets_and_other_images_percentiles(
    viewer: Viewer, widget: VolumeWidget, qtbot: QtBot, tmp_path: Path, write_scan
) -> None:
    random = np.random.default_rng(0)
    ct = np.full((8, 40, 40), -1000, np.int16)
    ct[:, 10:30, 10:30] = random.normal(40, 20, (8, 20, 20))
    assert is_ct(ct) and not is_ct(np.abs(ct)) and not is_ct(ct[0])
    sitk.WriteImage(sitk.GetImageFromArray(ct), str(tmp_path / "ct.nrrd"))
    viewer.open(str(tmp_path / "ct.nrrd"), plugin="napari-graphflow")
    image = viewer.layers[0]
    assert tuple(image.contrast_limits) == (-160, 240)
    combo = widget.window_preset
    assert combo.currentText() == "Soft tissue" and combo.count() == 1 + len(CT_WINDOWS)
    combo.setCurrentText("Lung")
    combo.activated.emit(combo.currentIndex())
    assert tuple(image.contrast_limits) == (-1350, 150)
    combo.setCurrentText(AUTOMATIC)
    combo.activated.emit(combo.currentIndex())
    assert image.contrast_limits[0] == -1000 and image.contrast_limits[1] < 150
    viewer.open(str(write_scan()), plugin="napari-graphflow")
    widget.image.choose(viewer.layers[1])
    assert combo.count() == 1 and combo.isEnabled()


def test_orientation_letters_follow_the_displayed_axes_and_the_camera(
    viewer: Viewer, qtbot: QtBot, write_scan
) -> None:
    shown = show_orientation_letters(viewer).shown
    assert shown() == []
    viewer.open(str(write_scan()), plugin="napari-graphflow")
    qtbot.waitUntil(lambda: shown() == ["A", "P", "R", "L"])
    viewer.dims.order = (1, 0, 2)  # coronal, head at the top
    assert shown() == ["S", "I", "R", "L"]
    viewer.dims.order = (2, 0, 1)
    assert shown() == ["S", "I", "A", "P"]
    viewer.scene.camera.orientation2d = ("down", "left")
    assert shown() == ["I", "S", "P", "A"]
    viewer.dims.ndisplay = 3
    assert shown() == []
    viewer.dims.ndisplay = 2
    viewer.layers.clear()
    assert shown() == []


def test_a_viewer_without_a_window_has_letters_too(qtbot: QtBot, write_scan) -> None:
    viewer = ViewerModel()
    shown = show_orientation_letters(viewer).shown
    viewer.open(str(write_scan()), plugin="napari-graphflow")
    qtbot.waitUntil(lambda: shown() == ["A", "P", "R", "L"])


def test_volumes_of_any_orientation_are_displayed_in_lps(viewer: Viewer, tmp_path: Path) -> None:
    """A bright voxel at the superior, posterior, left corner is the last voxel of every layer."""
    array = np.zeros((4, 5, 6), np.int16)
    array[-1, -1, -1] = 1000  # LPS: the last of every axis
    image = sitk.GetImageFromArray(array)
    for code in ("LPS", "RAI", "PIR", "SAL"):
        sitk.WriteImage(sitk.DICOMOrient(image, code), str(tmp_path / f"{code}.nrrd"))
        viewer.open(str(tmp_path / f"{code}.nrrd"), plugin="napari-graphflow")
        layer = viewer.layers[-1]
        assert np.argwhere(np.asarray(layer.data) == 1000).tolist() == [[3, 4, 5]]


def test_a_dicom_segmentation_opens_on_its_image_and_a_mask_is_saved_as_one(
    viewer: Viewer, shared_data: Path, tmp_path: Path
) -> None:
    pytest.importorskip("highdicom", reason="the extra dicom-seg is not installed")
    folder = shared_data / "dcmqi_dicom_seg"
    viewer.open(str(folder / "ct-3slice"), plugin="napari-graphflow")
    (mask,) = viewer.open(str(folder / "liver.dcm"), plugin="napari-graphflow")
    assert isinstance(mask, Labels) and list(mask.features["name"]) == ["Liver"]
    assert mask.data.shape == viewer.layers[0].data.shape
    viewer.layers.selection = {viewer.layers[0]}
    viewer.window._qt_viewer.layerButtons.newLabelsButton.click()
    mine = viewer.layers[-1]
    mine.brush_size = 1
    mine.paint((2, 100, 200), 3)
    out = tmp_path / "mine.dcm"
    saved = viewer.layers.save(str(out), selected=True, plugin="napari-graphflow")
    assert saved == [str(out)]
    (again,) = viewer.open(str(out), plugin="napari-graphflow")
    assert np.argwhere(again.data).tolist() == [[2, 100, 200]]
    assert list(again.features["name"]) == ["label 3"]
