"""The job list while other processes change jobs."""

import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from job_cases import new_job, put
from napari import Viewer
from napari.utils.notifications import notification_manager
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt

from napari_graphflow.errors import UserError
from napari_graphflow.jobs.job import Job
from napari_graphflow.jobs.status import Process, RunReport, Status
from napari_graphflow.plugin.jobs.watch import STATS, Watch
from napari_graphflow.plugin.jobs.widget import JobsWidget
from napari_graphflow.plugin.widgets.docks import show_dock

EXIT_WHILE_STARTING = """
import sys, time
from pathlib import Path
import napari
from qtpy.QtCore import QTimer

viewer = napari.Viewer(show=True)
_, distil = viewer.window.add_plugin_dock_widget("napari-graphflow", "Distil")

def begin():
    time.sleep(float(sys.argv[1]))
    Path(sys.argv[2]).touch()

distil._starts.run(begin, print, print)
QTimer.singleShot(100, viewer.close)
napari.run()
"""


def row_of(view: JobsWidget, job: Job) -> str:
    return view.list.row_of(job).text


def contains(text: Callable[[], str], part: str) -> bool:
    return part in text()


def notifications() -> list[str]:
    return [str(one.message) for one in notification_manager.records]


@pytest.mark.parametrize("state", ["paused", "created"])
def test_a_job_finished_by_another_process_is_announced(
    view: JobsWidget, qtbot: QtBot, tmp_path: Path, state: str
) -> None:
    job = new_job(tmp_path, "theirs", Status(state=state))
    view.choose(job)
    view.choose(new_job(tmp_path, "ours"))
    notification_manager.records.clear()
    put(job, Status(state="done", run=RunReport(best=0.912), process=Process(launched=1.0)))
    qtbot.waitUntil(lambda: "0.912" in row_of(view, job))
    assert notifications() == ["theirs is done."]


def test_a_temporarily_unreadable_job_is_not_announced_as_ended(
    view: JobsWidget, qtbot: QtBot, tmp_path: Path
) -> None:
    job = new_job(
        tmp_path,
        "first",
        Status(state="done", run=RunReport(best=0.912), process=Process(launched=1.0)),
    )
    view.choose(job)
    view.choose(new_job(tmp_path, "second"))
    notification_manager.records.clear()
    content = job.status_file.read_text()
    job.status_file.write_text("{")
    qtbot.waitUntil(lambda: "0.912" not in row_of(view, job))
    job.status_file.write_text(content)
    qtbot.waitUntil(lambda: "0.912" in row_of(view, job))
    assert notifications() == []


def test_a_refresh_of_many_jobs_reads_only_the_changed_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [new_job(tmp_path, str(n), Status(state="paused")) for n in range(5 * STATS)]
    watch = Watch()
    assert watch.refresh_jobs()
    read: list[Job] = []
    status = Job.status
    monkeypatch.setattr(Job, "status", lambda job: read.append(job) or status(job))
    put(jobs[0], Status(state="done"))
    slowest, seen = 0.0, {}
    for _ in range(5):
        before = time.thread_time()
        seen |= watch.refresh_statuses([])
        slowest = max(slowest, time.thread_time() - before)
    assert list(seen) == [jobs[0]]
    assert read == [jobs[0]]
    assert slowest < 0.05


def test_a_resume_request_is_obeyed_while_no_job_is_queued(
    view: JobsWidget, qtbot: QtBot, tmp_path: Path
) -> None:
    job = new_job(tmp_path, "first", Status(state="paused"))
    view.choose(job)
    job.request_file("resume").touch()
    qtbot.waitUntil(lambda: job.status().state != "paused")


def test_moving_and_starting_jobs_do_not_block_the_window(
    viewer: Viewer, view: JobsWidget, qtbot: QtBot, tiny_dataset: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Drivers and the lock of the queue may take seconds; errors are shown."""

    def slowly(*_: object) -> None:
        time.sleep(1.5)
        raise UserError("The queue of jobs is locked by another process.", "Try again.")

    monkeypatch.setattr("napari_graphflow.plugin.jobs.requests.move", slowly)
    monkeypatch.setattr("napari_graphflow.plugin.distil.widget._submit", slowly)
    job = new_job(tiny_dataset, "first", Status(state="queued", process=Process(rank=1.0)))
    view.choose(job)
    widget = show_dock(viewer, "Distil")
    widget.dataset.choose(tiny_dataset)
    qtbot.waitUntil(widget.dataset.checked, timeout=60_000)
    for button in (widget.button, view.details.up, view.details.down):
        name = "Distil" if button is widget.button else "Jobs"
        dock = show_dock(viewer, name)
        qtbot.waitUntil(button.isEnabled)
        dock.status.info("")
        before = time.perf_counter()
        qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
        assert time.perf_counter() - before < 1
        assert not button.isEnabled()
        status = dock.status.text
        qtbot.waitUntil(partial(contains, status, "is locked by another"))
        assert button.isEnabled()


@pytest.mark.parametrize(("seconds", "started"), [(1, True), (100, False)])
def test_exit_waits_a_limited_time_for_a_job_that_is_being_started(
    tmp_path: Path, seconds: int, started: bool
) -> None:
    command = [sys.executable, "-c", EXIT_WHILE_STARTING, str(seconds), str(tmp_path / "started")]
    run = subprocess.run(command, capture_output=True, text=True, timeout=70, check=False)
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "started").exists() == started
