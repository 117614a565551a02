"""*Segment* while its window, image or mask is closed or changed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clicking import click
from napari import Viewer
from napari.layers import Labels
from pytestqt.qtbot import QtBot

from napari_graphflow.plugin.segment.widget import SegmentWidget
from napari_graphflow.plugin.worker import requests
from napari_graphflow.plugin.worker.requests import KILLED, dispatcher


class Worker:
    """Takes requests, and answers when it is told to."""

    pid = None

    def __init__(self) -> None:
        self.replies: list[dict[str, Any]] = []
        self.sent: list[dict[str, Any]] = []

    def request(self, op: str, **fields: Any) -> int:
        self.sent.append(fields)
        return len(self.sent)

    def poll(self) -> list[dict[str, Any]]:
        replies, self.replies = self.replies, []
        return replies

    def cancel(self, number: int) -> None:
        self.replies.append({"id": number, "event": "cancelled", "killed": True})

    def close(self) -> None: ...

    def progress(self) -> None:
        number = len(self.sent)
        self.replies.append(
            {"id": number, "event": "progress", "phase": "segmenting", "done": 1, "total": 2}
        )

    def finish(self) -> None:
        shape = self.sent[-1]["image"].shape
        self.replies.append(
            {
                "id": len(self.sent), "event": "result", "labels": np.ones(shape, np.uint8),
                "classes": {"background": 0, "organ": 1, "lesion": 2}, "model": "small",
                "seconds": 0.1, "peak_bytes": 1, "device": "cpu", "cautions": [], "site": None,
            }
        )  # fmt: skip


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Worker:
    made = Worker()
    monkeypatch.setattr(dispatcher(), "_worker", made)
    return made


def begin(viewer: Viewer, worker: Worker, qtbot: QtBot, scan: Path) -> SegmentWidget:
    """Return a widget whose request the worker has not answered yet."""
    _, widget = viewer.window.add_plugin_dock_widget("napari-graphflow", "Segment")
    viewer.open(str(scan), plugin="napari-graphflow")
    widget.model.refresh()
    click(qtbot, widget.button)
    qtbot.waitUntil(lambda: bool(worker.sent))
    return widget


@pytest.fixture
def running(
    viewer: Viewer, worker: Worker, qtbot: QtBot, make_model: Any, write_scan: Callable[[], Path]
) -> SegmentWidget:
    make_model("small")
    return begin(viewer, worker, qtbot, write_scan())


def ended(qtbot: QtBot, widget: SegmentWidget) -> None:
    qtbot.waitUntil(lambda: not widget.running)


def test_an_answer_after_the_window_was_closed_is_dropped(
    make_napari_viewer: Callable[..., Viewer],
    worker: Worker,
    qtbot: QtBot,
    make_model: Any,
    write_scan: Callable[[], Path],
) -> None:
    make_model("small")
    viewer = make_napari_viewer(show=True)
    begin(viewer, worker, qtbot, write_scan())
    with qtbot.captureExceptions() as raised:
        worker.progress()
        qtbot.wait(100)
        viewer.close()
        qtbot.wait(100)
        worker.progress()
        worker.finish()
        qtbot.waitUntil(lambda: not dispatcher().busy)
        qtbot.wait(100)
    assert raised == []


def test_a_mask_that_was_given_another_shape_is_left_and_a_new_one_is_added(
    viewer: Viewer, running: SegmentWidget, worker: Worker, qtbot: QtBot
) -> None:
    worker.finish()
    ended(qtbot, running)
    mask = viewer.layers[-1]
    assert isinstance(mask, Labels)
    for whole in (True, False):
        (running.whole if whole else running.slice).setChecked(True)
        running.mask.choose(mask)
        running._start(running._task())
        before = mask.data
        mask.data = np.zeros((1, 2, 3), np.uint8)
        worker.finish()
        ended(qtbot, running)
        assert mask.data.shape == (1, 2, 3)
        assert viewer.layers[-1] is not mask
        viewer.layers.pop()
        mask.data = before
    viewer.window.remove_dock_widget("all")


def test_the_mask_of_an_image_that_was_given_another_shape_is_discarded(
    viewer: Viewer, running: SegmentWidget, worker: Worker, qtbot: QtBot
) -> None:
    (image,) = viewer.layers
    image.data = image.data[:2]
    worker.finish()
    ended(qtbot, running)
    assert list(viewer.layers) == [image]
    assert "was given another shape during segmentation" in running.status.text()
    viewer.window.remove_dock_widget("all")


def test_a_killed_process_is_reported_when_its_request_was_cancelled(
    viewer: Viewer, running: SegmentWidget, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(requests, "show_info", said.append)
    click(qtbot, running.progress.cancel)
    ended(qtbot, running)
    assert said == [KILLED]
    assert "nothing was changed" in running.status.text()
    viewer.window.remove_dock_widget("all")
