"""Painted masks outlive a crash of napari, and keeping them does not hold the window up."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from dicom_cases import write_series
from napari import Viewer
from napari.layers import Layer
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QMessageBox

from napari_graphflow.plugin.viewer import autosave_files, opening
from napari_graphflow.plugin.viewer.autosave import Autosave, start_autosave
from napari_graphflow.plugin.viewer.autosave_files import ENDING, unsaved_masks
from napari_graphflow.system.folders import data_root

PROCESS = [sys.executable, Path(__file__).with_name("painting_process.py")]


def files() -> list[Path]:
    return sorted((data_root() / "autosave").rglob(f"*{ENDING}"))


@pytest.fixture
def autosave(viewer: Viewer) -> Autosave:
    """Autosave of a window in which nothing was lost before; its turns are called by the test."""
    found = start_autosave(viewer, 3600)
    assert found is not None
    return found


def painted(viewer: Viewer, write_scan, name: str = "mine"):
    viewer.open(str(write_scan()), plugin="napari-graphflow")
    viewer.window._qt_viewer.layerButtons.newLabelsButton.click()
    mask = viewer.layers[-1]
    mask.name, mask.brush_size = name, 1
    mask.paint((2, 3, 4), 3)
    return mask


def crash(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on this process counts as one that is gone."""
    monkeypatch.setattr(autosave_files, "process_start", lambda pid: "")


@pytest.fixture
def box(viewer: Viewer, qtbot: QtBot):
    """Press a button of the question that comes up."""

    def press(text: str) -> QMessageBox:
        def asked() -> list[QMessageBox]:
            widgets = QApplication.topLevelWidgets()
            return [one for one in widgets if one.objectName() == "graphflow-restore"]

        qtbot.waitUntil(lambda: bool(asked()), timeout=10_000)
        (found,) = asked()
        (button,) = [one for one in found.buttons() if one.text().replace("&", "") == text]
        qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
        found.setObjectName("")
        found.deleteLater()
        return found

    return press


def test_a_mask_painted_before_sigkill_comes_back_with_its_scan(
    viewer: Viewer, write_scan, box, tmp_path: Path
) -> None:
    scan = write_scan()
    done = subprocess.run([*PROCESS, scan], stdout=subprocess.PIPE, text=True, check=False)
    assert done.returncode == -9
    assert float(done.stdout.split()[-1]) < 0.5 + 5, (
        "kept within the interval; the rest is a busy machine"
    )
    (kept,) = unsaved_masks()
    assert kept.about["name"] == "scan - Labels"

    start_autosave(viewer, 3600)
    question = box("Restore")
    assert "before 1 edited mask was saved" in question.text()
    image, mask = viewer.layers
    assert image.name == "scan" and mask.name == "scan - Labels"
    assert mask.data[2, 3, 4] == 3 and set(np.unique(mask.data)) <= {0, 3, 4}
    assert unsaved_masks() == [] and len(files()) == 1, "it is kept by this napari now"

    out = tmp_path / "mask.nrrd"
    viewer.layers.selection = {mask}
    viewer.layers.save(str(out), selected=True, plugin="napari-graphflow")
    one, other = sitk.ReadImage(str(scan)), sitk.ReadImage(str(out))
    np.testing.assert_allclose(one.GetDirection(), other.GetDirection(), atol=1e-6)
    np.testing.assert_allclose(one.GetOrigin(), other.GetOrigin(), atol=1e-4)


