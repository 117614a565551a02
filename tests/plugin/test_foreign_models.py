"""A results folder of nnU-Net is imported where a model is chosen."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from clicking import click
from napari import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtWidgets import QFileDialog

from napari_graphflow.plugin.segment.widget import SegmentWidget
from napari_graphflow.plugin.widgets.docks import show_dock


@pytest.fixture
def dock(viewer: Viewer, home: Path) -> Iterator[SegmentWidget]:
    yield show_dock(viewer, "Segment")
    viewer.window.remove_dock_widget("all")


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that looks like one of nnU-Net, and is chosen in the dialog."""
    folder = tmp_path / "results"
    folder.mkdir()
    for name in ("plans.json", "dataset.json"):
        (folder / name).write_text("{}", "utf-8")
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(folder))
    return folder


def test_a_results_folder_is_imported_and_chosen(
    dock: SegmentWidget, results: Path, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch,
    make_model: Callable[..., Path],
) -> None:  # fmt: skip
    calls = []

    def run(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        calls.append(command[3:])
        model = make_model("foreign", role="teacher", network="unet")
        return subprocess.CompletedProcess(command, 0, json.dumps({"model": str(model)}), "")

    monkeypatch.setattr(subprocess, "run", run)
    click(qtbot, dock.model.browse)
    qtbot.waitUntil(lambda: dock.model.combo.currentText() == "foreign", timeout=5000)
    assert calls == [["models", "import", str(results), "--json"]]
    assert dock.model.browse.isEnabled()


def test_a_folder_that_cannot_be_imported_is_refused_in_words(
    dock: SegmentWidget, results: Path, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    failure = {"code": "user", "text": "It is a cascade.", "remedy": "Import 2d."}
    monkeypatch.setattr(
        subprocess,
        "run",
        lambda command, **_: subprocess.CompletedProcess(
            command, 2, json.dumps({"failure": failure}), ""
        ),
    )
    shown: list[str] = []
    monkeypatch.setattr(SegmentWidget, "fail", lambda self, error: shown.append(str(error)))
    click(qtbot, dock.model.browse)
    qtbot.waitUntil(lambda: bool(shown), timeout=5000)
    assert shown == ["It is a cascade. Import 2d."]
    assert dock.model.folder() is None
