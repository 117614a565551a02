"""The Tab key reaches every enabled control of every dock, from top to bottom."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from napari import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QApplication, QRadioButton, QWidget
from superqt import QCollapsible

from napari_graphflow.config.run import TrainingConfig
from napari_graphflow.jobs.store import create
from napari_graphflow.plugin.widgets.panel import Panel

DOCKS = ("Volume", "Segment", "Dataset", "Distil", "Jobs", "Compare", "Tutorial")
#: Controls in one row differ by fewer pixels in height.
ROW = 14


def focusable(dock: Panel) -> list[QWidget]:
    """Return what the Tab key should reach; arrow keys move within groups of radio buttons."""
    return [
        one
        for one in dock.findChildren(QWidget)
        if one.isVisible()
        and one.isEnabled()
        and one.focusProxy() is None
        and (one.focusPolicy() & Qt.FocusPolicy.TabFocus) == Qt.FocusPolicy.TabFocus
        and not (isinstance(one, QRadioButton) and not one.isChecked())
    ]


def laid_out(dock: Panel) -> bool:
    """Whether all of them have their sizes: what an unfolded section makes is laid out later."""
    return all(one.height() > 0 and one.width() > 0 for one in focusable(dock))


def walk(qtbot: QtBot, dock: Panel, first: QWidget) -> list[QWidget]:
    """Press Tab from a control until the focus leaves the dock or comes back."""
    first.setFocus()
    qtbot.waitUntil(first.hasFocus)
    seen: list[QWidget] = []
    focus: QWidget | None = first
    while focus is not None and dock.isAncestorOf(focus) and focus not in seen:
        seen.append(focus)
        qtbot.keyClick(focus, Qt.Key.Key_Tab)
        focus = QApplication.focusWidget()
    return seen


def place(dock: Panel, control: QWidget) -> QPoint:
    return control.mapTo(dock.widget(), QPoint(0, 0))


@pytest.mark.parametrize("name", DOCKS)
def test_tab_reaches_every_control_from_top_to_bottom(
    viewer: Viewer, qtbot: QtBot, tiny_dataset: Path, name: str
) -> None:
    viewer.add_image(np.zeros((4, 8, 8), np.float32), name="scan")
    viewer.add_labels(np.ones((4, 8, 8), np.uint8), name="mask")
    viewer.add_labels(np.ones((4, 8, 8), np.uint8), name="other")
    if name == "Jobs":
        create("train", TrainingConfig(dataset=tiny_dataset))
    _, dock = viewer.window.add_plugin_dock_widget("napari-graphflow", name)
    for section in dock.findChildren(QCollapsible):
        section.expand(animate=False)
    window = viewer.window._qt_window
    QApplication.setActiveWindow(window)
    window.resize(1280, 1400)
    qtbot.wait(250)
    qtbot.waitUntil(lambda: laid_out(dock))
    wanted = focusable(dock)
    top = min(wanted, key=lambda one: (place(dock, one).y() // ROW, place(dock, one).x()))
    seen = walk(qtbot, dock, top)
    assert [_name(one) for one in wanted if one not in seen] == []
    for one, following in itertools.pairwise(seen):
        down = place(dock, following).y() - place(dock, one).y()
        right = place(dock, following).x() > place(dock, one).x()
        assert down > 0 or (right and down > -ROW), f"{_name(following)} comes after {_name(one)}"
    viewer.window.remove_dock_widget("all")


def _name(control: QWidget) -> str:
    text = getattr(control, "text", None) or getattr(control, "currentText", None)
    return f"{type(control).__name__} {text() if callable(text) else ''}"