def test_the_series_that_was_painted_on_is_opened_again_unasked(
    viewer: Viewer, autosave: Autosave, box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_series(tmp_path / "scans/a", uid="1.2.3.1")
    write_series(tmp_path / "scans/b", [0.0, 2.0, 4.0], uid="1.2.3.2")
    second = opening.inspect_path(tmp_path / "scans").parts[1]
    for one in opening.read_layers(tmp_path / "scans", second.key):
        viewer.add_layer(Layer.create(*one))
    viewer.window._qt_viewer.layerButtons.newLabelsButton.click()
    viewer.layers[-1].brush_size = 1
    viewer.layers[-1].paint((1, 3, 4), 3)
    autosave.save_changed()
    autosave.wait()
    crash(monkeypatch)
    (kept,) = unsaved_masks()
    assert "1.2.3.2" not in str(kept.about), "a UID leads to the patient"
    viewer.layers.clear()

    def asked(*arguments: object) -> None:
        raise AssertionError("asked for the series")

    monkeypatch.setattr(opening, "_ask_for_part", asked)
    autosave.restore(kept)
    image, mask = viewer.layers
    assert image.data.shape == mask.data.shape == (3, 12, 10)


def test_leaving_napari_without_saving_keeps_the_mask(write_scan) -> None:
    subprocess.run([*PROCESS, write_scan(), "quit"], stdout=subprocess.DEVNULL, check=True)
    (kept,) = unsaved_masks()
    assert autosave_files.read_mask(kept)[2, 3, 4] == 3


def test_saving_a_mask_deletes_its_autosave(
    viewer: Viewer, autosave: Autosave, write_scan, tmp_path: Path
) -> None:
    mask = painted(viewer, write_scan)
    autosave.save_changed()
    autosave.wait()
    assert len(files()) == 1 and autosave.unsaved == [mask]
    out = tmp_path / "mask.nii.gz"
    viewer.layers.save(str(out), selected=True, plugin="napari-graphflow")
    autosave.wait()
    assert out.exists() and files() == [] and autosave.unsaved == []


def test_every_way_of_editing_counts(viewer: Viewer, autosave: Autosave, write_scan) -> None:
    mask = painted(viewer, write_scan)

    def kept() -> np.ndarray:
        autosave.save_changed()
        autosave.wait()
        autosave.save_changed()  # the first may have found the thread still writing
        autosave.wait()
        (path,) = files()
        return autosave_files.read_mask(autosave_files.SavedMask(path, {}))

    np.testing.assert_array_equal(kept(), mask.data)
    mask.data_setitem((np.array([1]), np.array([1]), np.array([1])), 2)
    np.testing.assert_array_equal(kept(), mask.data)
    mask.fill((0, 0, 0), 5)
    np.testing.assert_array_equal(kept(), mask.data)
    mask.undo()
    assert not (mask.data == 5).any()
    np.testing.assert_array_equal(kept(), mask.data)
    mask.redo()
    np.testing.assert_array_equal(kept(), mask.data)


def test_a_mask_that_nobody_changed_is_not_kept(
    viewer: Viewer, autosave: Autosave, write_scan
) -> None:
    viewer.open(str(write_scan()), plugin="napari-graphflow")
    viewer.add_labels(np.ones((12, 20, 24), np.uint8))
    viewer.dims.set_current_step(0, 3)
    autosave.save_changed()
    autosave.wait()
    assert files() == []


def test_closing_a_case_keeps_it_at_once(
    viewer: Viewer, autosave: Autosave, write_scan, monkeypatch: pytest.MonkeyPatch
) -> None:
    mask = painted(viewer, write_scan, "case 1")
    viewer.layers.remove(mask)
    autosave.wait()
    assert len(files()) == 1
    assert unsaved_masks() == [], "this napari still runs"
    crash(monkeypatch)
    assert [one.about["name"] for one in unsaved_masks()] == ["case 1"]


@pytest.mark.parametrize(("button", "left"), [("Discard", 0), ("Later", 1)])
def test_the_other_answers(
    viewer: Viewer, autosave: Autosave, write_scan, box, monkeypatch, button: str, left: int
) -> None:
    painted(viewer, write_scan)
    autosave.save_changed()
    autosave.wait()
    crash(monkeypatch)
    from napari_graphflow.plugin.viewer.autosave import _offer, ref

    layers = len(viewer.layers)
    _offer(ref(autosave))
    box(button)
    assert len(viewer.layers) == layers and len(files()) == left


def test_a_damaged_copy_is_one_sentence(
    viewer: Viewer, autosave: Autosave, write_scan, monkeypatch
) -> None:
    painted(viewer, write_scan)
    autosave.save_changed()
    autosave.wait()
    crash(monkeypatch)
    (path,) = files()
    (kept,) = unsaved_masks()
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(autosave_files.UserError, match="is damaged"):
        autosave.restore(kept)


def test_a_disk_that_refuses_is_told_once(
    viewer: Viewer, autosave: Autosave, write_scan, monkeypatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr("napari_graphflow.plugin.viewer.autosave.show_warning", said.append)
    (data_root() / "autosave").write_text("a file where the folder would be", "utf-8")
    mask = painted(viewer, write_scan)
    for value in (4, 5):
        autosave.save_changed()
        mask.paint((2, 3, 4), value)
    assert len(said) == 1 and "Autosave failed" in said[0]


def test_keeping_a_large_mask_does_not_hold_the_window_up(
    viewer: Viewer, autosave: Autosave, qtbot: QtBot
) -> None:
    random = np.random.default_rng(0)
    data = random.integers(0, 200, (150, 256, 256)).astype(np.uint8)  # hard to compress
    mask = viewer.add_labels(data)
    mask.paint((2, 3, 4), 3)
    started = time.perf_counter()
    autosave.save_changed()
    took = time.perf_counter() - started
    pauses, last = [], time.perf_counter()
    while not all(future.done() for future in autosave._pending):
        QApplication.processEvents()
        time.sleep(0.001)
        now = time.perf_counter()
        pauses.append(now - last)
        last = now
    autosave.wait()
    assert len(files()) == 1
    assert took < 0.1
    # Single pauses belong to the machine; a writer that held the window up would show in most.
    assert np.percentile(pauses, 90) < 0.1
