"""Two readers in the window: who labels, agreement and consensus."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from clicking import click
from labelling_cases import SHAPE, make_dataset
from napari import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt

from napari_graphflow.labelling.agreement import FINISHED, Agreement
from napari_graphflow.labelling.store import Labelling
from napari_graphflow.plugin.dataset import readers_presenter
from napari_graphflow.plugin.dataset.widget import DatasetWidget


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A case with drafts of two readers, which differ in slice 5."""
    folder = make_dataset(tmp_path / "scans")
    ours = np.zeros(SHAPE, np.uint8)
    ours[2:6, 1:3, 1:3] = 1
    theirs = ours.copy()
    theirs[5] = 0
    for reader, labels in (("Ada", ours), ("Bea", theirs)):
        labelling = Labelling(folder, reader)
        labelling.save_draft(labelling.open_case("scan_2"), labels)
    return folder


@pytest.fixture
def dock(viewer: Viewer, folder: Path, qtbot: QtBot) -> Iterator[DatasetWidget]:
    _, widget = viewer.window.add_plugin_dock_widget("napari-graphflow", "Dataset")
    widget.dataset.choose(folder)
    wait(qtbot, lambda: bool(widget.rows))
    yield widget
    wait(qtbot, lambda: not widget.background.busy())
    viewer.window.remove_dock_widget("all")


def wait(qtbot: QtBot, condition: Callable[[], bool]) -> None:
    qtbot.waitUntil(condition)


def test_two_readers_are_compared_and_their_consensus_is_a_proposal(
    qtbot: QtBot, viewer: Viewer, dock: DatasetWidget, folder: Path
) -> None:
    tab = dock.tabs.readers
    dock.table.choose("scan_2")
    dock.tabs.setCurrentWidget(tab)
    wait(qtbot, tab.compare.isEnabled)
    assert tab.text.text() == "scan_2 has a draft of Ada and Bea."
    click(qtbot, tab.compare)
    wait(qtbot, lambda: tab.table.rowCount() == 2)
    texts = [tab.table.item(0, column).text() for column in range(5)]
    assert texts == ["liver", "0.857", "3.0", "4", "5"]
    tab.method.setCurrentText("majority")
    click(qtbot, tab.consensus)
    wait(qtbot, lambda: "consensus is a proposal for scan_2" in dock.status.text())
    (made,) = Labelling(folder).proposals("scan_2")
    assert made.model == "majority of 2 readers"


def test_a_row_of_the_agreement_leads_to_the_slice_where_they_differ(
    qtbot: QtBot, viewer: Viewer, dock: DatasetWidget
) -> None:
    tab = dock.tabs.readers
    dock.open("scan_2")
    wait(qtbot, lambda: dock.session.case is not None and dock.session.case.editable)
    case = dock.session.case
    assert case is not None
    dock.tabs.setCurrentWidget(tab)
    wait(qtbot, tab.compare.isEnabled)
    click(qtbot, tab.compare)
    wait(qtbot, lambda: tab.table.rowCount() == 2)
    axis, index = case.shown_slice(0, 5)
    assert tab.table.item(0, 4).text() == str(index)
    qtbot.mouseClick(
        tab.table.viewport(),
        Qt.MouseButton.LeftButton,
        pos=tab.table.visualItemRect(tab.table.item(0, 0)).center(),
    )
    assert round(case.mask.world_to_data(viewer.dims.point)[axis]) == index


def test_the_masks_of_both_readers_are_compared_as_a_and_b(
    qtbot: QtBot, viewer: Viewer, dock: DatasetWidget
) -> None:
    tab = dock.tabs.readers
    dock.tabs.setCurrentWidget(tab)
    dock.open("scan_2")
    wait(qtbot, tab.layers.isEnabled)
    click(qtbot, tab.layers)
    wait(qtbot, lambda: "as A and B in Compare" in dock.status.text())
    beside, compare = viewer.window.add_plugin_dock_widget("napari-graphflow", "Compare")
    beside.raise_()
    wait(qtbot, compare.button.isVisible)
    compare.a.choose(viewer.layers["Ada's mask · scan_2"])
    compare.b.choose(viewer.layers["Bea's mask · scan_2"])
    click(qtbot, compare.button)
    wait(qtbot, lambda: "4 of" in compare.status.text())
    assert not viewer.layers["Bea's mask · scan_2"].editable


def test_another_reader_continues_with_the_own_draft(
    qtbot: QtBot, dock: DatasetWidget, folder: Path
) -> None:
    dock.tabs.setCurrentWidget(dock.tabs.readers)
    qtbot.keyClicks(dock.tabs.readers.reader, "Bea")
    qtbot.keyClick(dock.tabs.readers.reader, Qt.Key.Key_Return)
    wait(qtbot, lambda: dock.session.labelling is not None and bool(dock.rows))
    assert dock.session.labelling is not None
    assert dock.session.labelling.reader == "Bea"
    dock.open("scan_2")
    wait(qtbot, lambda: dock.session.case is not None)
    assert dock.session.case is not None
    assert dock.session.case.opened.origin == "draft"
    assert dock.session.case.opened.labels.sum() == 12
    assert readers_presenter.known_reader() == "Bea"


def test_a_case_is_given_to_readers(qtbot: QtBot, dock: DatasetWidget, folder: Path) -> None:
    dock.table.choose("scan_3")
    dock.tabs.setCurrentWidget(dock.tabs.readers)
    wait(qtbot, dock.tabs.readers.given.isEnabled)
    qtbot.keyClicks(dock.tabs.readers.given, "Ada, Bea,Ada")
    qtbot.keyClick(dock.tabs.readers.given, Qt.Key.Key_Return)
    wait(qtbot, lambda: Labelling(folder).facts("scan_3").readers == ("Ada", "Bea"))


def test_agreement_without_a_structure_is_not_a_number() -> None:
    nobody = Agreement("a", "liver", ("Ada", "Bea"), float("nan"), float("nan"), 0, None)
    assert readers_presenter.cells(nobody, None) == ("liver", "–", "–", "0", "")
    one = Agreement("a", "liver", ("Ada", "Bea"), 0.0, float("inf"), 1200, 3)
    assert readers_presenter.cells(one, 7) == ("liver", "0.000", "only one", "1,200", "7")
    text = readers_presenter.masks_text("a", [FINISHED])
    assert text == "a has a finished mask. Two are needed to compare."
