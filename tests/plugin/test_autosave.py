"""Autosave of painted masks."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from dicom_cases import write_series
from napari import Viewer
from napari.layers import Labels, Layer
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QMessageBox

from napari_graphflow.errors import UserError
from napari_graphflow.plugin.viewer import autosave_files, opening
from napari_graphflow.plugin.viewer.autosave import Autosave, start_autosave
from napari_graphflow.plugin.viewer.autosave_files import ENDING, unsaved_masks
from napari_graphflow.plugin.viewer.placement import mask_placement, same_place
from napari_graphflow.plugin.viewer.world import transform_keywords
from napari_graphflow.system.folders import data_root

PROCESS = [sys.executable, Path(__file__).with_name("painting_process.py")]


def files() -> list[Path]:
    return sorted((data_root() / "autosave").rglob(f"*{ENDING}"))


@pytest.fixture
def autosave(viewer: Viewer) -> Autosave:
    """Autosave of a viewer without earlier autosaves; the test calls `save_changed`."""
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
    """Treat this process as ended from now on."""
    monkeypatch.setattr(autosave_files, "process_start", lambda pid: "")


@pytest.fixture
def box(viewer: Viewer, qtbot: QtBot):
    """Press a button of the restore dialog."""

    def press(text: str) -> QMessageBox:
        def asked() -> list[QMessageBox]:
            widgets = QApplication.topLevelWidgets()
            return [one for one in widgets if one.objectName() == "graphflow-restore"]

        qtbot.waitUntil(lambda: bool(asked()))
        (found,) = asked()
        (button,) = [one for one in found.buttons() if one.text().replace("&", "") == text]
        qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
        found.setObjectName("")
        found.deleteLater()
        return found

    return press


def test_a_mask_painted_before_sigkill_is_restored_with_its_image(
    viewer: Viewer, write_scan, box, tmp_path: Path
) -> None:
    scan = write_scan()
    done = subprocess.run([*PROCESS, scan], stdout=subprocess.PIPE, text=True, check=False)
    assert done.returncode == -9
    assert float(done.stdout.split()[-1]) < 0.5 + 5, (
        "saved within the interval, plus time for a busy computer"
    )
    (saved,) = unsaved_masks()
    assert saved.about["name"] == "scan - Labels"

    start_autosave(viewer, 3600)
    question = box("Restore")
    assert "before 1 edited mask was saved" in question.text()
    image, mask = viewer.layers
    assert image.name == "scan" and mask.name == "scan - Labels"
    assert mask.data[2, 3, 4] == 3 and set(np.unique(mask.data)) <= {0, 3, 4}
    assert unsaved_masks() == [] and len(files()) == 1, (
        "the autosave must belong to this process now"
    )

    out = tmp_path / "mask.nrrd"
    viewer.layers.selection = {mask}
    viewer.layers.save(str(out), selected=True, plugin="napari-graphflow")
    one, other = sitk.ReadImage(str(scan)), sitk.ReadImage(str(out))
    np.testing.assert_allclose(one.GetDirection(), other.GetDirection(), atol=1e-6)
    np.testing.assert_allclose(one.GetOrigin(), other.GetOrigin(), atol=1e-4)


def test_restoring_a_mask_reopens_its_dicom_series_without_asking(
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
    (saved,) = unsaved_masks()
    assert "1.2.3.2" not in str(saved.about), "a UID can identify the patient"
    viewer.layers.clear()

    def asked(*arguments: object) -> None:
        raise AssertionError("asked for the series")

    monkeypatch.setattr(opening, "_ask_for_part", asked)
    autosave.restore(saved)
    image, mask = viewer.layers
    assert image.data.shape == mask.data.shape == (3, 12, 10)


def restored(viewer: Viewer, autosave: Autosave, monkeypatch: pytest.MonkeyPatch) -> Labels:
    """Close everything as a crash would, then restore the only mask."""
    autosave.save_changed()
    autosave.wait()
    crash(monkeypatch)
    (saved,) = unsaved_masks()
    viewer.layers.clear()
    mask = autosave.restore(saved)
    assert mask is not None
    return mask


def test_a_mask_on_a_moved_image_is_restored_onto_its_image(
    viewer: Viewer, autosave: Autosave, write_scan, monkeypatch: pytest.MonkeyPatch
) -> None:
    (image,) = viewer.open(str(scan := write_scan()), plugin="napari-graphflow")
    image.translate = (1, 2, 3)
    mask = viewer.add_labels(np.zeros(image.data.shape, np.uint8), **transform_keywords(image))
    mask.paint((2, 3, 4), 3)
    found = restored(viewer, autosave, monkeypatch)
    assert same_place(found, viewer.layers[0])
    np.testing.assert_allclose(
        mask_placement(found).volume(found.data).origin, sitk.ReadImage(str(scan)).GetOrigin(),
        atol=1e-4,
    )  # fmt: skip


def test_a_mask_that_was_moved_is_restored_where_it_was_and_is_not_saved(
    viewer: Viewer, autosave: Autosave, write_scan, monkeypatch: pytest.MonkeyPatch
) -> None:
    (image,) = viewer.open(str(write_scan()), plugin="napari-graphflow")
    mask = viewer.add_labels(np.zeros(image.data.shape, np.uint8), **transform_keywords(image))
    mask.metadata.update(image.metadata)
    mask.paint((2, 3, 4), 3)
    mask.affine = np.array([[1, 0, 0, 0], [0, 1, 0, 9], [0, 0, 1, 0], [0, 0, 0, 1]])
    found = restored(viewer, autosave, monkeypatch)
    np.testing.assert_allclose(found.affine.affine_matrix[1, 3], 9)
    with pytest.raises(UserError, match="was moved"):
        mask_placement(found)


def test_a_mask_on_an_image_of_another_reader_is_restored_with_its_place(
    viewer: Viewer, autosave: Autosave, monkeypatch: pytest.MonkeyPatch
) -> None:
    affine = np.array([[2.5, 0, 0, 10], [0, 0.8, 0, 20], [0, 0, 0.7, 30], [0, 0, 0, 1]])
    image = viewer.add_image(np.zeros((4, 6, 8)), affine=affine, units=("um",) * 3)
    mask = viewer.add_labels(np.zeros((4, 6, 8), np.uint8), **transform_keywords(image))
    mask.paint((2, 3, 4), 3)
    place, extent = mask_placement(mask), mask.extent.world
    found = restored(viewer, autosave, monkeypatch)
    np.testing.assert_allclose(found.extent.world, extent)
    assert mask_placement(found).same_as(place)


def test_closing_napari_autosaves_unsaved_masks(write_scan) -> None:
    subprocess.run([*PROCESS, write_scan(), "quit"], stdout=subprocess.DEVNULL, check=True)
    (saved,) = unsaved_masks()
    assert autosave_files.read_mask(saved)[2, 3, 4] == 3


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


def test_paint_fill_undo_and_redo_are_autosaved(
    viewer: Viewer, autosave: Autosave, write_scan
) -> None:
    mask = painted(viewer, write_scan)

    def autosaved() -> np.ndarray:
        autosave.save_changed()
        autosave.wait()
        autosave.save_changed()  # the first call skips while the thread is writing
        autosave.wait()
        (path,) = files()
        return autosave_files.read_mask(autosave_files.SavedMask(path, {}))

    np.testing.assert_array_equal(autosaved(), mask.data)
    mask.data_setitem((np.array([1]), np.array([1]), np.array([1])), 2)
    np.testing.assert_array_equal(autosaved(), mask.data)
    mask.fill((0, 0, 0), 5)
    np.testing.assert_array_equal(autosaved(), mask.data)
    mask.undo()
    assert not (mask.data == 5).any()
    np.testing.assert_array_equal(autosaved(), mask.data)
    mask.redo()
    np.testing.assert_array_equal(autosaved(), mask.data)


def test_an_unedited_mask_is_not_autosaved(viewer: Viewer, autosave: Autosave, write_scan) -> None:
    viewer.open(str(write_scan()), plugin="napari-graphflow")
    viewer.add_labels(np.ones((12, 20, 24), np.uint8))
    viewer.dims.set_current_step(0, 3)
    autosave.save_changed()
    autosave.wait()
    assert files() == []


def test_removing_an_edited_layer_autosaves_it_at_once(
    viewer: Viewer, autosave: Autosave, write_scan, monkeypatch: pytest.MonkeyPatch
) -> None:
    mask = painted(viewer, write_scan, "case 1")
    viewer.layers.remove(mask)
    autosave.wait()
    assert len(files()) == 1
    assert unsaved_masks() == [], "this process is still running"
    crash(monkeypatch)
    assert [one.about["name"] for one in unsaved_masks()] == ["case 1"]


@pytest.mark.parametrize(("button", "left"), [("Discard", 0), ("Later", 1)])
def test_autosaves_can_be_discarded_or_kept_for_later(
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


def test_restoring_a_damaged_autosave_is_a_user_error(
    viewer: Viewer, autosave: Autosave, write_scan, monkeypatch
) -> None:
    painted(viewer, write_scan)
    autosave.save_changed()
    autosave.wait()
    crash(monkeypatch)
    (path,) = files()
    (saved,) = unsaved_masks()
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(autosave_files.UserError, match="is damaged"):
        autosave.restore(saved)


@pytest.mark.parametrize("damaged", [1, 2])
def test_only_masks_that_were_restored_are_reported_as_such(
    viewer: Viewer, autosave: Autosave, write_scan, box, monkeypatch, damaged: int
) -> None:
    reports: dict[str, list[str]] = {"show_info": [], "show_error": []}
    for name, texts in reports.items():
        monkeypatch.setattr(f"napari_graphflow.plugin.viewer.autosave.{name}", texts.append)
    painted(viewer, write_scan, "liver")
    painted(viewer, write_scan, "spleen")
    autosave.save_changed()
    autosave.wait()
    crash(monkeypatch)
    assert len(files()) == 2
    for path in files()[:damaged]:
        path.write_bytes(path.read_bytes()[:-20])
    from napari_graphflow.plugin.viewer.autosave import _offer, ref

    _offer(ref(autosave))
    box("Restore")
    assert len(reports["show_error"]) == damaged
    assert all("was not restored" in text for text in reports["show_error"])
    restored = ["Restored 1 of 2 autosaved masks. Save with File > Save."]
    assert reports["show_info"] == (restored if damaged == 1 else [])


def test_a_failed_autosave_warns_once(
    viewer: Viewer, autosave: Autosave, write_scan, monkeypatch
) -> None:
    warnings: list[str] = []
    monkeypatch.setattr("napari_graphflow.plugin.viewer.autosave.show_warning", warnings.append)
    (data_root() / "autosave").write_text("a file in place of the folder", "utf-8")
    mask = painted(viewer, write_scan)
    for value in (4, 5):
        autosave.save_changed()
        mask.paint((2, 3, 4), value)
    assert len(warnings) == 1 and "Autosave failed" in warnings[0]


def test_autosaving_a_large_mask_does_not_block_the_window(
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
    # Single pauses may have other causes; a blocking writer would cause most of them.
    assert np.percentile(pauses, 90) < 0.1
