"""*Distil* in a real window with real jobs."""

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from clicking import click
from napari import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt, QTimer
from qtpy.QtGui import QGuiApplication
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QComboBox
from superqt import QCollapsible

from napari_graphflow.config.methods import METHODS, EMKDOptions, LogitsOptions
from napari_graphflow.config.recommended import RECOMMENDED, recommended_for, warmup_for
from napari_graphflow.config.run import PRESETS, DistillationConfig
from napari_graphflow.dataset.cases import Dataset
from napari_graphflow.jobs import queue
from napari_graphflow.jobs.job import Job
from napari_graphflow.jobs.store import create, list_jobs
from napari_graphflow.plugin.distil.presenter import command
from napari_graphflow.plugin.distil.widget import DistilWidget
from napari_graphflow.plugin.jobs.widget import JobsWidget
from napari_graphflow.plugin.widgets.docks import find_dock, show_dock
from napari_graphflow.runners import RunnerName

SLOW_MS = 300_000
AddDistil = Callable[[], DistilWidget]


@pytest.fixture
def add_distil(viewer: Viewer) -> Iterator[AddDistil]:
    def add() -> DistilWidget:
        dock, widget = viewer.window.add_plugin_dock_widget("napari-graphflow", "Distil")
        dock.show()  # a second dock of the same name stays hidden
        return widget

    yield add
    viewer.window.remove_dock_widget("all")
    for job in list_jobs():
        if job.status().active:
            job.cancel(timeout=2)


def choose(qtbot: QtBot, widget: DistilWidget, dataset: Path) -> None:
    widget.dataset.choose(dataset)
    qtbot.waitUntil(widget.dataset.checked, timeout=SLOW_MS)


def pick(combo: QComboBox, value: str) -> None:
    """Choose an entry of a list, as a user does."""
    combo.setCurrentIndex(combo.findData(value))
    combo.activated.emit(combo.currentIndex())


def start(qtbot: QtBot, widget: DistilWidget) -> tuple[JobsWidget, Job]:
    """Start a job; return the dock that shows it then."""
    before = list_jobs()
    show_dock(widget.viewer, "Distil")
    click(qtbot, widget.button)
    assert not widget.button.isEnabled()
    qtbot.waitUntil(lambda: len(list_jobs()) > len(before))
    qtbot.waitUntil(widget.button.isEnabled)
    assert widget.status.text().startswith("✓ Job started")
    (job,) = set(list_jobs()) - set(before)
    jobs = find_dock(widget.viewer, "Jobs")
    assert jobs.selected() == job
    qtbot.waitUntil(jobs.isVisible)
    return jobs, job


def short(widget: DistilWidget, **values: object) -> None:
    """Enter a short run under Advanced; its teacher has learned too little to be checked."""
    unchecked = {"teacher_min_dice": "0"} if widget.kind == "distill" else {}
    widget.forms[widget.kind].put_fields(
        **(
            {"steps": 4, "validate_every": 2, "patch_size": (16, 16, 16), "device": "cpu"}
            | unchecked
            | values
        )
    )


def test_an_empty_dock_asks_for_a_dataset(add_distil: AddDistil) -> None:
    widget = add_distil()
    assert not widget.button.isEnabled()
    assert "Choose a dataset." in widget.status.text()
    assert widget.button.text().startswith("Start training the teacher")


def test_choosing_a_dataset_counts_and_checks_its_cases(
    add_distil: AddDistil, qtbot: QtBot, tiny_dataset: Path
) -> None:
    widget = add_distil()
    choose(qtbot, widget, tiny_dataset)
    assert widget.dataset.counts.text().startswith("2 labelled · 3 unlabelled · ")
    assert widget.dataset.findings_of("error") == []
    assert widget.button.isEnabled()


def test_a_truncated_mask_disables_start(
    add_distil: AddDistil, qtbot: QtBot, tiny_dataset: Path
) -> None:
    mask = tiny_dataset / "labelsTr" / "blob_001.nii.gz"
    mask.write_bytes(mask.read_bytes()[:-40])
    widget = add_distil()
    choose(qtbot, widget, tiny_dataset)
    assert not widget.button.isEnabled()
    assert "blob_001" in widget.status.text()
    assert "Traceback" not in widget.status.text()
    assert "1 error" in widget.dataset.counts.text()


def test_a_dataset_without_labels_shows_a_message_and_disables_start(
    add_distil: AddDistil, qtbot: QtBot, tiny_dataset: Path
) -> None:
    for mask in (tiny_dataset / "labelsTr").iterdir():
        mask.unlink()
    widget = add_distil()
    choose(qtbot, widget, tiny_dataset)
    assert not widget.button.isEnabled()
    assert widget.status.text()


