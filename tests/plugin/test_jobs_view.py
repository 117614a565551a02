"""The job list: queue, buttons, long histories, preview."""

import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from clicking import answer, click, question
from job_cases import new_job
from napari.utils.notifications import notification_manager
from pytestqt.qtbot import QtBot
from qtpy.QtWidgets import QDialog, QTableWidget

from napari_graphflow.evaluation.pictures import draw
from napari_graphflow.jobs.folder import chosen_case
from napari_graphflow.jobs.job import Job
from napari_graphflow.jobs.queue import start, submit, waiting
from napari_graphflow.jobs.status import Process, Status
from napari_graphflow.plugin.jobs.curves import POINTS, Curves
from napari_graphflow.plugin.jobs.widget import JobsWidget
from napari_graphflow.plugin.widgets.words import CHOICES
from napari_graphflow.system.events import Metric

RUNNING = """
import sys, time
from pathlib import Path
from napari_graphflow.system.events import Progress
from napari_graphflow.training import process
def events():
    for step in range(1, 100000):
        time.sleep(0.02)
        yield Progress(step=step, total=100000, eta_s=5.0)
sys.exit(process.run(Path(sys.argv[1]), events()))
"""


def running_job(dataset: Path) -> Job:
    job = new_job(dataset, "first")
    return start(job, [sys.executable, "-c", RUNNING, str(job.folder)], device="cpu")


def test_queued_jobs_are_moved_and_cancelled_by_clicks(
    view: JobsWidget, qtbot: QtBot, tmp_path: Path
) -> None:
    first = running_job(tmp_path)
    a, b = (submit(new_job(tmp_path, name)) for name in "ab")
    view.choose(b)
    assert view.status.text() == "Queued for the CPU (2 of 2)."
    assert not view.details.checkpoint.isVisible()
    click(qtbot, view.details.up)
    assert view.status.text() == "Moving …"
    assert not view.details.up.isEnabled()
    qtbot.waitUntil(view.details.up.isEnabled)
    assert waiting(first.folder.parent) == [b, a]
    assert view.status.text() == "Queued for the CPU (1 of 2)."
    click(qtbot, view.details.down)
    qtbot.waitUntil(view.details.up.isEnabled)
    assert waiting(first.folder.parent) == [a, b]
    click(qtbot, view.details.cancel)
    qtbot.waitUntil(lambda: b.status().state == "cancelled")
    qtbot.waitUntil(lambda: view.status.text() == "Cancelled.")
    assert not view.details.up.isVisible()


def test_the_checkpoint_button_requests_a_checkpoint(
    view: JobsWidget, qtbot: QtBot, tmp_path: Path
) -> None:
    job = running_job(tmp_path)
    view.choose(job)
    qtbot.waitUntil(lambda: job.status().state == "running", timeout=60_000)
    qtbot.waitUntil(view.details.checkpoint.isVisible)
    assert "On the CPU." in view.status.text()
    click(qtbot, view.details.checkpoint)
    assert job.requests() == {"checkpoint_now"}
    click(qtbot, view.details.settings)
    (dialog,) = view.findChildren(QDialog)
    table = dialog.findChild(QTableWidget)
    shown = {
        table.item(row, 0).text(): table.item(row, 1).text() for row in range(table.rowCount())
    }
    assert shown["name"] == "first"
    assert shown["device"] == "cpu"
    assert shown["precision of numbers"] in (*CHOICES.values(), "automatic")
    dialog.close()


