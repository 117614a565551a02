"""The first tutorial from the copy of the sample to its report, by the buttons that it shows."""

from collections.abc import Callable
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
from clicking import click, in_view
from napari import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtGui import QDesktopServices

from napari_graphflow.jobs.job import Job
from napari_graphflow.jobs.store import list_jobs
from napari_graphflow.plugin.tutorial.steps import TUTORIALS
from napari_graphflow.plugin.viewer.preferences import OPENING_MS
from napari_graphflow.plugin.widgets.docks import find_dock, show_dock

MINUTES = 60_000


class Walk:
    """Somebody who does what the dock Tutorial says."""

    def __init__(self, viewer: Viewer, qtbot: QtBot) -> None:
        self.viewer, self.qtbot = viewer, qtbot
        self.tutorial = show_dock(viewer, "Tutorial")

    def until(self, condition: Callable[[], bool], minutes: float = 5) -> None:
        self.qtbot.waitUntil(condition, timeout=int(minutes * MINUTES))

    def step(self, title: str) -> tuple[Any, Any]:
        """Go to the next step with *Show me*; return its dock and the button that is shown."""
        while self.tutorial.heading.text() != title:
            self.tutorial.parent().raise_()
            self.until(lambda: in_view(self.tutorial.forward))
            click(self.qtbot, self.tutorial.forward)
        click(self.qtbot, self.tutorial.show_me)
        dock = find_dock(self.viewer, self.tutorial.step.dock)
        target = attrgetter(self.tutorial.step.target)(dock)
        self.until(lambda: in_view(target))
        return dock, target

    def job_of(self, button: Any, minutes: float = 10) -> Job:
        """Click a button that starts a job, and wait until the job is done."""
        before = list_jobs()
        self.until(button.isEnabled)
        click(self.qtbot, button)
        self.until(lambda: len(list_jobs()) > len(before))
        (job,) = set(list_jobs()) - set(before)
        self.until(lambda: job.status().state in ("done", "failed", "lost"), minutes)
        assert job.status().state == "done", job.status().failure
        return job


def choose_models(compare: Any, a: Job, b: Job) -> None:
    for combo, job in ((compare.a, a), (compare.b, b)):
        combo.refresh()
        combo.choose_model(job.model)


@pytest.mark.slow
def test_the_first_tutorial_ends_in_a_report(
    viewer: Viewer, qtbot: QtBot, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(QDesktopServices, "openUrl", lambda url: opened.append(url.toLocalFile()))
    walk = Walk(viewer, qtbot)
    walk.tutorial.tutorial.setCurrentIndex(list(TUTORIALS).index("scans"))
    click(qtbot, walk.tutorial.copy)
    copied = home / "tutorial" / "abdomen"

    dataset, _ = walk.step("Open the dataset")
    dataset.dataset.choose(copied)
    walk.until(dataset.next.isEnabled)
    _, following = walk.step("Open the next case")
    click(qtbot, following)
    walk.until(lambda: len(viewer.layers) > 1)

    distil, start = walk.step("Train a teacher")
    distil.dataset.choose(copied)
    walk.until(distil.dataset.checked)
    short = {"steps": 2, "validate_every": 2, "patch_size": (16, 32, 32), "device": "cpu"}
    distil.forms["train"].put_fields(**short, width=8)
    teacher = walk.job_of(start)
    walk.step("Watch the jobs")
    walk.step("Distil a student")
    assert distil.teacher.choose(teacher.model)
    distil.forms["distill"].put_fields(**short, teacher_min_dice=0)
    student = walk.job_of(distil.button)

    dataset, propose = walk.step("Let the model propose masks")
    assert dataset.tabs.proposals.model.choose(student.model)
    walk.job_of(propose)
    walk.step("Learn from what you corrected")

    compare, button = walk.step("Compare teacher and student")
    choose_models(compare, teacher, student)
    walk.until(button.isEnabled)
    click(qtbot, button)
    walk.until(lambda: compare.table.rowCount() > 0)
    _, whole = walk.step("Write the report")
    compare.dataset.dataset.choose(copied)
    job = walk.job_of(whole)
    walk.until(compare.dataset.report.isVisible)
    click(qtbot, compare.dataset.report)
    assert opened == [str(job.report)]
    assert "Student" in job.report.read_text("utf-8")
    walk.step("Segment a new scan")
    assert not walk.tutorial.forward.isEnabled()
    dataset.keys.stop()
    qtbot.wait(2 * OPENING_MS)  # the keys of the preferences are written on buttons until then
