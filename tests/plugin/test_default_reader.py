"""The question which reader opens a file: asked at most once, and the user's readers stay."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from dicom_cases import write_series
from napari import Viewer
from napari.settings import get_settings
from PIL import Image
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QMimeData, QPointF, Qt, QTimer, QUrl
from qtpy.QtGui import QDropEvent
from qtpy.QtWidgets import QApplication, QDialog, QMessageBox

from napari_graphflow.plugin.viewer import default_reader
from napari_graphflow.plugin.viewer.placement import recorded
from napari_graphflow.plugin.widgets.docks import show_dock

OURS = "napari-graphflow"


@pytest.fixture(autouse=True)
def nobody_was_asked(
    reader_is_no_default: None, home: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    (home / "reader.json").unlink()
    monkeypatch.setattr(default_reader, "_asked", False)
    plugins = get_settings().plugins
    before = dict(plugins.extension2reader)
    yield
    plugins.extension2reader = before


@pytest.fixture
def files(tmp_path: Path, write_scan) -> dict[str, Path]:
    """One of every kind that is dropped."""
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "photograph.png")
    write_series(tmp_path / "series")
    named = write_series(tmp_path / "named", [0.0])[0].rename(tmp_path / "IM000001")
    return {
        "NIfTI": write_scan("scan.nii.gz"),
        "capital letters": write_scan("other.nrrd").rename(tmp_path / "OTHER.NRRD"),
        "photograph": tmp_path / "photograph.png",
        "DICOM folder": tmp_path / "series",
        "DICOM file without a suffix": named,
    }


def drop(viewer: Viewer, path: Path) -> list[str]:
    """Drop a path onto the canvas; return the titles of the questions, which are cancelled."""
    asked: list[str] = []

    def cancel() -> None:
        dialog = QApplication.activeModalWidget()
        if isinstance(dialog, QDialog):
            asked.append(dialog.windowTitle())
            dialog.reject()

    timer = QTimer()
    timer.timeout.connect(cancel)
    timer.start(50)
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(path))])
    event = QDropEvent(
        QPointF(10, 10),
        Qt.DropAction.CopyAction,
        data,
        Qt.MouseButton.LeftButton,
        Qt.KeyboardModifier.NoModifier,
    )
    viewer.window._qt_viewer.dropEvent(event)
    timer.stop()
    return asked


def question(viewer: Viewer, qtbot: QtBot) -> QMessageBox:
    def boxes() -> list[QMessageBox]:
        window = viewer.window._qt_window
        return [one for one in window.findChildren(QMessageBox) if one.isVisible()]

    qtbot.waitUntil(lambda: len(boxes()) == 1)
    return boxes()[0]


def answer(viewer: Viewer, qtbot: QtBot, button: QMessageBox.StandardButton) -> None:
    box = question(viewer, qtbot)
    assert not box.isModal(), "the window is blocked"
    qtbot.mouseClick(box.button(button), Qt.MouseButton.LeftButton)


@pytest.mark.parametrize(
    "kind",
    ["NIfTI", "capital letters", "photograph", "DICOM folder", "DICOM file without a suffix"],
)
def test_after_yes_no_drop_asks_for_a_reader(
    viewer: Viewer, qtbot: QtBot, files: dict[str, Path], kind: str
) -> None:
    assert drop(viewer, files["photograph"]) == ["Choose reader"]
    show_dock(viewer, "Volume")
    answer(viewer, qtbot, QMessageBox.StandardButton.Yes)
    saved = dict(get_settings().plugins.extension2reader)
    assert saved["*.nii.gz"] == OURS
    assert drop(viewer, files[kind]) == []
    (layer,) = viewer.layers
    assert recorded(layer) is not None, "read by another reader"
    assert dict(get_settings().plugins.extension2reader) == saved
    viewer.window.remove_dock_widget("all")


def test_after_no_nothing_is_changed_and_nothing_is_asked_again(
    viewer: Viewer, qtbot: QtBot, files: dict[str, Path]
) -> None:
    before = dict(get_settings().plugins.extension2reader)
    show_dock(viewer, "Segment")
    answer(viewer, qtbot, QMessageBox.StandardButton.No)
    default_reader._asked = False  # as in the next start of napari
    show_dock(viewer, "Volume")
    qtbot.wait(300)
    assert not [one for one in QApplication.topLevelWidgets() if isinstance(one, QMessageBox)]
    assert dict(get_settings().plugins.extension2reader) == before
    assert drop(viewer, files["NIfTI"]) == ["Choose reader"]
    viewer.window.remove_dock_widget("all")


def test_a_reader_that_the_user_has_chosen_stays(
    viewer: Viewer, qtbot: QtBot, files: dict[str, Path], tmp_path: Path
) -> None:
    plugins = get_settings().plugins
    own = {"*.png": "napari", f"{tmp_path}/series/": "napari"}
    plugins.extension2reader = own
    show_dock(viewer, "Volume")
    answer(viewer, qtbot, QMessageBox.StandardButton.Yes)
    assert own.items() <= plugins.extension2reader.items()
    assert plugins.extension2reader["*.nii.gz"] == OURS
    assert drop(viewer, files["photograph"]) == []
    assert recorded(viewer.layers[-1]) is None, "not read by the user's reader"
    viewer.window.remove_dock_widget("all")


def test_the_checkbox_of_volume_changes_the_answer(
    viewer: Viewer, qtbot: QtBot, files: dict[str, Path]
) -> None:
    plugins = get_settings().plugins
    plugins.extension2reader = {"*.png": "napari"}
    volume = show_dock(viewer, "Volume")
    answer(viewer, qtbot, QMessageBox.StandardButton.No)
    assert not volume.default.isChecked()
    volume.default.click()
    assert plugins.extension2reader["*.nii.gz"] == OURS
    assert drop(viewer, files["DICOM folder"]) == []
    volume.default.click()
    assert plugins.extension2reader == {"*.png": "napari"}
    assert drop(viewer, files["NIfTI"]) == ["Choose reader"]
    viewer.window.remove_dock_widget("all")


def test_a_folder_without_dicom_is_opened_by_napari_without_a_question(
    viewer: Viewer, qtbot: QtBot, tmp_path: Path
) -> None:
    default_reader.set_default(True)
    (tmp_path / "stack").mkdir()
    for number in range(3):
        picture = Image.fromarray(np.full((8, 8), number, np.uint8))
        picture.save(tmp_path / "stack" / f"{number}.png")
    assert drop(viewer, tmp_path / "stack") == []
    assert [layer.data.shape for layer in viewer.layers] == [(3, 8, 8)]
    assert recorded(viewer.layers[0]) is None


@pytest.mark.parametrize("pattern", ["*", "*.*", "*.nii.gz", "*.gz"])
def test_a_wider_pattern_of_the_user_is_not_narrowed(pattern: str) -> None:
    plugins = get_settings().plugins
    plugins.extension2reader = {pattern: "other"}
    default_reader.set_default(True)
    assert plugins.extension2reader.get("*.nii.gz", "other") == "other"
    assert plugins.extension2reader[pattern] == "other"
