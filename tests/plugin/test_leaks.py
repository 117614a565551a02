"""The check for leaked widgets."""

import pytest
from leaks import leaked_widgets, living_widgets
from napari import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtWidgets import QLabel, QWidget

from napari_graphflow.plugin.widgets.progress import ProgressRow


def test_a_referenced_widget_is_reported_as_leaked(qapp: object) -> None:
    before = living_widgets()
    held = ProgressRow()
    held.setObjectName("held")
    assert leaked_widgets(before) == ["ProgressRow 'held'"]
    held.deleteLater()
    assert leaked_widgets(before) == []


def test_a_visible_window_of_any_class_is_reported_as_leaked(qtbot: QtBot) -> None:
    before = living_widgets()
    window = QLabel("shown")
    window.show()
    qtbot.waitExposed(window)
    assert leaked_widgets(before) == ["QLabel ''"]
    window.close()
    assert leaked_widgets(before) == []


def test_only_the_root_of_leaked_widgets_is_reported(qapp: object) -> None:
    before = living_widgets()
    root = ProgressRow()
    ProgressRow().setParent(root)
    assert leaked_widgets(before) == ["ProgressRow ''"]
    root.deleteLater()


def test_an_unreferenced_widget_is_not_reported_as_leaked(qapp: object) -> None:
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
