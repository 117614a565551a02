"""Several patients in one window: everything acts on the case that is shown and selected."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from clicking import answer, click, question
from napari import Viewer
from napari.layers import Image, Labels, Layer
from napari.utils.notifications import notification_manager
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt

from napari_graphflow.plugin.compare.widget import CompareWidget
from napari_graphflow.plugin.segment.widget import SegmentWidget
from napari_graphflow.plugin.viewer import autosave_files
from napari_graphflow.plugin.viewer.autosave import start_autosave
from napari_graphflow.plugin.viewer.autosave_files import unsaved_masks
from napari_graphflow.plugin.viewer.cases import cases_of

SLOW_START_MS = 300_000
#: Two patients with identical grids and one with another.
NAMES = ("brain_001", "brain_002", "neck_7")


@pytest.fixture
def patients(viewer: Viewer, write_scan) -> dict[str, Image]:
    """Three open patients; the last is shown."""
    found = {}
    for seed, name in enumerate(NAMES):
        shape = (12, 20, 24) if name.startswith("brain") else (9, 28, 16)
        path = write_scan(f"{name}.nii.gz", shape=shape, seed=seed)
        (found[name],) = viewer.open(str(path), plugin="napari-graphflow")
    return found


@pytest.fixture
def segment(viewer: Viewer, make_model) -> Iterator[SegmentWidget]:
    make_model("small")
    _, widget = viewer.window.add_plugin_dock_widget("napari-graphflow", "Segment")
    yield widget
    viewer.window.remove_dock_widget("all")


def click_in_list(viewer: Viewer, qtbot: QtBot, layer: Layer) -> None:
    """Click the row of a layer in napari's layer list."""
    view = viewer.window._qt_viewer.layers
    rows = [view.model().index(row, 0) for row in range(view.model().rowCount())]
    (index,) = [one for one in rows if one.data() == layer.name]
    view.scrollTo(index)
    spot = view.visualRect(index).center()
    qtbot.mouseClick(view.viewport(), Qt.MouseButton.LeftButton, pos=spot)


def by_selection(viewer: Viewer, qtbot: QtBot, layer: Layer, widget: Any) -> None:
    viewer.layers.selection = {layer}


def by_active(viewer: Viewer, qtbot: QtBot, layer: Layer, widget: Any) -> None:
    viewer.layers.selection.active = layer


def by_eye(viewer: Viewer, qtbot: QtBot, layer: Layer, widget: Any) -> None:
    layer.visible = True


def by_list(viewer: Viewer, qtbot: QtBot, layer: Layer, widget: Any) -> None:
    click_in_list(viewer, qtbot, layer)


def by_box(viewer: Viewer, qtbot: QtBot, layer: Layer, widget: Any) -> None:
    widget.image.setCurrentIndex(widget.image.findText(layer.name))


def by_removal(viewer: Viewer, qtbot: QtBot, layer: Layer, widget: Any) -> None:
    for other in [one for one in viewer.layers if one is not layer and isinstance(one, Image)]:
        viewer.layers.remove(other)


def by_drop(viewer: Viewer, qtbot: QtBot, layer: Layer, widget: Any) -> None:
    path = layer.source.path
    viewer.layers.remove(layer)
    viewer.window._qt_viewer._qt_open([path], stack=False, plugin="napari-graphflow")


WAYS = [by_selection, by_active, by_eye, by_list, by_box, by_removal]


def wait(qtbot: QtBot, widget: SegmentWidget) -> None:
    qtbot.waitUntil(lambda: not widget.running, timeout=SLOW_START_MS)


def visible_cases(viewer: Viewer) -> set[str]:
    cases = cases_of(viewer)
    return {cases.key(layer) for layer in viewer.layers if layer.visible}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", NAMES[:2])
def test_the_box_and_the_button_follow_every_way_of_selecting(
    viewer: Viewer, qtbot: QtBot, segment: SegmentWidget, patients, way, name: str
) -> None:
    assert segment.image.layer() is patients["neck_7"]
    assert [layer.visible for layer in patients.values()] == [False, False, True]
    way(viewer, qtbot, patients[name], segment)
    assert segment.image.layer() is patients[name]
    assert segment.image.currentText() == name
    # Its key follows.
    assert segment.button.text().partition(" (")[0] == f"Segment {name}"
    assert segment.button.isEnabled()
    assert len(visible_cases(viewer)) == 1
    assert patients[name].visible
    assert segment._task().image is patients[name]


