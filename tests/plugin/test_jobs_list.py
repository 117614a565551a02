"""The list of jobs: what its rows draw, names, and the jobs of one dataset."""

import time
from pathlib import Path

import numpy as np
from clicking import click
from job_cases import new_job, put
from napari import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtGui import QColor, QImage
from qtpy.QtWidgets import QInputDialog

from napari_graphflow.jobs.job import Job
from napari_graphflow.jobs.status import Process, RunReport, Status
from napari_graphflow.plugin.jobs.list import JobsList
from napari_graphflow.plugin.jobs.widget import JobsWidget
from napari_graphflow.plugin.widgets.palette import DARK, LIGHT

LONG = "Mobile U-Net from a teacher with a very long name"


def running(step: int) -> Status:
    """A job on another computer with a recent heartbeat."""
    return Status(
        state="running",
        run=RunReport(step=step, total=100, eta_s=7512.0, best=0.8432, phase="training"),
        process=Process(launched=1.0, device="cuda:0", heartbeat=time.time(), host="elsewhere"),
    )


def pixels(listing: JobsList, job: Job, colour: str) -> int:
    """Count the pixels of a row that have a colour."""
    cell = listing.visualItemRect(listing.item(listing.jobs.index(job)))
    image = listing.viewport().grab(cell).toImage().convertToFormat(QImage.Format.Format_RGB32)
    wanted = QColor(colour).rgb()
    points = np.ndindex(image.width(), image.height())
    return sum(image.pixel(int(x), int(y)) == wanted for x, y in points)


def test_rows_have_a_bar_fit_a_narrow_dock_and_follow_the_theme(
    view: JobsWidget, viewer: Viewer, qtbot: QtBot, tmp_path: Path
) -> None:
    first, second = new_job(tmp_path, LONG, running(20)), new_job(tmp_path, "second", running(90))
    done = new_job(tmp_path, "third", Status(state="done"))
    view.choose(done)
    listing = view.list
    assert listing.row_of(first).title == LONG
    assert listing.horizontalScrollBar().maximum() == 0

    def bar(job: Job, colour: str) -> int:
        return pixels(listing, job, colour)

    qtbot.waitUntil(lambda: bar(second, DARK.active) > 2 * bar(first, DARK.active) > 0)
    viewer.theme = "light"
    qtbot.waitUntil(lambda: bar(second, LIGHT.active) > 2 * bar(first, LIGHT.active) > 0)
    for job in (first, second):
        put(job, Status(state="done"))  # nobody answers the request to cancel them


def test_a_job_is_renamed_by_clicks(view: JobsWidget, qtbot: QtBot, tmp_path: Path) -> None:
    job = new_job(tmp_path, "first", Status(state="paused"))
    spec = job.spec_file.read_bytes()
    view.choose(job)
    click(qtbot, view.details.rename)
    (dialog,) = view.findChildren(QInputDialog)
    assert dialog.textValue() == "first"
    dialog.setTextValue("  liver,\nsecond try ")
    dialog.accept()
    assert view.list.row_of(job).title == "liver, second try"
    assert Job(job.folder).title == "liver, second try"
    assert job.spec_file.read_bytes() == spec, "the settings of the job were changed"


def test_only_jobs_of_the_chosen_dataset_are_listed(
    view: JobsWidget, qtbot: QtBot, tmp_path: Path
) -> None:
    ours = new_job(tmp_path / "ours", "ours", Status(state="paused"))
    view.choose(ours)
    assert not view.dataset.isVisible(), "there is only one dataset"
    theirs = new_job(tmp_path / "theirs", "theirs", Status(state="paused"))
    view.choose(theirs)
    assert view.dataset.isVisible()
    assert view.jobs() == [theirs, ours]
    view.dataset.setCurrentIndex(view.dataset.findText("ours"))
    view.dataset.activated.emit(view.dataset.currentIndex())
    assert view.jobs() == [ours]
    assert view.selected() == ours
    view.choose(theirs)
    assert view.jobs() == [theirs, ours]
    assert view.dataset.currentText() == "All datasets"
