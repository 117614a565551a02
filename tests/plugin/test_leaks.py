"""A widget that outlives its test is found."""

import pytest
from leaks import leaked_widgets, living_widgets
from napari import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtWidgets import QLabel, QWidget

from napari_graphflow.plugin.widgets.progress import ProgressRow


def test_a_widget_that_is_held_is_named(qapp: object) -> None:
    before = living_widgets()
    held = ProgressRow()
    held.setObjectName("held")
    assert leaked_widgets(before) == ["ProgressRow 'held'"]
    held.deleteLater()
    assert leaked_widgets(before) == []


def test_a_window_of_any_class_is_named_while_it_is_shown(qtbot: QtBot) -> None:
    before = living_widgets()
    window = QLabel("shown")
    window.show()
    qtbot.waitExposed(window)
    assert leaked_widgets(before) == ["QLabel ''"]
    window.close()
    assert leaked_widgets(before) == []


def test_of_a_leaked_tree_only_the_root_is_named(qapp: object) -> None:
    before = living_widgets()
    root = ProgressRow()
    ProgressRow().setParent(root)
    assert leaked_widgets(before) == ["ProgressRow ''"]
    root.deleteLater()


def test_a_widget_that_nobody_holds_is_no_leak(qapp: object) -> None:
    before = living_widgets()
    QWidget()
    ProgressRow()
    assert leaked_widgets(before) == []


@pytest.mark.parametrize("name", ["Segment", "Distil", "Compare"])
def test_closing_a_dock_deletes_its_widget(viewer: Viewer, qtbot: QtBot, name: str) -> None:
    before = living_widgets()
    viewer.window.add_plugin_dock_widget("napari-graphflow", name)
    qtbot.wait(300)
    viewer.window.remove_dock_widget("all")
    qtbot.wait(50)
    assert leaked_widgets(before) == []
