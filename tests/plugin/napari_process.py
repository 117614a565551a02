"""A napari process for tests of jobs that outlive it: ``python napari_process.py COMMAND``.

``start DATASET TEACHER STEPS`` starts a distillation by a click and then kills itself;
``find`` waits for progress of that job, cancels it by a click, and prints its observations as JSON;
``leave`` closes napari while the job runs, and prints how long that took;
``student`` waits until the job is done, and looks for its student in the list of models.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import napari
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

from napari_graphflow.plugin.distil.widget import DistilWidget
from napari_graphflow.plugin.jobs.widget import JobsWidget
from napari_graphflow.plugin.segment.widget import SegmentWidget
from napari_graphflow.plugin.widgets.docks import find_dock, show_dock

TIMEOUT_S = 120


def wait(until: Callable[[], bool]) -> None:
    end = time.monotonic() + TIMEOUT_S
    while not until():
        assert time.monotonic() < end, "timed out"
        QTest.qWait(50)


def start(widget: DistilWidget, dataset: Path, teacher: Path, steps: int) -> None:
    widget.dataset.choose(dataset)
    wait(widget.dataset.checked)
    widget.teacher.choose(teacher)
    widget.network.setCurrentIndex(widget.network.findData("enet"))
    form = widget.forms["distill"]
    form.put_fields(steps=steps, validate_every=steps, device="cpu", width="8")
    form.put_fields(patch_size=(16, 16, 16), teacher_min_dice=0.0)
    widget.method_forms["graph_flow"].put_fields(paraphraser_steps=2)
    QTest.mouseClick(widget.button, Qt.MouseButton.LeftButton)
    wait(lambda: find_dock(widget.viewer, "Jobs") is not None)
    jobs = find_dock(widget.viewer, "Jobs")
    wait(lambda: jobs.selected() is not None)
    wait(lambda: jobs.selected().status().run.step > 3)
    sys.stdout.write(json.dumps({"job": str(jobs.selected().folder)}) + "\n")
    sys.stdout.flush()
    os.kill(os.getpid(), signal.SIGKILL)


def find(jobs: JobsWidget) -> None:
    wait(lambda: jobs.selected() is not None)
    job = jobs.selected()
    before, step = job.status().state, job.status().run.step
    wait(lambda: job.status().run.step > step)
    wait(lambda: "left" in jobs.details.progress.bar.format())
    seen = {"job": str(job.folder), "state": before, "bar": jobs.details.progress.bar.format()}
    QTest.mouseClick(jobs.details.cancel, Qt.MouseButton.LeftButton)
    wait(lambda: jobs.status.text().startswith("Cancelled"))
    sys.stdout.write(json.dumps(seen | {"after": job.status().state}) + "\n")


def leave(viewer: napari.Viewer, jobs: JobsWidget) -> None:
    wait(lambda: jobs.selected() is not None)
    state, before = jobs.selected().status().state, time.monotonic()
    viewer.close()
    sys.stdout.write(json.dumps({"state": state, "seconds": time.monotonic() - before}) + "\n")


def student(viewer: napari.Viewer, jobs: JobsWidget) -> None:
    """List the models before and after the job is done."""
    _, segment = viewer.window.add_plugin_dock_widget("napari-graphflow", "Segment")
    wait(lambda: jobs.selected() is not None)
    job = jobs.selected()
    seen = {"job": str(job.folder), "state": job.status().state, "before": models(segment)}
    wait(lambda: "Done." in jobs.status.text())
    segment.model.combo.showPopup()
    segment.model.combo.hidePopup()
    seen["listed"] = models(segment)
    QTest.mouseClick(jobs.details.use, Qt.MouseButton.LeftButton)
    seen["used"] = str(segment.model.folder())
    sys.stdout.write(json.dumps(seen) + "\n")


def models(segment: SegmentWidget) -> list[str]:
    combo = segment.model.combo
    return [folder for index in range(combo.count()) if (folder := combo.itemData(index))]


if __name__ == "__main__":
    viewer = napari.Viewer(show=True)
    if sys.argv[1] == "start":
        start(show_dock(viewer, "Distil"), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
    elif sys.argv[1] == "find":
        find(show_dock(viewer, "Jobs"))
        viewer.close()
    elif sys.argv[1] == "leave":
        leave(viewer, show_dock(viewer, "Jobs"))
    else:
        student(viewer, show_dock(viewer, "Jobs"))
        viewer.close()
