"""The blind re-read and the differences of two readers in the window."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from clicking import click
from labelling_cases import box, contents, make_dataset, propose
from napari import Viewer
from pytestqt.qtbot import QtBot

from napari_graphflow.labelling.agreement import agreement
from napari_graphflow.labelling.rereads import set_share
from napari_graphflow.labelling.store import Labelling
from napari_graphflow.plugin.dataset.open_case import OpenCase
from napari_graphflow.plugin.dataset.widget import DatasetWidget
from napari_graphflow.plugin.viewer.layers import is_mask

AGREEMENT = "was drawn again. Dice with the accepted mask: liver 1.00, lesion 1.00."


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A case that was accepted as proposed and waits to be drawn again; two readers of another."""
    folder = make_dataset(tmp_path / "scans")
    labelling = Labelling(folder, "Ada")
    propose(labelling, "scan_2")
    labelling.accept("scan_2")
    set_share(labelling, 1.0)
    for reader, number in (("Ada", 1), ("Ben", 2)):
        own = Labelling(folder, reader)
        own.save_draft(own.open_case("scan_3"), box(number))
    return folder


@pytest.fixture
def dock(viewer: Viewer, folder: Path, qtbot: QtBot) -> Iterator[DatasetWidget]:
    _, widget = viewer.window.add_plugin_dock_widget("napari-graphflow", "Dataset")
    widget.dataset.choose(folder)
    qtbot.waitUntil(lambda: bool(widget.rows))
    widget.tabs.setCurrentWidget(widget.tabs.readers)
    yield widget
    qtbot.waitUntil(lambda: not widget.background.busy())
    viewer.window.remove_dock_widget("all")


def drawn_again(qtbot: QtBot, dock: DatasetWidget) -> OpenCase:
    qtbot.waitUntil(dock.tabs.readers.again.isEnabled)
    assert dock.tabs.readers.again.text() == "Draw again (1 case)"
    assert dock.tabs.readers.share.value() == 100
    click(qtbot, dock.tabs.readers.again)
    qtbot.waitUntil(lambda: dock.session.case is not None and dock.session.case.editable)
    assert dock.session.case is not None
    return dock.session.case


def test_an_accepted_case_is_drawn_again_from_an_empty_mask_and_stays_as_it_is(
    qtbot: QtBot, dock: DatasetWidget, folder: Path
) -> None:
    before = contents(folder, "labelling")
    case = drawn_again(qtbot, dock)
    assert case.name == "scan_2" and case.blind
    assert not case.mask.data.any()
    stored = box(0)
    case.mask.data = stored if case.loaded.turn is None else case.loaded.turn.apply(stored)
    dock.session.finish(lambda: None)
    qtbot.waitUntil(lambda: AGREEMENT in dock.status.text())
    assert contents(folder, "labelling") == before
    labelling = Labelling(folder, "Ada")
    assert labelling.facts("scan_2").status == "labelled"
    assert [entry.what for entry in labelling.entries()][-1] == "reread"
    qtbot.waitUntil(lambda: not dock.tabs.readers.again.isEnabled())


def test_an_unfinished_second_reading_is_kept_and_becomes_no_draft(
    qtbot: QtBot, dock: DatasetWidget, folder: Path
) -> None:
    case = drawn_again(qtbot, dock)
    case.mask.data_setitem((np.array([0]),) * 3, np.array([1], case.mask.data.dtype))
    dock.session.act("flag")
    assert "is drawn again" in dock.status.text()
    dock.open("scan_0")
    qtbot.waitUntil(lambda: "it is kept as" in dock.status.text())
    labelling = Labelling(folder, dock.session.labelling.reader)
    assert list(labelling.paths.readers("scan_2")) == []
    np.testing.assert_array_equal(labelling.open_case("scan_2").labels, box(0))


def test_the_differences_of_two_readers_are_shown_as_a_layer(
    viewer: Viewer, qtbot: QtBot, dock: DatasetWidget, folder: Path
) -> None:
    dock.open("scan_3")
    qtbot.waitUntil(lambda: dock.session.case is not None and dock.session.case.editable)
    dock.tabs.setCurrentIndex(0)
    dock.tabs.setCurrentWidget(dock.tabs.readers)
    qtbot.waitUntil(dock.tabs.readers.compare.isEnabled)
    case = dock.session.case
    assert case is not None
    dock.tabs.readers.first.setCurrentText("Ada")
    dock.tabs.readers.second.setCurrentText("Ben")
    for _ in range(2):  # the second comparison replaces the layer
        dock.status.info("")
        click(qtbot, dock.tabs.readers.compare)
        qtbot.waitUntil(lambda: "were compared" in dock.status.text())
    (layer,) = [one for one in viewer.layers if one.name.startswith("differences of Ada and Ben")]
    expected = agreement(Labelling(folder), "scan_3", ("Ada", "Ben"))[1]
    turn = case.loaded.turn
    np.testing.assert_array_equal(layer.data, expected if turn is None else turn.apply(expected))
    assert layer.data.any() and not layer.editable and not is_mask(layer)
    dock.open("scan_0")
    qtbot.waitUntil(lambda: dock.session.case is not None and dock.session.case.name == "scan_0")
    assert layer not in viewer.layers
