"""Masks of other programs are taken for the open case, checked and credited."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from clicking import click
from labelling_cases import make_dataset
from napari import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtWidgets import QInputDialog

from napari_graphflow.labelling.priority import Suggestion
from napari_graphflow.labelling.store import Labelling
from napari_graphflow.plugin.dataset.open_case import OpenCase
from napari_graphflow.plugin.dataset.widget import DatasetWidget


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


def opened(qtbot: QtBot, dock: DatasetWidget) -> OpenCase:
    dock.open("scan_0")
    qtbot.waitUntil(lambda: dock.session.case is not None and dock.session.case.editable)
    assert dock.session.case is not None
    return dock.session.case


def test_an_object_of_another_program_becomes_the_chosen_structure_and_is_credited(
    qtbot: QtBot,
    viewer: Viewer,
    dock: DatasetWidget,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case = opened(qtbot, dock)
    before = case.mask.data.copy()
    found = np.zeros(before.shape, np.uint8)
    found[0, 0, :2] = 1
    mask = case.mask
    other = viewer.add_labels(found, scale=mask.scale, units=mask.units, name="Object 1")
    assert dock.take.text() == "Use Object 1"
    click(qtbot, dock.legend.names[2])  # the lesion
    viewer.layers.selection.active = other
    monkeypatch.setattr(QInputDialog, "getItem", lambda *_: ("nnInteractive", True))
    click(qtbot, dock.take)
    expected = before.copy()
    expected[before == 2] = 0
    expected[0, 0, :2] = 2
    assert np.array_equal(mask.data, expected)
    assert viewer.layers.selection.active is mask
    assert not dock.take.isVisible()
    click(qtbot, dock.box.buttons["finish"])
    qtbot.waitUntil(lambda: "saved as finished" in dock.status.text())
    saved = [one for one in Labelling(folder).entries() if one.what == "save"]
    assert [one.source for one in saved] == ["nnInteractive"]


def test_taking_a_mask_is_one_undo_step_and_cancelled_by_the_question(
    qtbot: QtBot, viewer: Viewer, dock: DatasetWidget, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = opened(qtbot, dock)
    mask, before = case.mask, case.mask.data.copy()
    names = {"index": [0, 5], "name": ["background", "Lesion"]}
    found = np.full(before.shape, 5, np.uint8)
    viewer.add_labels(found, scale=mask.scale, units=mask.units, features=names)
    monkeypatch.setattr(QInputDialog, "getItem", lambda *_: ("", False))
    click(qtbot, dock.take)
    assert np.array_equal(mask.data, before)
    monkeypatch.setattr(QInputDialog, "getItem", lambda *_: ("drawn by hand", True))
    click(qtbot, dock.take)
    assert (mask.data == 2).all()
    assert case.source == ""
    mask.undo()
    assert np.array_equal(mask.data, before)


def test_a_program_is_not_credited_after_its_mask_was_undone(
    qtbot: QtBot, viewer: Viewer, dock: DatasetWidget, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = opened(qtbot, dock)
    found = np.zeros(case.mask.data.shape, np.uint8)
    found[0, 0, :2] = 1
    viewer.add_labels(found, scale=case.mask.scale, units=case.mask.units)
    monkeypatch.setattr(QInputDialog, "getItem", lambda *_: ("micro-sam", True))
    click(qtbot, dock.take)
    assert case.draft().source == "micro-sam"
    case.mask.undo()
    assert case.draft().source == ""


def test_a_mask_on_another_grid_is_not_offered(
    qtbot: QtBot, viewer: Viewer, dock: DatasetWidget
) -> None:
    case = opened(qtbot, dock)
    viewer.add_labels(np.ones((2, 2, 2), np.uint8), scale=case.mask.scale, units=case.mask.units)
    assert not dock.take.isVisible()


def test_the_program_is_credited_after_the_mask_was_put_away_as_a_draft(
    qtbot: QtBot,
    viewer: Viewer,
    dock: DatasetWidget,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case = opened(qtbot, dock)
    found = np.zeros(case.mask.data.shape, np.uint8)
    found[0, 0, :2] = 1
    other = viewer.add_labels(found, scale=case.mask.scale, units=case.mask.units)
    viewer.layers.selection.active = other
    monkeypatch.setattr(QInputDialog, "getItem", lambda *_: ("nnInteractive", True))
    click(qtbot, dock.take)
    dock.open("scan_1")
    qtbot.waitUntil(lambda: dock.session.case is not None and dock.session.case.name == "scan_1")
    opened(qtbot, dock)
    click(qtbot, dock.box.buttons["finish"])
    qtbot.waitUntil(lambda: "saved as finished" in dock.status.text())
    saved = [one for one in Labelling(folder).entries() if one.what == "save"]
    assert [one.source for one in saved] == ["nnInteractive"]


def test_open_next_looks_at_the_suggested_slices(qtbot: QtBot, dock: DatasetWidget) -> None:
    dock.order.suggestions = [Suggestion("scan_1", (7, 9), "liver", 1.0, "Look here.")]
    dock.next.setEnabled(True)
    click(qtbot, dock.next)
    qtbot.waitUntil(lambda: dock.session.case is not None and dock.session.case.editable)
    case = dock.session.case
    assert case is not None and case.name == "scan_1"
    axis, shown = case.shown_slice(0, 8)
    assert dock.session.slice_in_view(case) == (axis, shown)
