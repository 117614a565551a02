"""File > Open and drag and drop: a responsive window, and files without a suffix."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from dicom_cases import write_series
from napari import Viewer
from napari.components import viewer_model
from napari.utils.notifications import notification_manager
from npe2 import PluginManager
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QMimeData, QPointF, Qt, QTimer, QUrl
from qtpy.QtGui import QDropEvent
from qtpy.QtWidgets import QApplication

from napari_graphflow.imaging.contents import Contents
from napari_graphflow.plugin.viewer import opening
from napari_graphflow.plugin.viewer.reader_writer import get_reader
from napari_graphflow.plugin.viewer.wait_responsively import wait_responsively

WriteScan = Callable[..., Path]


@pytest.fixture
def beats(qtbot: QtBot) -> Iterator[list[float]]:
    """Times of a 10 ms timer in the Qt thread."""
    found: list[float] = []
    timer = QTimer()
    timer.timeout.connect(lambda: found.append(time.monotonic()))
    timer.start(10)
    yield found
    timer.stop()


@pytest.fixture
def preferred(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set our reader as the preferred one, because napari's own reader also matches."""
    monkeypatch.setattr(viewer_model, "get_preferred_reader", lambda path: "napari-graphflow")


@pytest.fixture
def during(beats: list[float], monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Delay reading each file until the Qt timer has fired five times; return the counts."""
    found: list[int] = []
    inspect_path = opening.inspect_path

    def slowly(path: Path) -> Contents:
        before, end = len(beats), time.monotonic() + 60
        while len(beats) < before + 5 and time.monotonic() < end:
            time.sleep(0.01)
        found.append(len(beats) - before)
        return inspect_path(path)

    monkeypatch.setattr(opening, "inspect_path", slowly)
    return found


def drop(viewer: Viewer, *paths: Path) -> None:
    """Drop files onto the canvas."""
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
    event = QDropEvent(
        QPointF(10, 10),
        Qt.DropAction.CopyAction,
        data,
        Qt.MouseButton.LeftButton,
        Qt.KeyboardModifier.NoModifier,
    )
    viewer.window._qt_viewer.dropEvent(event)


@pytest.mark.usefixtures("preferred")
def test_the_window_stays_responsive_while_dropped_files_are_read(
    viewer: Viewer, write_scan: WriteScan, during: list[int]
) -> None:
    good, cut = write_scan("good.nrrd"), write_scan("cut.nii.gz")
    cut.write_bytes(cut.read_bytes()[:-500])
    notification_manager.records.clear()
    drop(viewer, good, cut)
    assert len(during) == 2 and min(during) >= 5, "the Qt thread was blocked"
    assert [layer.name for layer in viewer.layers] == ["good"]
    assert "cut.nii.gz is damaged" in str(notification_manager.records[-1].message)
    assert QApplication.overrideCursor() is None
    # A script gets the layers as usual.
    (layer,) = viewer.open(str(good), plugin="napari-graphflow")
    assert layer is viewer.layers[-1]


def test_closing_napari_is_postponed_until_a_file_is_read(write_scan: WriteScan) -> None:
    script = Path(__file__).with_name("closing_process.py")
    command = [sys.executable, script, write_scan()]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, done.stdout.split()[-3:]) == (0, ["1", "layer", "closed"]), done.stderr
    assert "Traceback" not in done.stderr


def test_wait_responsively_raises_the_error_of_the_function(qtbot: QtBot) -> None:
    def fail() -> None:
        time.sleep(0.2)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        wait_responsively(fail)
    assert QApplication.overrideCursor() is None


def readers_of(path: Path) -> list[str]:
    """Return the readers that napari offers for a file."""
    manager = PluginManager.instance()
    manager.discover()  # which a window does automatically
    return [one.plugin_name for one in manager.iter_compatible_readers([path])]


@pytest.mark.parametrize("name", ["IM000001", "1.2.840.113619.2.55.3", "I10"])
def test_only_our_reader_accepts_dicom_files_without_a_suffix(tmp_path: Path, name: str) -> None:
    path = write_series(tmp_path / "a", [0.0])[0].rename(tmp_path / name)
    assert readers_of(path) == ["napari-graphflow"], "napari would ask for a reader"
    assert get_reader(str(path)) is not None
    path.write_text("Dear colleague", "utf-8")
    assert get_reader(str(path)) is None


@pytest.mark.parametrize("name", ["table.csv", "mesh.obj", "notes.v2.txt"])
def test_files_of_other_formats_are_left_to_other_readers(tmp_path: Path, name: str) -> None:
    assert "napari-graphflow" not in readers_of(tmp_path / name)


def test_a_dropped_dicom_file_without_a_suffix_opens(viewer: Viewer, tmp_path: Path) -> None:
    path = write_series(tmp_path / "a", [0.0])[0].rename(tmp_path / "IM000001")
    drop(viewer, path)
    assert [layer.name for layer in viewer.layers] == ["Abdomen 5 mm"]
