"""A widget that outlives its test is found."""

from leaks import leaked_widgets, living_widgets
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
