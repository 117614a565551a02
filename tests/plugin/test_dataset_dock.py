"""*Dataset* by clicks and keys, without a model: open, paint, put away, finish, decide."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from clicking import click
from labelling_cases import box, make_dataset, propose
from napari import Viewer
from napari.layers import Labels
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QMessageBox

from napari_graphflow.errors import UserError
from napari_graphflow.labelling.overview import list_cases
from napari_graphflow.labelling.store import Labelling
from napari_graphflow.plugin.dataset.widget import DatasetWidget
from napari_graphflow.plugin.viewer.case_masks import case_of
from napari_graphflow.plugin.viewer.edits import edited_voxels


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four oblique volumes, two with masks."""
    return make_dataset(tmp_path / "scans")


@pytest.fixture
def dock(viewer: Viewer, folder: Path, qtbot: QtBot) -> Iterator[DatasetWidget]:
    _, widget = viewer.window.add_plugin_dock_widget("napari-graphflow", "Dataset")
    widget.dataset.choose(folder)
    wait(qtbot, lambda: bool(widget.rows))
    yield widget
    viewer.window.remove_dock_widget("all")


def wait(qtbot: QtBot, condition: Callable[[], bool]) -> None:
    qtbot.waitUntil(condition)


def open_case(qtbot: QtBot, dock: DatasetWidget, name: str) -> Labels:
    """Double-click a case in the list, and return its mask once it can be painted."""
    index = dock.model.index(dock.model.row_of(name), 0)
    dock.table.scrollTo(index)
    place = dock.table.visualRect(index).center()
    view = dock.table.viewport()
    qtbot.mouseClick(view, Qt.MouseButton.LeftButton, pos=place)
    qtbot.mouseDClick(view, Qt.MouseButton.LeftButton, pos=place)
    return shown(qtbot, dock, name)


def shown(qtbot: QtBot, dock: DatasetWidget, name: str) -> Labels:
    wait(qtbot, lambda: dock.session.case is not None and dock.session.case.name == name)
    wait(qtbot, lambda: dock.session.case is not None and dock.session.case.editable)
    assert dock.session.case is not None
    return dock.session.case.mask


def status(dock: DatasetWidget, name: str) -> str:
    return next(row.status for row in dock.rows if row.name == name)