def test_choosing_a_folder_without_a_dataset_shows_an_error(
    add_distil: AddDistil, tmp_path: Path
) -> None:
    widget = add_distil()
    widget.dataset.choose(tmp_path)
    assert widget.status.text().startswith("✕")
    assert widget.dataset.folder() is None


def test_the_configuration_matches_the_chosen_options(
    add_distil: AddDistil, qtbot: QtBot, tiny_dataset: Path, make_model
) -> None:
    teacher = make_model("large", role="teacher", network="unet")
    widget = add_distil()
    choose(qtbot, widget, tiny_dataset)
    widget.teacher.choose(teacher)
    assert widget.button.text().startswith("Start distillation")
    for button, effort in zip(widget.effort.buttons(), PRESETS, strict=True):
        qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
        config = widget.config()
        assert isinstance(config, DistillationConfig)
        assert {name: getattr(config, name) for name in PRESETS[effort]} == PRESETS[effort]
    assert (config.teacher, config.dataset.name) == (teacher, "blobs")
    assert (config.network, config.dims, config.method.name) == ("mobile_unet", 3, "graph_flow")
    assert config.name == "Mobile U-Net from large"
    # Volumes are taken for organs, until the user says otherwise.
    assert widget.task.currentText() == "Organs in volumes"
    assert config.method == recommended_for("organs")
    assert config.warmup == warmup_for(config.steps) == 1000
    assert widget.task.text_below.text() == RECOMMENDED["organs"].text
    pick(widget.task, "lesions")
    assert widget.config().method == recommended_for("lesions") != config.method
    # What the user enters stays, whatever else is chosen.
    widget.method_forms["graph_flow"].put_fields(edge_weight="0.7")
    widget.forms["distill"].put_fields(warmup=7)
    choose(qtbot, widget, tiny_dataset)
    qtbot.mouseClick(widget.effort.buttons()[1], Qt.MouseButton.LeftButton)
    widget.teacher.combo.setCurrentIndex(0)
    widget.teacher.choose(teacher)
    assert (widget.config().method.edge_weight, widget.config().warmup) == (0.7, 7)
    widget.forms["distill"].put_fields(warmup=0, steps=40)
    assert widget.config().warmup == 20
    pick(widget.task, "vessels")
    assert widget.config().method == recommended_for("vessels")
    pick(widget.method, "logits")
    assert widget.task.task() is None and widget.task.text_below.isHidden()
    assert (widget.config().method, widget.config().warmup) == (LogitsOptions(), 0)
    choose(qtbot, widget, tiny_dataset)
    assert widget.task.task() is None
    pick(widget.task, "organs")
    pick(widget.network, "mobilenet_v2")  # has no decoder
    assert widget.config().method == recommended_for("organs", pairs=0)
    assert "Graph Flow needs feature maps" in widget.task.text_below.text()
    pick(widget.method, "graph_flow")
    widget.method.setCurrentIndex(widget.method.findData("logits"))
    widget.network.setCurrentIndex(widget.network.findData("enet"))
    assert (widget.config().method.name, widget.config().network) == ("logits", "enet")


def test_the_sites_to_learn_from_are_chosen_and_the_others_only_scored(
    add_distil: AddDistil, qtbot: QtBot, tiny_dataset: Path, tmp_path: Path
) -> None:
    widget = add_distil()
    choose(qtbot, widget, tiny_dataset)
    assert not widget.sites.isVisible()
    folder = tmp_path / "hospitals"
    shutil.copytree(tiny_dataset, folder)
    cases = sorted(case.name for case in Dataset.open(folder).cases)
    rows = [f"{name},{'north' if i % 2 else 'south'}" for i, name in enumerate(cases)]
    (folder / "sites.csv").write_text("\n".join(["case,site", *rows]), "utf-8")
    choose(qtbot, widget, folder)
    assert widget.sites.isVisible() and widget.sites.text() == "all sites"
    assert widget.config().sources == ()
    menu = widget.sites.list

    def untick() -> None:
        assert menu.isVisible()
        place = menu.actionGeometry(menu.actions()[0]).center()
        QTest.mouseMove(menu, place)
        QTest.mouseClick(menu, Qt.MouseButton.LeftButton, pos=place)

    QTimer.singleShot(500, untick)
    click(qtbot, widget.sites)
    qtbot.waitUntil(lambda: widget.config().sources != ())
    (learnt,) = widget.config().sources
    (other,) = {"north", "south"} - {learnt}
    assert widget.sites.text() == learnt
    said = widget.sites.text_below.text()
    assert f"{len(cases) // 2} images of {other}: never used for training, only scored." in said
    learnt_from = [one for one in Dataset.open(folder).labelled("train") if one.site == learnt]
    assert said.startswith(f"{len(learnt_from)} labelled · ")
    assert f"--sources {learnt}" in command(widget.choices(), widget.config())
    widget.sites.offer(folder, {"north": 40, "south": 40})  # cases were added
    assert widget.config().sources == (learnt,)
    left = next(one for one in widget.sites.list.actions() if one.isChecked())
    left.trigger()  # the last site cannot be removed
    assert widget.config().sources == (learnt,)
    widget.sites.offer(tmp_path / "another", {"north": 40, "south": 40})
    assert widget.config().sources == ()