def test_each_patient_is_segmented_saved_and_corrected_alone(
    viewer: Viewer, qtbot: QtBot, segment: SegmentWidget, patients, tmp_path: Path
) -> None:
    masks = {}
    for way, name in zip((by_list, by_eye, by_selection), NAMES, strict=True):
        way(viewer, qtbot, patients[name], segment)
        assert segment.mask.layer() is None, "the box keeps a mask of another patient"
        click(qtbot, segment.button)
        wait(qtbot, segment)
        assert segment.status.text().startswith(f"✓ {name}: segmented in ")
        masks[name] = segment.mask.layer()
        assert masks[name].name == f"small · {name}"
        assert masks[name].data.shape == patients[name].data.shape
    assert (masks[NAMES[0]].data != masks[NAMES[1]].data).any(), "the test needs other results"

    # Only the mask of the selected patient is offered and saved, though the grids are identical.
    by_list(viewer, qtbot, masks["brain_001"], segment)
    offered = [segment.mask.itemData(index) for index in range(segment.mask.count())]
    assert offered == [None, masks["brain_001"]]
    before = masks["brain_002"].data.copy()
    masks["brain_001"].data_setitem((np.array([5]), np.array([6]), np.array([7])), 2)
    segment.save_mask(tmp_path / "one.nii.gz")
    assert segment.status.text().startswith("✓ brain_001: saved and verified one.nii.gz")
    saved = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "one.nii.gz")))
    assert (
        np.bincount(saved.ravel()).tolist() == np.bincount(masks["brain_001"].data.ravel()).tolist()
    )
    np.testing.assert_array_equal(masks["brain_002"].data, before)


def test_a_result_that_comes_after_a_switch_goes_to_its_own_patient(
    viewer: Viewer, qtbot: QtBot, segment: SegmentWidget, patients
) -> None:
    click_in_list(viewer, qtbot, patients["brain_001"])
    click(qtbot, segment.button)
    click_in_list(viewer, qtbot, patients["brain_002"])
    assert segment.status.text() == "brain_001: segmenting …"
    wait(qtbot, segment)
    (mask,) = [layer for layer in viewer.layers if isinstance(layer, Labels)]
    cases = cases_of(viewer)
    assert cases.key(mask) == cases.key(patients["brain_001"])
    assert mask.name == "small · brain_001"
    assert segment.status.text().startswith("✓ brain_001: segmented")
    assert not mask.visible and viewer.layers.selection.active is patients["brain_002"]
    assert segment.image.layer() is patients["brain_002"] and segment.mask.layer() is None
    assert segment.mask_to_save() is None
    click_in_list(viewer, qtbot, patients["brain_001"])
    assert mask.visible


def test_edits_are_replaced_only_after_a_question_and_come_back_with_one_undo(
    viewer: Viewer, qtbot: QtBot, segment: SegmentWidget, patients
) -> None:
    click_in_list(viewer, qtbot, patients["brain_002"])
    click(qtbot, segment.button)
    wait(qtbot, segment)
    mask = segment.mask.layer()
    result = mask.data.copy()
    click(qtbot, segment.button)
    wait(qtbot, segment)
    assert question() is None, "asked although nothing was edited"
    spots = np.nonzero(mask.data[:3] == 0)
    mask.data_setitem(spots, 1)
    edited = mask.data.copy()

    click(qtbot, segment.button)
    asked = answer(qtbot, "Cancel")
    assert f"small would replace {spots[0].size:,} edited voxels of “small · brain_002”" in asked
    assert "edited by hand since" in asked
    assert not segment.running
    np.testing.assert_array_equal(mask.data, edited)

    click(qtbot, segment.button)
    answer(qtbot, "Make a new mask")
    wait(qtbot, segment)
    np.testing.assert_array_equal(mask.data, edited)
    assert segment.mask.layer() is not mask

    segment.mask.choose(mask)
    click(qtbot, segment.button)
    answer(qtbot, "Replace")
    wait(qtbot, segment)
    np.testing.assert_array_equal(mask.data, result)
    mask.undo()
    np.testing.assert_array_equal(mask.data, edited)


