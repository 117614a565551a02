"""*Export the model* in the Segment dock, by clicks."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from clicking import click
from napari import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtWidgets import QFileDialog

from napari_graphflow.plugin.segment.export_row import ExportRow
from napari_graphflow.plugin.segment.widget import SegmentWidget
from napari_graphflow.plugin.widgets.layout import Section

SLOW_START_MS = 120_000


@pytest.fixture
def line(viewer: Viewer, make_model, monkeypatch, tmp_path: Path) -> Iterator[ExportRow]:
    make_model("small", dims=2)
    _, widget = viewer.window.add_plugin_dock_widget("napari-graphflow", "Segment")
    assert isinstance(widget, SegmentWidget)
    (section,) = [one for one in widget.findChildren(Section) if one.text() == "Export the model"]
    section.expand(animate=False)
    (found,) = section.findChildren(ExportRow)
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(tmp_path))
    yield found
    viewer.window.remove_dock_widget("all")


@pytest.mark.slow
def test_a_click_exports_the_chosen_model_and_shows_the_comparison(
    line: ExportRow, qtbot: QtBot, tmp_path: Path
) -> None:
    pytest.importorskip("openvino")
    line.kind.setCurrentIndex(line.kind.findData("openvino"))
    click(qtbot, line.button)
    assert not line.button.isEnabled()
    qtbot.waitUntil(lambda: not line.running, timeout=SLOW_START_MS)
    assert line.status.text().startswith("✓ small-openvino: 2 cases: ")
    assert (tmp_path / "small-openvino" / "segment.py").is_file()
    click(qtbot, line.button)
    qtbot.waitUntil(lambda: not line.running, timeout=SLOW_START_MS)
    assert "already exists" in line.status.text()


def test_what_cannot_be_exported_is_shown_in_one_sentence(line: ExportRow, qtbot: QtBot) -> None:
    line.kind.setCurrentIndex(line.kind.findData("nnunet"))
    click(qtbot, line.button)
    assert line.status.text() == "small: exporting and comparing …"
    qtbot.waitUntil(lambda: not line.running, timeout=SLOW_START_MS)
    assert line.status.text().startswith("✕ ")
    assert "Traceback" not in line.status.text()
