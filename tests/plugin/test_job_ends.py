"""Jobs that end while *Jobs* is closed are announced once."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from job_cases import new_job, put
from napari import Viewer
from napari.utils.notifications import notification_manager
from pytestqt.qtbot import QtBot

from napari_graphflow.jobs.status import Process, Status
from napari_graphflow.plugin.jobs.announcer import Announcer
from napari_graphflow.plugin.jobs.widget import JobsWidget
from napari_graphflow.system.failures import Failure

BROKE = Failure(code="ended", text="It broke.")
FIXABLE = Failure(code="ended", text="It broke.", remedy="Fix it.")

SEEN = "jobs-seen.json"
OpenDock = Callable[[], list[str]]


@pytest.fixture
def open_dock(viewer: Viewer) -> Iterator[OpenDock]:
    """Open and close the dock; return its notifications."""

    def opened_and_closed() -> list[str]:
        notification_manager.records.clear()
        _, widget = viewer.window.add_plugin_dock_widget("napari-graphflow", "Jobs")
        assert isinstance(widget, JobsWidget)
        widget.refresh()
        viewer.window.remove_dock_widget("all")
        return [str(one.message) for one in notification_manager.records]

    yield opened_and_closed
    viewer.window.remove_dock_widget("all")


def test_jobs_that_ended_while_closed_are_announced_once(
    open_dock: OpenDock, tmp_path: Path
) -> None:
    old = new_job(tmp_path, "old", Status(state="done", process=Process(launched=1.0)))
    first, second = (
        new_job(tmp_path, name, Status(state="paused")) for name in ("first", "second")
    )
    assert open_dock() == [], "jobs that ended before are not announced"
    put(first, Status(state="done", process=Process(launched=2.0)))
    put(second, Status(state="failed", failure=BROKE, process=Process(launched=3.0)))
    third = new_job(tmp_path, "third", Status(state="done", process=Process(launched=4.0)))
    assert old.status().state == "done"
    assert open_dock() == ["third is done, second failed and first is done."]
    assert open_dock() == []
    assert third.folder.is_dir()


def test_a_job_that_ends_after_the_dock_was_closed_is_announced_meanwhile(
    viewer: Viewer, open_dock: OpenDock, qtbot: QtBot, tmp_path: Path
) -> None:
    assert open_dock() == []
    job = new_job(tmp_path, "first", Status(state="paused"))
    _, dock = viewer.window.add_plugin_dock_widget("napari-graphflow", "Jobs")
    window = dock.window()
    qtbot.waitUntil(lambda: window.findChild(Announcer) is not None)
    announcer = window.findChild(Announcer)
    viewer.window.remove_dock_widget("all")
    put(job, Status(state="done", process=Process(launched=2.0)))
    notification_manager.records.clear()
    for _ in range(2):
        announcer.look()
    assert [str(one.message) for one in notification_manager.records] == ["first is done."]
    assert open_dock() == []


def test_each_failure_of_a_resumed_job_is_announced(open_dock: OpenDock, tmp_path: Path) -> None:
    job = new_job(
        tmp_path,
        "first",
        Status(state="running", process=Process(launched=1.0, host="elsewhere", heartbeat=4e9)),
    )
    assert open_dock() == []
    put(job, Status(state="failed", failure=FIXABLE, process=Process(launched=1.0)))
    assert open_dock() == ["first: It broke. Fix it."]
    put(job, Status(state="queued", process=Process(rank=1.0)))
    assert open_dock() == []
    worse = Failure(code="ended", text="It broke again.")
    put(job, Status(state="failed", failure=worse, process=Process(launched=2.0)))
    assert open_dock() == ["first: It broke again."]
    assert open_dock() == []


def test_an_announcement_of_many_jobs_is_truncated(open_dock: OpenDock, tmp_path: Path) -> None:
    assert open_dock() == []
    for number in range(7):
        new_job(tmp_path, f"job {number}", Status(state="done", process=Process(launched=1.0)))
    (message,) = open_dock()
    assert message.startswith("job 6 is done, job 5 is done, ")
    assert message.endswith(" and 3 more have ended.")


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"a": 1}', b"\xff\xfe\x00", b"[" * 9999])
def test_a_damaged_file_of_seen_states_is_replaced(
    open_dock: OpenDock, home: Path, tmp_path: Path, content: bytes
) -> None:
    job = new_job(tmp_path, "first", Status(state="done", process=Process(launched=1.0)))
    (home / SEEN).write_bytes(content)
    assert open_dock() == []
    assert json.loads((home / SEEN).read_text()) == {job.name: "done 1.0"}


def test_an_unwritable_file_of_seen_states_is_ignored(
    open_dock: OpenDock, home: Path, tmp_path: Path
) -> None:
    (home / SEEN).mkdir()
    new_job(tmp_path, "first", Status(state="done", process=Process(launched=1.0)))
    assert open_dock() == []
    assert open_dock() == []
    assert not list(home.glob(".*.part"))
