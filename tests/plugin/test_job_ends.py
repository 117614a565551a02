"""Jobs that end while no window looks are announced once at the next opening."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from job_cases import new_job, put
from napari import Viewer
from napari.utils.notifications import notification_manager

from napari_graphflow.jobs.status import Process, Status
from napari_graphflow.plugin.distil.widget import DistilWidget
from napari_graphflow.system.failures import Failure

BROKE = Failure(code="ended", text="It broke.")
MENDABLE = Failure(code="ended", text="It broke.", remedy="Mend it.")

NOTE = "jobs-seen.json"
Look = Callable[[], list[str]]


@pytest.fixture
def look(viewer: Viewer) -> Iterator[Look]:
    """Open the widget, and close it; what it announced meanwhile."""

    def opened_and_closed() -> list[str]:
        notification_manager.records.clear()
        _, widget = viewer.window.add_plugin_dock_widget("napari-graphflow", "Distil")
        assert isinstance(widget, DistilWidget)
        widget.jobs.refresh()
        viewer.window.remove_dock_widget("all")
        return [str(one.message) for one in notification_manager.records]

    yield opened_and_closed
    viewer.window.remove_dock_widget("all")


def test_what_ended_meanwhile_is_told_once_in_one_sentence(look: Look, tmp_path: Path) -> None:
    old = new_job(tmp_path, "old", Status(state="done", process=Process(launched=1.0)))
    first, second = (
        new_job(tmp_path, name, Status(state="paused")) for name in ("first", "second")
    )
    assert look() == [], "the jobs of former years are no news"
    put(first, Status(state="done", process=Process(launched=2.0)))
    put(second, Status(state="failed", failure=BROKE, process=Process(launched=3.0)))
    third = new_job(tmp_path, "third", Status(state="done", process=Process(launched=4.0)))
    assert old.status().state == "done"
    assert look() == ["third is done, second failed and first is done."]
    assert look() == []
    assert third.folder.is_dir()


def test_one_end_is_told_as_ever(look: Look, tmp_path: Path) -> None:
    job = new_job(
        tmp_path,
        "first",
        Status(state="running", process=Process(launched=1.0, host="elsewhere", heartbeat=4e9)),
    )
    assert look() == []
    put(job, Status(state="failed", failure=MENDABLE, process=Process(launched=1.0)))
    assert look() == ["first: It broke. Mend it."]
    put(job, Status(state="queued", process=Process(rank=1.0)))
    assert look() == []
    worse = Failure(code="ended", text="It broke again.")
    put(job, Status(state="failed", failure=worse, process=Process(launched=2.0)))
    assert look() == ["first: It broke again."]
    assert look() == []


def test_many_ends_are_not_all_named(look: Look, tmp_path: Path) -> None:
    assert look() == []
    for number in range(7):
        new_job(tmp_path, f"job {number}", Status(state="done", process=Process(launched=1.0)))
    (told,) = look()
    assert told.startswith("job 6 is done, job 5 is done, ")
    assert told.endswith(" and 3 more have ended.")


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"a": 1}', b"\xff\xfe\x00", b"[" * 9999])
def test_a_damaged_note_is_made_anew(
    look: Look, home: Path, tmp_path: Path, content: bytes
) -> None:
    job = new_job(tmp_path, "first", Status(state="done", process=Process(launched=1.0)))
    (home / NOTE).write_bytes(content)
    assert look() == []
    assert json.loads((home / NOTE).read_text()) == {job.name: "done 1.0"}


def test_a_note_that_cannot_be_written_is_done_without(
    look: Look, home: Path, tmp_path: Path
) -> None:
    (home / NOTE).mkdir()
    new_job(tmp_path, "first", Status(state="done", process=Process(launched=1.0)))
    assert look() == []
    assert look() == []
    assert not list(home.glob(".part-*"))
