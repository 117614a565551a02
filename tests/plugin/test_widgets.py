"""Shared parts of the docks: tabs, closing, background work, formatting."""

import itertools
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from clicking import click
from napari import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QDockWidget

from napari_graphflow.errors import UserError
from napari_graphflow.plugin.widgets.background import Background
from napari_graphflow.plugin.widgets.progress import ProgressRow
from napari_graphflow.plugin.widgets.words import count_text, progress_text
from napari_graphflow.plugin.worker.requests import dispatcher

pytestmark = pytest.mark.both_bindings

NAMES = ("Segment", "Distil", "Compare")

CLOSE_WHILE_SEGMENTING = """
import sys
import napari
from qtpy.QtCore import QTimer
from napari_graphflow.plugin.worker.requests import dispatcher

viewer = napari.Viewer(show=True)
viewer.open(sys.argv[1], plugin="napari-graphflow")
_, widget = viewer.window.add_plugin_dock_widget("napari-graphflow", "Segment")

def close_once_it_runs():
    if dispatcher().pid is None:
        QTimer.singleShot(50, close_once_it_runs)
        return
    print(dispatcher().pid, flush=True)
    viewer.close()

widget.button.click()
close_once_it_runs()
napari.run()
"""

EXIT_WHILE_BUSY = """
import threading
from qtpy.QtCore import QCoreApplication
from napari_graphflow.plugin.widgets.background import Background

application = QCoreApplication([])
background = Background(application)
started = threading.Event()
background.run(lambda: (started.set(), threading.Event().wait(60)), print, print)
background.run(lambda: print("never"), print, print)
assert started.wait(10)
background.stop()
print("leaving", flush=True)
"""


def test_docks_are_tabbed(viewer: Viewer, qtbot: QtBot) -> None:
    docks: list[QDockWidget] = []
    for name in NAMES:
        docks.append(viewer.window.add_plugin_dock_widget("napari-graphflow", name)[0])
        qtbot.waitUntil(docks[-1].isVisible)
    window = viewer.window._qt_window
    qtbot.waitUntil(lambda: set(window.tabifiedDockWidgets(docks[-1])) == set(docks[:-1]))
    viewer.window.remove_dock_widget("all")


def test_closing_a_dock_cancels_its_request(
    viewer: Viewer, qtbot: QtBot, make_model: Callable[..., Path], write_scan: Callable[..., Path]
) -> None:
    make_model("small")
    viewer.open(str(write_scan(shape=(64, 96, 96))), plugin="napari-graphflow")
    _, segment = viewer.window.add_plugin_dock_widget("napari-graphflow", "Segment")
    segment.button.click()
    assert dispatcher().busy
    viewer.window.remove_dock_widget("all")
    assert not dispatcher().busy
    qtbot.wait(200)
    assert len(viewer.layers) == 1


def test_napari_closes_at_once_while_the_worker_is_busy(
    make_model: Callable[..., Path], write_scan: Callable[..., Path]
) -> None:
    make_model("small")
    scan = write_scan(shape=(64, 96, 96))
    run = subprocess.run(
        [sys.executable, "-c", CLOSE_WHILE_SEGMENTING, str(scan)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert "Traceback" not in run.stderr
    worker = int(run.stdout.split()[-1])
    assert not psutil.pid_exists(worker)


def test_background_results_and_errors_reach_the_callbacks(qtbot: QtBot, qapp: object) -> None:
    background = Background(qapp)
    results: list[object] = []

    def fail() -> None:
        raise UserError("It is broken.", "Mend it.")

    background.run(lambda: 6 * 7, results.append, results.append)
    background.run(fail, results.append, results.append)
    qtbot.waitUntil(lambda: len(results) == 2)
    assert results[0] == 42
    assert str(results[1]) == "It is broken. Mend it."
    assert not background.busy()
    background.stop()


def test_the_window_responds_between_the_steps_of_a_result(qtbot: QtBot, qapp: object) -> None:
    background = Background(qapp)
    seen: list[object] = []
    timer = QTimer()
    timer.timeout.connect(lambda: seen.append("tick"))

    def steps(result: int) -> Iterator[None]:
        for one in range(result):
            seen.append((one, background.busy()))
            yield

    background.run(lambda: 3, steps, seen.append)
    timer.start(1)
    qtbot.waitUntil(lambda: not background.busy())
    timer.stop()
    at = [seen.index((one, False)) for one in range(3)]
    assert all("tick" in seen[start:end] for start, end in itertools.pairwise(at))
    background.stop()


def test_exit_does_not_wait_for_background_work() -> None:
    """For example while a cluster does not respond."""
    run = subprocess.run(
        [sys.executable, "-c", EXIT_WHILE_BUSY],
        capture_output=True, text=True, timeout=40, check=False,
    )  # fmt: skip
    assert (run.returncode, run.stdout) == (0, "leaving\n"), run.stderr


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (38_292_290, "38 M"),
        (5_658_898, "5.7 M"),
        (348_996, "0.35 M"),
        (12_345, "12 k"),
        (7, "7"),
    ],
)
def test_parameter_counts_are_formatted(number: int, text: str) -> None:
    assert count_text(number) == text


def test_progress_is_formatted() -> None:
    assert progress_text(62, 100, 14) == "62 % · 14 s left"
    assert progress_text(0, 0, None) == "0 %"


def test_the_bar_has_words_and_says_at_once_that_it_cancels(qtbot: QtBot) -> None:
    row = ProgressRow()
    qtbot.addWidget(row)
    row.follow({"phase": "starting PyTorch"})
    assert row.bar.text() == "starting PyTorch"
    row._since -= 3
    row.wait("starting PyTorch")
    assert row.bar.text() == "starting PyTorch 3 s"
    row.follow({"phase": "segmenting", "steps": "window", "done": 12, "total": 40, "eta_s": 14})
    assert row.bar.text() == "window 12 of 40 · 30 % · 14 s left"
    with qtbot.waitSignal(row.cancelled):
        click(qtbot, row.cancel)
    assert row.bar.text() == "cancelling …"
    row.follow({"phase": "segmenting", "steps": "window", "done": 13, "total": 40})
    assert row.bar.text() == "cancelling …", "a reply on its way"