@pytest.mark.parametrize("kind", ["assigned", "in place", "opened"])
def test_every_kind_of_edit_and_masks_of_others_are_asked_about(
    viewer: Viewer, qtbot: QtBot, segment: SegmentWidget, patients, tmp_path: Path, kind: str
) -> None:
    click_in_list(viewer, qtbot, patients["brain_002"])
    if kind == "opened":
        labels = sitk.ReadImage(str(tmp_path / "brain_002.nii.gz")) > 100
        sitk.WriteImage(labels, str(tmp_path / "brain_002_seg.nii.gz"))
        (mask,) = viewer.open(str(tmp_path / "brain_002_seg.nii.gz"), plugin="napari-graphflow")
    else:
        click(qtbot, segment.button)
        wait(qtbot, segment)
        mask = segment.mask.layer()
        if kind == "assigned":
            mask.data = np.ones_like(mask.data)
        else:
            mask.data[4] = 2
            mask.refresh()
    segment.mask.choose(mask)
    assert segment.mask.layer() is mask
    before = mask.data.copy()
    click(qtbot, segment.button)
    asked = answer(qtbot, "Cancel")
    assert ("which it has not made" if kind == "opened" else "edited by hand") in asked
    np.testing.assert_array_equal(mask.data, before)


def test_only_edits_of_the_slice_in_view_are_asked_about(
    viewer: Viewer, qtbot: QtBot, segment: SegmentWidget, patients
) -> None:
    click_in_list(viewer, qtbot, patients["brain_001"])
    click(qtbot, segment.button)
    wait(qtbot, segment)
    mask = segment.mask.layer()
    mask.data_setitem((np.array([8]), np.array([3]), np.array([3])), 1 + (mask.data[8, 3, 3] == 1))
    click(qtbot, segment.slice)
    viewer.dims.set_current_step(0, 5)
    click(qtbot, segment.button)
    wait(qtbot, segment)
    viewer.dims.set_current_step(0, 8)
    click(qtbot, segment.button)
    assert "1 edited voxel of" in answer(qtbot, "Cancel")


def test_edits_made_while_a_result_is_computed_are_kept(
    viewer: Viewer, qtbot: QtBot, segment: SegmentWidget, patients
) -> None:
    click_in_list(viewer, qtbot, patients["brain_001"])
    click(qtbot, segment.button)
    wait(qtbot, segment)
    mask = segment.mask.layer()
    click(qtbot, segment.button)
    mask.data_setitem((np.array([8]), np.array([3]), np.array([3])), 1 + (mask.data[8, 3, 3] == 1))
    edited = mask.data.copy()
    wait(qtbot, segment)
    np.testing.assert_array_equal(mask.data, edited)
    assert "was edited meanwhile; this is a new mask" in segment.status.text()
    assert segment.mask.layer() is not mask


def test_a_drop_shows_and_selects_the_dropped_patient(
    viewer: Viewer, qtbot: QtBot, segment: SegmentWidget, patients
) -> None:
    by_drop(viewer, qtbot, patients["brain_001"], segment)
    assert segment.image.layer() is viewer.layers[-1]
    assert segment.button.text().startswith("Segment brain_001")
    viewer.layers[-1].name = "Mrs. Smith"
    assert segment.button.text().startswith("Segment Mrs. Smith")


def test_another_viewer_does_not_change_what_a_dock_works_on(
    viewer: Viewer, qtbot: QtBot, segment: SegmentWidget, patients, make_napari_viewer
) -> None:
    other = make_napari_viewer(show=False)
    path = patients["brain_001"].source.path
    (elsewhere,) = other.open(path, plugin="napari-graphflow")
    assert elsewhere.visible
    assert segment.image.layer() is patients["neck_7"]
    assert segment.image.findText("brain_001 [1]") == -1
    assert len(visible_cases(viewer)) == 1
    click(qtbot, segment.button)
    wait(qtbot, segment)
    assert len(other.layers) == 1
    assert segment.mask.layer().name == "small · neck_7"


@pytest.fixture
def compare(viewer: Viewer) -> Iterator[CompareWidget]:
    _, widget = viewer.window.add_plugin_dock_widget("napari-graphflow", "Compare")
    yield widget
    viewer.window.remove_dock_widget("all")