def test_starting_on_an_unreachable_cluster_shows_an_error(
    add_distil: AddDistil, qtbot: QtBot, tiny_dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No cluster responds, whether Ray is installed or not."""
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:9")
    widget = add_distil()
    choose(qtbot, widget, tiny_dataset)
    assert {widget.runner.itemData(i) for i in range(widget.runner.count())} == set(
        get_args(RunnerName)
    )
    assert widget.workers.isHidden()
    widget.runner.setCurrentIndex(widget.runner.findData("ray-packed"))
    assert not widget.workers.isHidden()
    widget.workers.setValue(2)
    sections = {one.text(): one for one in widget.findChildren(QCollapsible)}
    copy = sections["Copy as command line"]
    click(qtbot, copy.toggleButton())
    qtbot.waitUntil(lambda: widget.command.height() > 0)
    click(qtbot, widget.command)
    assert "--runner ray-packed --workers 2" in QGuiApplication.clipboard().text()
    click(qtbot, widget.button)
    qtbot.waitUntil(lambda: widget.status.text().startswith("✕"), timeout=SLOW_MS)
    assert "Ray" in widget.status.text()
    assert list_jobs() == []


def test_an_invalid_entry_under_advanced_shows_an_error(
    add_distil: AddDistil, qtbot: QtBot, tiny_dataset: Path
) -> None:
    widget = add_distil()
    choose(qtbot, widget, tiny_dataset)
    widget.forms["train"].put_fields(learning_rate="fast")
    click(qtbot, widget.button)
    assert "'fast' is not a valid learning rate" in widget.status.text()
    assert list_jobs() == []


def test_a_teacher_and_then_a_student_are_trained_by_clicks(
    add_distil: AddDistil, viewer: Viewer, qtbot: QtBot, tiny_dataset: Path
) -> None:
    widget = add_distil()
    choose(qtbot, widget, tiny_dataset)
    widget.network.setCurrentIndex(widget.network.findData("unet"))
    short(widget, width="8")
    jobs, job = start(qtbot, widget)
    qtbot.waitUntil(lambda: job.status().state == "done", timeout=SLOW_MS)
    qtbot.waitUntil(jobs.details.use.isVisible)
    assert jobs.details.curves.series("dice")[0] == [2.0, 4.0]
    assert len(jobs.details.curves.series("loss/total")[0]) == 4

    click(qtbot, jobs.details.use)
    assert widget.kind == "distill"
    assert widget.teacher.card().name == "U-Net on blobs"
    widget.network.setCurrentIndex(widget.network.findData("enet"))
    short(widget, width="8")
    widget.method_forms["graph_flow"].put_fields(paraphraser_steps=2)
    _, student = start(qtbot, widget)
    qtbot.waitUntil(lambda: student.status().state == "done", timeout=SLOW_MS)
    qtbot.waitUntil(jobs.details.use.isVisible)
    assert (
        jobs.details.curves.series("loss/vertices")[0]
        or (jobs.details.curves.series("loss/vertex")[0])
    )

    click(qtbot, jobs.details.use)
    _, segment = viewer.window.add_plugin_dock_widget("napari-graphflow", "Segment")
    assert segment.model.card().name == "ENet from U-Net on blobs"


@pytest.mark.slow
def test_a_running_job_is_listed_and_cancelled_by_another_window(
    add_distil: AddDistil, viewer: Viewer, qtbot: QtBot, tiny_dataset: Path
) -> None:
    widget = add_distil()
    choose(qtbot, widget, tiny_dataset)
    short(widget, steps=100_000, width="8")
    jobs, job = start(qtbot, widget)
    qtbot.waitUntil(lambda: jobs.details.progress.bar.value() > 1, timeout=SLOW_MS)
    qtbot.waitUntil(lambda: "left" in jobs.details.progress.bar.format(), timeout=SLOW_MS)

    viewer.window.remove_dock_widget("all")
    again = show_dock(viewer, "Jobs")
    assert again is not jobs
    assert again.selected() == job
    qtbot.waitUntil(lambda: again.details.progress.bar.value() > 1, timeout=SLOW_MS)
    click(qtbot, again.details.cancel)
    assert again.status.text() == "Cancelling …"
    assert not again.details.cancel.isEnabled()
    qtbot.waitUntil(lambda: job.status().state == "cancelled", timeout=SLOW_MS)
    qtbot.waitUntil(lambda: again.status.text().startswith("Cancelled"))
    assert not again.details.progress.isVisible()
    assert again.details.pause.text() == "Resume (P)"


def test_a_killed_job_is_reported_and_can_be_resumed(
    add_distil: AddDistil, viewer: Viewer, qtbot: QtBot, tiny_dataset: Path
) -> None:
    widget = add_distil()
    choose(qtbot, widget, tiny_dataset)
    short(widget, steps=100_000, width="8")
    jobs, job = start(qtbot, widget)
    qtbot.waitUntil(lambda: job.status().run.step > 3, timeout=SLOW_MS)
    os.kill(job.status().process.pid, signal.SIGKILL)
    qtbot.waitUntil(lambda: not job.status().active, timeout=SLOW_MS)
    qtbot.waitUntil(lambda: "killed by the system" in jobs.status.text())
    assert "Traceback" not in jobs.status.text()
    assert not job.model.exists()
    assert not list(job.folder.rglob("*.tmp"))
    assert jobs.details.pause.text() == "Resume (P)"
    viewer.add_labels(np.zeros((4, 4), np.uint8))


def test_a_failed_job_shows_its_error(
    add_distil: AddDistil, viewer: Viewer, qtbot: QtBot, tiny_dataset: Path, make_model
) -> None:
    teacher = make_model("large", role="teacher", network="unet")
    job = create("distill", DistillationConfig(dataset=tiny_dataset / "gone", teacher=teacher))
    queue.start(job)
    click(qtbot, add_distil().show_jobs)
    jobs = find_dock(viewer, "Jobs")
    qtbot.waitUntil(lambda: job.status().state == "failed", timeout=SLOW_MS)
    qtbot.waitUntil(lambda: jobs.status.text().startswith("✕"))
    assert "gone" in jobs.status.text()
    click(qtbot, jobs.details.log)


def test_every_method_is_listed_with_its_options(
    add_distil: AddDistil, qtbot: QtBot, tiny_dataset: Path, make_model
) -> None:
    widget = add_distil()
    choose(qtbot, widget, tiny_dataset)
    widget.teacher.choose(make_model("large", role="teacher", network="unet"))
    assert [widget.method.itemData(i) for i in range(widget.method.count())] == list(METHODS)
    pick(widget.method, "graph_flow")
    for index, (name, words) in enumerate(METHODS.items()):
        widget.method.setCurrentIndex(index)
        assert widget.config().method == words.options()
        assert widget.method_text.text() == words.text
        assert [n for n, form in widget.method_forms.items() if not form.isHidden()] == [name]
    widget.method.setCurrentIndex(widget.method.findData("emkd"))
    widget.method_forms["emkd"].put_fields(preset="official", affinity_weight="0.5")
    assert widget.config().method == EMKDOptions(preset="official", affinity_weight=0.5)
    widget.method.setCurrentIndex(widget.method.findData("graph_flow"))
    widget.method_forms["graph_flow"].part("adversarial").put_fields(weight="0.1")
    assert widget.config().method.adversarial.weight == 0.1
    widget.teacher.combo.setCurrentIndex(0)
    assert all(form.isHidden() for form in widget.method_forms.values())


@pytest.mark.slow
def test_the_window_stays_responsive_while_a_job_runs(
    add_distil: AddDistil, qtbot: QtBot, tiny_dataset: Path
) -> None:
    widget = add_distil()
    choose(qtbot, widget, tiny_dataset)
    short(widget, steps=100_000, width="8")
    jobs, _ = start(qtbot, widget)
    qtbot.waitUntil(lambda: jobs.details.progress.bar.value() > 1, timeout=SLOW_MS)
    slowest = 0.0
    for _ in range(20):
        before = time.perf_counter()
        jobs.refresh()
        slowest = max(slowest, time.perf_counter() - before)
        qtbot.wait(50)
    assert slowest < 0.25, f"a refresh took {slowest:.3f} s"
