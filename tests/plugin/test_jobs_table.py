"""The job table: content of the rows, width, and filtering."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from job_cases import new_job
from napari import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt
from qtpy.QtGui import QColor, QImage

from napari_graphflow.jobs.job import Job
from napari_graphflow.jobs.status import Process, RunReport, Status
from napari_graphflow.plugin.distil.widget import DistilWidget
from napari_graphflow.plugin.jobs.table import COLOURS, JobsTable
from napari_graphflow.system.failures import Failure

BROKE = Failure(code="ended", text="It broke.")

STATE = 1
LONG = "Mobile U-Net from a teacher with a very long name"


@pytest.fixture
def distil(viewer: Viewer) -> Iterator[DistilWidget]:
    _, widget = viewer.window.add_plugin_dock_widget("napari-graphflow", "Distil")
    yield widget
    viewer.window.remove_dock_widget("all")


def running(step: int) -> Status:
    """A job on another computer with a recent heartbeat."""
    return Status(
        state="running",
        run=RunReport(step=step, total=100, eta_s=7512.0, best=0.8432, phase="training"),
        process=Process(launched=1.0, device="cuda:0", heartbeat=time.time(), host="elsewhere"),
    )


def texts(table: JobsTable, job: Job) -> list[str]:
    row = table.jobs.index(job)
    return [table.item(row, column).text() for column in range(table.columnCount())]


def blue(table: JobsTable, job: Job) -> int:
    """Count the pixels of the state cell that have the colour of the progress bar."""
    cell = table.visualItemRect(table.item(table.jobs.index(job), STATE))
    image = table.viewport().grab(cell).toImage().convertToFormat(QImage.Format.Format_RGB32)
    colour = QColor(COLOURS["running"]).rgb()
    points = np.ndindex(image.width(), image.height())
    return sum(image.pixel(int(x), int(y)) == colour for x, y in points)


def test_each_row_shows_state_progress_time_left_device_and_dice(
    distil: DistilWidget, qtbot: QtBot, tmp_path: Path
) -> None:
    first = new_job(tmp_path, LONG, running(20))
    second = new_job(tmp_path, "second", running(90))
    third = new_job(
        tmp_path,
        "third",
        Status(state="paused", run=RunReport(best=0.5), process=Process(runner="ray")),
    )
    fourth = new_job(tmp_path, "fourth", Status(state="failed", failure=BROKE))
    view, table = distil.jobs, distil.jobs.table
    view.choose(third)
    assert texts(table, first) == [LONG, "20 %", "2 h 05", "cuda:0", "0.843"]
    assert texts(table, second) == ["second", "90 %", "2 h 05", "cuda:0", "0.843"]
    assert texts(table, third) == ["third", "paused", "", "ray", "0.500"]
    assert texts(table, fourth) == ["fourth", "failed", "", "", ""]
    assert table.item(table.jobs.index(first), 0).toolTip().startswith(LONG)
    assert "It broke." in table.item(table.jobs.index(fourth), STATE).toolTip()
    qtbot.waitUntil(lambda: blue(table, second) > 2 * blue(table, first) > 0, timeout=5000)


def test_the_table_fits_a_narrow_dock(distil: DistilWidget, qtbot: QtBot, tmp_path: Path) -> None:
    jobs = [new_job(tmp_path, f"{LONG} {number}", running(20)) for number in range(8)]
    distil.jobs.choose(jobs[0])
    table = distil.jobs.table
    qtbot.waitUntil(table.isVisible)
    widths = [table.columnWidth(column) for column in range(table.columnCount())]
    assert sum(widths) <= table.viewport().width() <= 400
    assert widths[0] >= 60
    metrics = table.fontMetrics()
    for text, width in zip(texts(table, jobs[0])[1:], widths[1:], strict=True):
        assert metrics.horizontalAdvance(text) < width


def test_the_check_box_lists_only_jobs_of_the_chosen_dataset(
    distil: DistilWidget, qtbot: QtBot, tiny_dataset: Path, tmp_path: Path
) -> None:
    ours = new_job(tiny_dataset, "ours", Status(state="paused"))
    theirs = new_job(tmp_path / "other", "theirs", Status(state="paused"))
    view = distil.jobs
    view.choose(theirs)
    assert not view.only.isVisible()
    distil.dataset.choose(tiny_dataset)
    qtbot.waitUntil(view.only.isVisible, timeout=5000)
    assert view.jobs() == [theirs, ours]
    qtbot.mouseClick(view.only, Qt.MouseButton.LeftButton, pos=view.only.rect().center())
    if not view.only.isChecked():  # some styles accept clicks only on the box
        view.only.click()
    assert view.jobs() == [ours]
    assert view.selected() == ours
    view.choose(theirs)
    assert view.jobs() == [theirs, ours]
    assert not view.only.isChecked()
