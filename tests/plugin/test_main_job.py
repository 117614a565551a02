"""The main workflow: segment with two models, compare, distil, survive a crash."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from napari import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt

from napari_graphflow.jobs.paths import JobPaths
from napari_graphflow.jobs.store import list_jobs

SLOW_MS = 300_000
NAPARI = [sys.executable, Path(__file__).with_name("napari_process.py")]


@pytest.fixture
def no_job_is_left() -> Iterator[None]:
    yield
    for job in list_jobs():
        if job.status().active:
            job.cancel(timeout=2)


def test_two_models_segment_an_image_and_are_compared_by_clicks(
    viewer: Viewer, qtbot: QtBot, write_scan, make_model, tmp_path: Path
) -> None:
    teacher = make_model("teacher", role="teacher", network="unet", seed=1)
    student = make_model("student", seed=2)
    scan = write_scan()
    viewer.open(str(scan), plugin="napari-graphflow")
    _, segment = viewer.window.add_plugin_dock_widget("napari-graphflow", "Segment")
    for folder in (teacher, student):
        segment.model.choose(folder)
        qtbot.mouseClick(segment.button, Qt.MouseButton.LeftButton)
        qtbot.waitUntil(lambda: not segment.running, timeout=SLOW_MS)
    segment.save_mask(tmp_path / "mask.nii.gz")
    image, mask = sitk.ReadImage(str(scan)), sitk.ReadImage(str(tmp_path / "mask.nii.gz"))
    assert mask.GetSize() == image.GetSize()
    np.testing.assert_allclose(mask.GetOrigin(), image.GetOrigin(), atol=1e-4)
    np.testing.assert_allclose(mask.GetSpacing(), image.GetSpacing(), atol=1e-5)
    np.testing.assert_allclose(mask.GetDirection(), image.GetDirection(), atol=1e-5)

    _, compare = viewer.window.add_plugin_dock_widget("napari-graphflow", "Compare")
    qtbot.mouseClick(compare.button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: compare.table.rowCount() == 4, timeout=SLOW_MS)
    assert "voxels differ" in compare.status.text()
    # The models that made the masks can be compared on a dataset without choosing them again.
    sides = {compare.dataset.a.path(), compare.dataset.b.path()}
    assert sides == {teacher, student}
    viewer.window.remove_dock_widget("all")


@pytest.mark.usefixtures("no_job_is_left")
def test_a_distillation_continues_after_napari_is_killed(tiny_dataset: Path, make_model) -> None:
    teacher = make_model("teacher", role="teacher", network="unet")
    started = crash(tiny_dataset, teacher, 100_000)
    left = restart("leave")
    assert left["state"] == "running"
    assert left["seconds"] < 5, "closing napari must not wait for the job"
    found = restart("find")
    assert found["job"] == started["job"]
    assert (found["state"], found["after"]) == ("running", "cancelled")
    assert "left" in found["bar"]


@pytest.mark.slow
@pytest.mark.usefixtures("no_job_is_left")
def test_a_student_finished_after_napari_was_killed_is_listed(
    tiny_dataset: Path, make_model
) -> None:
    teacher = make_model("teacher", role="teacher", network="unet")
    started = crash(tiny_dataset, teacher, 400)
    found = restart("student")
    assert (found["job"], found["state"]) == (started["job"], "running")
    student = str(JobPaths(Path(started["job"])).model)
    assert student not in found["before"]
    assert student in found["listed"]
    assert found["used"] == student


def crash(dataset: Path, teacher: Path, steps: int) -> dict[str, str]:
    """Start a distillation in a napari process that is then killed."""
    command = [*NAPARI, "start", dataset, teacher, str(steps)]
    crashed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    assert crashed.returncode == -9
    started: dict[str, str] = json.loads(crashed.stdout.splitlines()[-1])
    return started


def restart(what: str) -> dict[str, Any]:
    """Run another napari process and return what it reports."""
    restarted = subprocess.run([*NAPARI, what], stdout=subprocess.PIPE, text=True, check=True)
    seen: dict[str, Any] = json.loads(restarted.stdout.splitlines()[-1])
    return seen
