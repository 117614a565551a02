"""An autosaved mask that was restored belongs to its case of a dataset."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from labelling_cases import make_dataset
from napari import Viewer
from pytestqt.qtbot import QtBot

from napari_graphflow.plugin.dataset.widget import DatasetWidget
from napari_graphflow.plugin.viewer import autosave_files
from napari_graphflow.plugin.viewer.autosave import start_autosave
from napari_graphflow.plugin.viewer.autosave_files import unsaved_masks


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_dataset(tmp_path / "scans")


@pytest.fixture
def dock(viewer: Viewer, folder: Path, qtbot: QtBot) -> Iterator[DatasetWidget]:
    _, widget = viewer.window.add_plugin_dock_widget("napari-graphflow", "Dataset")
    widget.dataset.choose(folder)
    qtbot.waitUntil(lambda: bool(widget.rows))
    yield widget
    qtbot.waitUntil(lambda: not widget.background.busy())
    viewer.window.remove_dock_widget("all")


def test_a_case_goes_on_with_its_restored_mask(
    qtbot: QtBot,
    viewer: Viewer,
    dock: DatasetWidget,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    viewer.open(str(folder / "imagesTr" / "scan_2_0000.nii.gz"), plugin="napari-graphflow")
    viewer.window._qt_viewer.layerButtons.newLabelsButton.click()
    painted = viewer.layers[-1]
    painted.data_setitem((np.array([1]), np.array([2]), np.array([3])), 2)
    expected = painted.data.copy()
    autosave = start_autosave(viewer)
    assert autosave is not None
    autosave.save_changed()
    autosave.wait()
    monkeypatch.setattr(autosave_files, "process_start", lambda pid: "")  # as after a crash
    (saved,) = unsaved_masks()
    viewer.layers.clear()
    autosave.restore(saved)
    dock.open("scan_2")
    qtbot.waitUntil(lambda: dock.session.case is not None and dock.session.case.editable)
    case = dock.session.case
    assert case is not None
    assert list(viewer.layers) == case.layers
    assert np.array_equal(case.mask.data, expected)
    assert case.changed
    assert "autosaved mask (1 voxel changed)" in dock.status.text()
    case.mask.undo()
    assert not case.mask.data.any()
    autosave.wait()
    assert saved.path.is_file() is False