def test_compare_offers_and_names_only_the_selected_patient(
    viewer: Viewer, qtbot: QtBot, patients, compare: CompareWidget
) -> None:
    masks: dict[str, list[Labels]] = {}
    for seed, name in enumerate(NAMES[:2]):
        click_in_list(viewer, qtbot, patients[name])
        for title in ("one", "two"):
            data = np.random.default_rng(seed).integers(0, 2, (12, 20, 24)).astype(np.uint8)
            data[4] = title == "two"
            scale = patients[name].scale
            masks.setdefault(name, []).append(viewer.add_labels(data, scale=scale, name=title))
    for name in NAMES[:2]:
        click_in_list(viewer, qtbot, patients[name])
        for combo in (compare.a, compare.b, compare.reference):
            entries = [combo.itemData(index) for index in range(combo.count())]
            offered = [one for one in entries if isinstance(one, Labels)]
            assert offered == masks[name][::-1]
        assert compare.table.isHidden()
        click(qtbot, compare.button)
        qtbot.waitUntil(lambda: not compare.background.busy(), timeout=60_000)
        assert compare.status.text().startswith(f"✓ {name}: 480 of 5,760 voxels differ")
        assert not compare.table.isHidden()
        assert len(visible_cases(viewer)) == 1
    click_in_list(viewer, qtbot, patients["brain_001"])
    assert compare.table.isHidden(), "the table of another patient is shown"
    assert "brain_002" not in compare.status.text()
    click_in_list(viewer, qtbot, patients["brain_002"])
    assert not compare.table.isHidden() and "brain_002: 480" in compare.status.text()


def test_a_model_compared_runs_on_the_patient_shown_at_the_click(
    viewer: Viewer, qtbot: QtBot, patients, make_model, compare: CompareWidget
) -> None:
    folder = make_model("small")
    click_in_list(viewer, qtbot, patients["brain_001"])
    zeros = np.zeros((12, 20, 24), np.uint8)
    mine = viewer.add_labels(zeros, scale=patients["brain_001"].scale, name="mine")
    compare.a.refresh()
    compare.b.refresh()
    compare.a.choose(mine)
    compare.b.choose_model(folder)
    click(qtbot, compare.button)
    click_in_list(viewer, qtbot, patients["brain_002"])
    # The status shows it only until another patient is shown.
    qtbot.waitUntil(lambda: any("small" in one.name for one in viewer.layers), timeout=60_000)
    qtbot.waitUntil(lambda: not compare.background.busy(), timeout=60_000)
    cases, added = cases_of(viewer), [one for one in viewer.layers if isinstance(one, Labels)]
    assert "small · brain_001" in [one.name for one in added]
    assert {cases.key(one) for one in added} == {cases.key(patients["brain_001"])}
    assert visible_cases(viewer) == {cases.key(patients["brain_002"])}
    assert compare.table.isHidden()


@pytest.mark.parametrize("image", ["there", "gone", "changed"])
def test_a_restored_mask_lies_on_its_own_image_or_on_none(
    viewer: Viewer, qtbot: QtBot, patients, monkeypatch, write_scan, tmp_path: Path, image: str
) -> None:
    autosave = start_autosave(viewer, 3600)
    click_in_list(viewer, qtbot, patients["brain_001"])
    viewer.window._qt_viewer.layerButtons.newLabelsButton.click()
    mask = viewer.layers[-1]
    mask.data_setitem((np.array([2]), np.array([3]), np.array([4])), 3)
    autosave.save_changed()
    autosave.wait()
    monkeypatch.setattr(autosave_files, "process_start", lambda pid: "")
    (saved,) = unsaved_masks()
    assert saved.about["case"] == "brain_001" and "of brain_001" in saved.title()
    viewer.layers.remove(mask)
    viewer.layers.remove(patients["brain_001"])
    click_in_list(viewer, qtbot, patients["brain_002"])
    if image == "gone":
        (tmp_path / "brain_001.nii.gz").unlink()
    elif image == "changed":
        write_scan("brain_001.nii.gz", shape=(5, 20, 24))
    layer = autosave.restore(saved)
    found = cases_of(viewer).shown()
    assert layer.visible and found.key == cases_of(viewer).key(layer)
    assert len(visible_cases(viewer)) == 1 and not patients["brain_002"].visible
    if image == "there":
        assert found.image.name == found.name == "brain_001"
    else:
        assert found.image is None
        reason = "does not exist any more" if image == "gone" else "has another grid now"
        assert reason in notification_manager.records[-1].message