def test_resume_is_requested_once_and_shown_as_pending(
    view: JobsWidget, qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A local job does not wait for a cluster that is slow to resume another job."""
    there, here = (new_job(tmp_path, name) for name in ("there", "here"))
    for job, engine in ((there, "ray"), (here, "")):
        with job.writing():
            job.write_status(Status(state="paused", process=Process(runner=engine)))
    answer, submitted = threading.Event(), []

    def submit_slowly(job: Job) -> None:
        if job == there:
            answer.wait(60)
        submitted.append(job)

    slow = SimpleNamespace(submit=submit_slowly, poll=Job.status)
    monkeypatch.setattr("napari_graphflow.plugin.jobs.requests.runner_of", lambda _: slow)
    view.choose(there)
    click(qtbot, view.details.pause)
    view.refresh()
    assert view.status.text() == "Resuming …"
    assert not view.details.pause.isEnabled()
    view.choose(here)
    click(qtbot, view.details.pause)
    qtbot.waitUntil(lambda: submitted == [here])
    qtbot.waitUntil(view.details.pause.isEnabled)
    view.choose(there)
    assert not view.details.pause.isEnabled()
    answer.set()
    qtbot.waitUntil(view.details.pause.isEnabled)
    assert view.status.text() == "Paused."
    assert submitted == [here, there]


ENDING = """
import sys
from pathlib import Path
from napari_graphflow.system.events import Phase
from napari_graphflow.training import process
def events():
    yield Phase(kind="training", name="training")
    BODY
sys.exit(process.run(Path(sys.argv[1]), events()))
"""


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("pass", "first is done."),
        ("open('/nowhere/case')", "first: /nowhere/case is missing."),
        ("import os; os.kill(os.getpid(), 9)", "first: The job was killed by the system"),
    ],
)
def test_a_notification_reports_the_end_of_a_job(
    view: JobsWidget, qtbot: QtBot, tmp_path: Path, body: str, message: str
) -> None:
    job = new_job(tmp_path, "first")
    start(job, [sys.executable, "-c", ENDING.replace("BODY", body), str(job.folder)], device="cpu")
    view.choose(job)
    notification_manager.records.clear()
    qtbot.waitUntil(lambda: bool(notification_manager.records), timeout=60_000)
    (record,) = notification_manager.records
    assert str(record.message).startswith(message)


def test_the_preview_shows_the_chosen_case(view: JobsWidget, qtbot: QtBot, tmp_path: Path) -> None:
    job = new_job(tmp_path, "first")
    (job.folder / "cases.json").write_text(json.dumps({"validation": ["one", "two"]}))
    view.choose(job)
    assert not view.details.preview.isVisible()
    masks = np.zeros((2, 20, 20), np.uint8)
    masks[:, 5:10, 5:10] = 1
    draw(masks[0].astype(float), *masks).save(job.preview)
    view.refresh()
    assert view.details.preview.isVisible()
    assert view.details.preview.image.pixmap().width() >= 192
    assert view.details.preview.case.currentText() == "one"
    view.details.preview.case.setCurrentText("two")
    view.details.preview.case.activated.emit(1)
    assert chosen_case(job.folder, ["one", "two"]) == "two"


def test_a_long_history_does_not_block_the_window(
    view: JobsWidget, qtbot: QtBot, tmp_path: Path
) -> None:
    job = new_job(tmp_path, "first")
    lines = (
        json.dumps(
            {"t": 1.0, "event": "metric", "name": f"loss/{step % 5}", "split": "train",
             "step": step, "value": 1.0 + step}
        )
        for step in range(100_000)
    )  # fmt: skip
    job.events_file.write_text("\n".join(lines) + "\n")
    view.choose(job)
    slowest, end = 0.0, time.monotonic() + 120
    while view.details.curves.series("loss/4")[0][-1:] < [99_000.0]:
        before = time.thread_time()  # CPU time of this thread, because the computer may be busy
        view.refresh()
        slowest = max(slowest, time.thread_time() - before)
        qtbot.wait(5)
        assert time.monotonic() < end
    steps, values = view.details.curves.series("loss/4")
    assert len(steps) <= POINTS
    assert steps[0] == 4
    assert [value - step for step, value in zip(steps, values, strict=True)] == [1.0] * len(steps)
    assert slowest < 0.1, f"one refresh took {slowest:.3f} s"


def test_repeated_steps_of_a_resumed_job_are_drawn_once(qtbot: QtBot) -> None:
    curves = Curves()
    qtbot.addWidget(curves)

    def add(steps: range) -> Callable[[], None]:
        return curves.add(Metric(name="loss/total", step=step, value=1.0 + step) for step in steps)

    add(range(5 * POINTS))
    add(range(4 * POINTS, 6 * POINTS))
    steps, values = curves.series("loss/total")
    assert steps == sorted(set(steps))
    assert len(steps) <= POINTS
    assert steps[-1] > 5.9 * POINTS
    assert values == [1.0 + step for step in steps]


def test_markup_in_the_name_of_a_class_is_text_in_the_legend(qtbot: QtBot) -> None:
    curves = Curves()
    qtbot.addWidget(curves)
    name = "<img src=x>liver"
    curves.add([Metric(name=f"dice/{name}", step=1, value=0.5, split="val")])
    assert "<img" not in curves._legend.text()
    assert "&lt;img src=x&gt;liver" in curves._legend.text()
    assert name in curves.legend()


def test_a_job_is_removed_after_a_question_that_names_it(
    view: JobsWidget, qtbot: QtBot, tmp_path: Path
) -> None:
    kept, failed = (
        new_job(tmp_path, "kept", Status(state="failed")),
        new_job(tmp_path, "broken", Status(state="failed")),
    )
    view.choose(failed)
    click(qtbot, view.details.remove)
    assert "broken" in answer(qtbot, "Keep")
    assert failed.folder.is_dir()
    click(qtbot, view.details.remove)
    answer(qtbot, "Remove")
    qtbot.waitUntil(lambda: not failed.folder.exists())
    qtbot.waitUntil(lambda: view.jobs() == [kept])


def test_a_job_from_elsewhere_is_resumed_only_after_a_question(
    view: JobsWidget, qtbot: QtBot, tmp_path: Path
) -> None:
    job = new_job(tmp_path / "private", "liver", Status(state="paused"))
    job.spec_file.write_text(job.spec_file.read_text() + "\n")  # not as it was created here
    view.refresh()
    view.choose(job)
    click(qtbot, view.details.pause)
    qtbot.waitUntil(lambda: question() is not None)
    assert f"reads {tmp_path / 'private'}" in question().text()
    answer(qtbot, "Cancel")
    assert job.status().state == "paused"
    click(qtbot, view.details.pause)
    qtbot.waitUntil(lambda: question() is not None)
    answer(qtbot, "Trust it")
    qtbot.waitUntil(lambda: job.status().state != "paused")
