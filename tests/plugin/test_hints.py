"""Hints in empty fields."""

import pytest
from napari import Viewer
from napari.utils.theme import get_theme
from pytestqt.qtbot import QtBot
from qtpy.QtGui import QPalette
from qtpy.QtWidgets import QLineEdit
from superqt import QCollapsible

from napari_graphflow.plugin.widgets.docks import show_dock
from napari_graphflow.plugin.widgets.palette import TEXT_CONTRAST, contrast


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_every_hint_is_legible_after_the_theme_changes(
    viewer: Viewer, qtbot: QtBot, theme: str
) -> None:
    docks = [show_dock(viewer, name) for name in ("Dataset", "Distil")]
    docks[0].tabs.join()
    for section in docks[1].findChildren(QCollapsible):
        section.expand(animate=False)
    viewer.theme = theme
    qtbot.wait(10)
    background = get_theme(theme).foreground.as_hex(format="long")
    hinted = [
        field for dock in docks for field in dock.findChildren(QLineEdit) if field.placeholderText()
    ]
    assert {"Search", "Comment", "everybody", "automatic"} <= {
        field.placeholderText() for field in hinted
    }
    for field in hinted:
        field.ensurePolished()
        colour = field.palette().color(QPalette.ColorRole.PlaceholderText)
        assert colour.alpha() == 255, field.placeholderText()
        assert contrast(colour.name(), background) >= TEXT_CONTRAST, field.placeholderText()
        middle = field.grab().toImage().pixelColor(field.width() - 6, field.height() // 2)
        assert middle.name() == background, field.placeholderText()
    viewer.window.remove_dock_widget("all")