def stored(path: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def paint(mask: Labels, voxel: tuple[int, ...], label: int = 1) -> None:
    mask.data_setitem(tuple(np.array([one]) for one in voxel), label)


def key(qtbot: QtBot, viewer: Viewer, one: Qt.Key) -> None:
    window = viewer.window._qt_window
    QApplication.setActiveWindow(window)  # without a window manager, nobody else does
    qtbot.keyClick(window, one)


def test_the_list_shows_cases_with_status_and_counts(dock: DatasetWidget) -> None:
    assert dock.model.names() == ["scan_0", "scan_1", "scan_2", "scan_3"]
    assert dock.counts.text() == "2 unlabelled · 2 labelled"
    dock.filter.setCurrentIndex(dock.filter.findData("labelled"))
    assert dock.model.names() == ["scan_0", "scan_1"]
    dock.search.setText("_1")
    assert dock.model.names() == ["scan_1"]


def test_a_short_tab_is_not_as_high_as_the_cases(qtbot: QtBot, dock: DatasetWidget) -> None:
    open_case(qtbot, dock, "scan_0")
    high = dock.tabs.sizeHint().height()
    dock.tabs.setCurrentWidget(dock.tabs.proposals)
    assert dock.tabs.sizeHint().height() < high - 100


def test_the_list_shows_the_volumes_of_finished_masks(qtbot: QtBot, dock: DatasetWidget) -> None:
    index = dock.model.index(0, 2)
    wait(qtbot, lambda: dock.model.data(index, Qt.ItemDataRole.DisplayRole) != "–")
    voxels = np.bincount(box(0).ravel())
    expected = f"liver {voxels[1] * 3 * 0.8 * 1.2 / 1000:.3g} ml"
    assert dock.model.data(index, Qt.ItemDataRole.DisplayRole).startswith(expected)


def test_the_list_shows_pictures_and_what_the_model_is_unsure_of(
    qtbot: QtBot, dock: DatasetWidget, folder: Path
) -> None:
    last, role = dock.model.index(3, 0), Qt.ItemDataRole.DecorationRole
    wait(qtbot, lambda: dock.model.data(last, role) is not None)
    propose(Labelling(folder, "model"), "scan_2")
    wait(qtbot, lambda: status(dock, "scan_2") == "proposed")
    found = dock.model.data(dock.model.index(2, 3), Qt.ItemDataRole.DisplayRole)
    assert found.startswith("lesion 0.")
    dock.model.sort(3, Qt.SortOrder.DescendingOrder)
    assert dock.model.names()[0] == "scan_2"


def test_a_case_opens_with_its_class_names_at_the_largest_slice(
    qtbot: QtBot, viewer: Viewer, dock: DatasetWidget
) -> None:
    mask = open_case(qtbot, dock, "scan_0")
    assert edited_voxels(mask) == 0
    assert [layer.name for layer in viewer.layers] == ["scan_0", "scan_0 mask"]
    assert list(mask.features["name"]) == ["background", "liver", "lesion"]
    axis = viewer.dims.order[0]
    index = round(mask.world_to_data(viewer.dims.point)[axis])
    slices = np.moveaxis(mask.data, axis, 0)
    assert np.count_nonzero(slices[index]) == max(np.count_nonzero(one) for one in slices)
    assert viewer.layers.selection.active is mask


def test_another_case_puts_the_last_one_away_as_a_draft(
    qtbot: QtBot, viewer: Viewer, dock: DatasetWidget, folder: Path
) -> None:
    mask = open_case(qtbot, dock, "scan_2")
    paint(mask, (0, 1, 2), 2)
    expected = mask.data.copy()
    open_case(qtbot, dock, "scan_3")
    assert [layer.name for layer in viewer.layers] == ["scan_3", "scan_3 mask"]
    wait(qtbot, lambda: status(dock, "scan_2") == "in progress")
    assert not (folder / "labelsTr" / "scan_2.nii.gz").exists()
    assert np.array_equal(open_case(qtbot, dock, "scan_2").data, expected)


def test_looking_at_a_case_changes_nothing_on_disk(
    qtbot: QtBot, dock: DatasetWidget, folder: Path
) -> None:
    before = (folder / "labelsTr" / "scan_0.nii.gz").read_bytes()
    open_case(qtbot, dock, "scan_0")
    open_case(qtbot, dock, "scan_2")
    open_case(qtbot, dock, "scan_3")
    wait(qtbot, lambda: not dock.background.busy())
    assert (folder / "labelsTr" / "scan_0.nii.gz").read_bytes() == before
    assert {row.status for row in dock.rows} == {"labelled", "unlabelled"}
    assert not list((folder / "labelling" / "drafts").iterdir())


def test_finish_writes_the_mask_where_training_finds_it(
    qtbot: QtBot, dock: DatasetWidget, folder: Path
) -> None:
    mask = open_case(qtbot, dock, "scan_2")
    paint(mask, (0, 1, 2), 2)
    assert dock.session.case is not None
    expected = dock.session.case.labels().copy()
    click(qtbot, dock.box.buttons["finish"])
    wait(qtbot, lambda: status(dock, "scan_2") == "labelled")
    assert np.array_equal(stored(folder / "labelsTr" / "scan_2.nii.gz"), expected)
    assert "scan_2 was saved as finished" in dock.status.text()


def test_an_empty_mask_is_finished_after_a_question_only(
    qtbot: QtBot, dock: DatasetWidget, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def answer(*args: object) -> QMessageBox.StandardButton:
        asked.append(args[2])
        return QMessageBox.StandardButton.No

    monkeypatch.setattr(QMessageBox, "question", answer)
    open_case(qtbot, dock, "scan_2")
    click(qtbot, dock.box.buttons["finish"])
    assert asked == ["Nothing is painted. Save that scan_2 contains none of the structures?"]
    assert dock.session.case is not None
    assert dock.session.case.name == "scan_2"


def test_one_key_accepts_a_proposal_and_opens_the_next_case(
    qtbot: QtBot, viewer: Viewer, dock: DatasetWidget, folder: Path
) -> None:
    for number, name in enumerate(("scan_2", "scan_3")):
        propose(Labelling(folder, "model"), name, number=number)
    wait(qtbot, lambda: status(dock, "scan_3") == "proposed")
    click(qtbot, dock.next)
    wait(qtbot, lambda: dock.session.case is not None)
    assert dock.session.case is not None
    first = dock.session.case.name
    shown(qtbot, dock, first)
    assert dock.box.buttons["finish"].text() == "Accept (A)"
    key(qtbot, viewer, Qt.Key.Key_A)
    other = {"scan_2": "scan_3", "scan_3": "scan_2"}[first]
    shown(qtbot, dock, other)
    wait(qtbot, lambda: status(dock, first) == "labelled")
    proposed = next((folder / "labelling" / "proposals").glob(f"{first}.*.nii.gz"))
    assert (folder / "labelsTr" / f"{first}.nii.gz").read_bytes() == proposed.read_bytes()
    entry = next(one for one in Labelling(folder).entries() if one.what == "accept")
    assert (entry.case, entry.voxels) == (first, 0)


def test_an_edited_proposal_is_logged_with_its_voxels(
    qtbot: QtBot, viewer: Viewer, dock: DatasetWidget, folder: Path
) -> None:
    propose(Labelling(folder, "model"), "scan_2")
    wait(qtbot, lambda: status(dock, "scan_2") == "proposed")
    mask = open_case(qtbot, dock, "scan_2")
    paint(mask, (0, 0, 0), 1)
    key(qtbot, viewer, Qt.Key.Key_A)
    wait(qtbot, lambda: status(dock, "scan_2") == "labelled")
    entry = next(one for one in Labelling(folder).entries() if one.what == "save")
    assert entry.voxels == 1
    assert entry.proposal == "a" * 64
    assert entry.seconds is not None


def test_reject_returns_a_case_without_its_proposal(
    qtbot: QtBot, viewer: Viewer, dock: DatasetWidget, folder: Path
) -> None:
    propose(Labelling(folder, "model"), "scan_2")
    wait(qtbot, lambda: status(dock, "scan_2") == "proposed")
    assert open_case(qtbot, dock, "scan_2").data.any()
    key(qtbot, viewer, Qt.Key.Key_R)
    wait(qtbot, lambda: status(dock, "scan_2") == "unlabelled")
    assert not open_case(qtbot, dock, "scan_2").data.any()


def test_buttons_follow_the_table_of_statuses(
    qtbot: QtBot, dock: DatasetWidget, folder: Path
) -> None:
    open_case(qtbot, dock, "scan_0")
    enabled = {name for name, one in dock.box.buttons.items() if one.isEnabled()}
    assert enabled == {"finish", "flag", "review", "approve", "exclude"}
    assert enabled == {name for name, one in dock.box.buttons.items() if one.isVisible()}
    click(qtbot, dock.box.buttons["approve"])
    wait(qtbot, lambda: status(dock, "scan_0") == "approved")
    open_case(qtbot, dock, "scan_0")
    assert not dock.box.buttons["finish"].isEnabled()
    click(qtbot, dock.box.buttons["exclude"])
    wait(qtbot, lambda: status(dock, "scan_0") == "excluded")
    dock.open("scan_0")
    wait(qtbot, dock.box.buttons["reopen"].isEnabled)
    click(qtbot, dock.box.buttons["reopen"])
    wait(qtbot, lambda: status(dock, "scan_0") == "approved")


def test_slices_that_are_not_done_become_the_ignore_label(
    qtbot: QtBot, viewer: Viewer, dock: DatasetWidget, folder: Path
) -> None:
    mask = open_case(qtbot, dock, "scan_2")
    paint(mask, tuple(size // 2 for size in mask.data.shape), 1)
    click(qtbot, dock.box.slice)
    assert dock.box.slice.isChecked()
    assert dock.session.case is not None
    axis, index = dock.session.case.stored_slice(*dock.session.slice_in_view(dock.session.case))
    assert dock.box.slices.text().startswith("1 of ")
    click(qtbot, dock.box.buttons["finish"])
    wait(qtbot, lambda: status(dock, "scan_2") == "labelled")
    found = np.moveaxis(stored(folder / "labelsTr" / "scan_2.nii.gz"), axis, 0)
    done = np.zeros(len(found), bool)
    done[index] = True
    assert (found[~done] == 3).all()
    assert not (found[done] == 3).any()
    assert (found[done] == 1).sum() == 1


def test_difficulty_and_comment_are_kept(qtbot: QtBot, dock: DatasetWidget, folder: Path) -> None:
    open_case(qtbot, dock, "scan_0")
    click(qtbot, dock.box.difficulty.button(3))
    wait(qtbot, lambda: Labelling(folder).facts("scan_0").difficulty == 3)
    dock.box.comment.setFocus()
    qtbot.keyClicks(dock.box.comment, "dark agar")
    qtbot.keyClick(dock.box.comment, Qt.Key.Key_Return)
    wait(qtbot, lambda: Labelling(folder).facts("scan_0").comment == "dark agar")
    assert status(dock, "scan_0") == "labelled"


def test_a_case_that_another_window_has_open_is_read_only_until_it_is_taken_over(
    qtbot: QtBot, dock: DatasetWidget, folder: Path
) -> None:
    other = Labelling(folder, "Ada")
    other.hold("scan_2")
    dock.open("scan_2")
    wait(qtbot, dock.box.take.isVisible)
    assert "Ada" in dock.box.taken.text()
    assert dock.session.case is not None
    assert not dock.session.case.mask.editable
    assert not dock.box.buttons["finish"].isEnabled()
    click(qtbot, dock.box.take)
    shown(qtbot, dock, "scan_2")
    assert not dock.box.take.isVisible()


def test_a_mask_that_cannot_be_saved_comes_back(
    qtbot: QtBot, dock: DatasetWidget, folder: Path
) -> None:
    mask = open_case(qtbot, dock, "scan_0")
    paint(mask, (0, 0, 0), 2)
    expected = mask.data.copy()
    changed = Labelling(folder, "Ada")
    changed.save(changed.open_case("scan_1"), box(1))
    # Another program writes the mask meanwhile.
    (folder / "labelsTr" / "scan_0.nii.gz").write_bytes(
        (folder / "labelsTr" / "scan_1.nii.gz").read_bytes()
    )
    click(qtbot, dock.box.buttons["finish"])
    wait(qtbot, lambda: "Both are kept" in dock.status.text())
    assert np.array_equal(open_case(qtbot, dock, "scan_0").data, expected)


def test_closing_the_dock_saves_the_draft(
    qtbot: QtBot, viewer: Viewer, dock: DatasetWidget, folder: Path
) -> None:
    paint(open_case(qtbot, dock, "scan_3"), (0, 0, 0), 2)
    viewer.window.remove_dock_widget("all")
    rows = {row.name: row for row in list_cases(Labelling(folder))}
    assert rows["scan_3"].status == "in progress"
    assert not rows["scan_3"].holder
    assert len(viewer.layers) == 0


def test_buttons_and_keys_are_off_while_another_case_is_shown(
    qtbot: QtBot, viewer: Viewer, dock: DatasetWidget, folder: Path
) -> None:
    mask = open_case(qtbot, dock, "scan_2")
    wait(qtbot, dock.box.buttons["finish"].isEnabled)
    other = viewer.open(str(folder / "imagesTr" / "scan_3_0000.nii.gz"), plugin="napari-graphflow")
    viewer.layers.selection = set(other)
    assert not any(button.isEnabled() for button in dock.box.buttons.values())
    assert "Another case is shown" in dock.box.taken.text()
    key(qtbot, viewer, Qt.Key.Key_A)
    assert status(dock, "scan_2") == "unlabelled"
    viewer.layers.selection = {mask}
    assert dock.box.buttons["finish"].isEnabled()


def test_a_mask_of_another_case_on_the_same_voxels_is_not_that_of_the_open_case(
    qtbot: QtBot, viewer: Viewer, dock: DatasetWidget, folder: Path
) -> None:
    mask = open_case(qtbot, dock, "scan_2")
    (other,) = viewer.open(
        str(folder / "imagesTr" / "scan_3_0000.nii.gz"), plugin="napari-graphflow"
    )
    viewer.layers.selection = {other}
    viewer.window._qt_viewer.layerButtons.newLabelsButton.click()
    assert case_of(viewer.layers[-1]) is None
    found = case_of(mask)
    assert found is not None and found.case == "scan_2"


def test_a_mask_with_other_values_is_finished_by_the_names_of_its_structures(
    qtbot: QtBot, viewer: Viewer, dock: DatasetWidget, folder: Path
) -> None:
    mask = open_case(qtbot, dock, "scan_2")
    wait(qtbot, dock.box.buttons["finish"].isEnabled)
    data = np.zeros(mask.data.shape, np.uint8)
    data[0, 1, 1:3] = 7, 3
    names = {"index": [0, 3, 7], "name": ["background", "Liver", "lesion"]}
    result = viewer.add_labels(data, scale=mask.scale, units=mask.units, features=names)
    dock.session.finish(mask=result)
    wait(qtbot, lambda: status(dock, "scan_2") == "labelled")
    assert mask.data[0, 1, 1:3].tolist() == [2, 1]
    result.features = {"index": [0, 3, 7], "name": ["background", "spleen", "lesion"]}
    dock.session.finish(mask=result)
    assert "spleen, which is not a structure" in dock.status.text()


def test_changes_of_a_case_that_was_taken_over_are_kept_in_this_window(
    qtbot: QtBot, viewer: Viewer, dock: DatasetWidget, folder: Path
) -> None:
    mask = open_case(qtbot, dock, "scan_2")
    wait(qtbot, dock.box.buttons["finish"].isEnabled)
    paint(mask, (0, 1, 2), 2)
    expected = mask.data.copy()
    assert dock.session.case is not None
    dock.session.hold.lost(dock.session.case, UserError("Somebody has it.", "Wait."))
    open_case(qtbot, dock, "scan_3")
    assert list(dock.session.unsaved) == ["scan_2"]
    again = open_case(qtbot, dock, "scan_2")
    assert np.array_equal(again.data, expected)
