"""Larger letters in napari's preferences: ours grow with them, and what holds them."""

from collections.abc import Iterator

import pytest
from napari import Viewer
from napari.settings import get_settings
from pytestqt.qtbot import QtBot
from qtpy.QtWidgets import QLineEdit, QTableView

from napari_graphflow.plugin.widgets.docks import show_dock
from napari_graphflow.plugin.widgets.panel import WIDTH

SIZE = 14


@pytest.fixture
def appearance(viewer: Viewer) -> Iterator[object]:
    appearance = get_settings().appearance
    before = appearance.font_size
    yield appearance
    appearance.font_size = before


def test_fields_and_tables_grow_with_the_letters_of_napari(
    viewer: Viewer, appearance: object, qtbot: QtBot
) -> None:
    appearance.font_size = 9
    small = show_dock(viewer, "Dataset")
    rows = small.table.verticalHeader().defaultSectionSize()
    viewer.window.remove_dock_widget("all")
    appearance.font_size = SIZE
    for name in ("Dataset", "Compare", "Volume"):
        dock = show_dock(viewer, name)
        assert dock.minimumWidth() == round(WIDTH * SIZE / 9)
        for kind in (QLineEdit, QTableView):
            for one in dock.findChildren(kind):
                one.ensurePolished()
                assert one.font().pointSize() == SIZE, (name, one)
        for table in dock.findChildren(QTableView):
            height = table.verticalHeader().defaultSectionSize()
            assert height >= table.fontMetrics().height(), (name, table)
        if name == "Dataset":
            assert dock.table.verticalHeader().defaultSectionSize() == round(rows * SIZE / 9)
    viewer.window.remove_dock_widget("all")


def test_an_open_dock_follows_a_change_of_the_letters(
    viewer: Viewer, appearance: object, qtbot: QtBot
) -> None:
    appearance.font_size = 9
    dock = show_dock(viewer, "Dataset")
    appearance.font_size = SIZE
    dock.search.ensurePolished()
    assert dock.search.font().pointSize() == SIZE
    viewer.window.remove_dock_widget("all")
    appearance.font_size = 10  # a closed dock is not styled
