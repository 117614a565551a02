"""Lists of models and datasets refresh by themselves; a model goes to the dock it is for."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from clicking import click
from napari import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtWidgets import QComboBox, QMenu

from napari_graphflow.config.run import TrainingConfig
from napari_graphflow.jobs.store import create
from napari_graphflow.plugin.compare.widget import CompareWidget
from napari_graphflow.plugin.distil.widget import DistilWidget
from napari_graphflow.plugin.segment.widget import SegmentWidget
from napari_graphflow.plugin.widgets.docks import find_dock, show_dock
from napari_graphflow.plugin.widgets.list_watch import folder_watch
from napari_graphflow.plugin.widgets.recent import remember
from napari_graphflow.system.events import ModelSaved

MakeModel = Callable[..., Path]
Docks = tuple[SegmentWidget, DistilWidget, CompareWidget]


@pytest.fixture
def docks(viewer: Viewer, home: Path) -> Iterator[Docks]:
    yield tuple(show_dock(viewer, name) for name in ("Segment", "Distil", "Compare"))
    viewer.window.remove_dock_widget("all")


def entries(combo: QComboBox) -> list[str]:
    return [combo.itemText(index) for index in range(combo.count())]


def lists(docks: Docks, name: str) -> list[bool]:
    """Whether a model is in the list of each dock."""
    segment, distil, compare = docks
    combos = segment.model.combo, distil.teacher.combo, compare.a, compare.b
    return [any(name in entry for entry in entries(combo)) for combo in combos]


def test_the_first_model_appears_in_every_list_without_opening_it(
    docks: Docks, qtbot: QtBot, make_model: MakeModel
) -> None:
    segment, distil, _ = docks
    assert segment.model.combo.currentText() == "no model yet"
    make_model("first", role="teacher", network="unet")
    qtbot.waitUntil(lambda: all(lists(docks, "first")))
    assert segment.model.combo.currentText() == "first"
    assert distil.teacher.folder() is None, "a teacher was chosen by nobody"


def test_a_removed_model_vanishes_and_the_choice_is_kept(
    docks: Docks, qtbot: QtBot, make_model: MakeModel
) -> None:
    segment, *_ = docks
    old, chosen = make_model("old"), make_model("chosen")
    qtbot.waitUntil(lambda: all(lists(docks, "old")))
    segment.model.choose(chosen)
    shutil.rmtree(old)
    qtbot.waitUntil(lambda: not any(lists(docks, "old")))
    assert segment.model.folder() == chosen
    shutil.rmtree(chosen)
    qtbot.waitUntil(lambda: segment.model.folder() is None)
    assert segment.model.card() is None
    assert not segment.button.isEnabled()


def test_an_open_list_is_not_changed_under_the_pointer(
    docks: Docks, qtbot: QtBot, make_model: MakeModel
) -> None:
    make_model("first")
    qtbot.waitUntil(lambda: all(lists(docks, "first")))
    combo = docks[0].model.combo
    combo.showPopup()
    make_model("second")
    qtbot.waitUntil(lambda: lists(docks, "second")[1])
    assert entries(combo) == ["first"]
    combo.hidePopup()
    qtbot.waitUntil(lambda: "second" in entries(combo))


def test_nothing_is_refreshed_while_napari_is_hidden(
    docks: Docks, viewer: Viewer, qtbot: QtBot, make_model: MakeModel
) -> None:
    qtbot.wait(1500)
    window = viewer.window._qt_window
    window.hide()
    make_model("pelvis")
    qtbot.wait(2500)
    assert not any(lists(docks, "pelvis"))
    window.show()
    qtbot.waitUntil(lambda: all(lists(docks, "pelvis")))


def test_nothing_is_read_once_the_docks_are_closed(
    viewer: Viewer, home: Path, qtbot: QtBot
) -> None:
    show_dock(viewer, "Compare")
    before = folder_watch().looked_at
    qtbot.waitUntil(lambda: folder_watch().looked_at > before)
    viewer.window.remove_dock_widget("all")
    last = folder_watch().looked_at
    qtbot.wait(2500)
    assert folder_watch().looked_at == last


def test_a_dataset_is_listed_and_counted_again_when_it_changes(
    docks: Docks, qtbot: QtBot, tiny_dataset: Path
) -> None:
    picker = docks[1].dataset
    remember("datasets", tiny_dataset)  # as the command line or another window does
    qtbot.waitUntil(lambda: "blobs" in entries(picker.combo))
    assert picker.folder() is None
    picker.combo.setCurrentIndex(entries(picker.combo).index("blobs"))
    qtbot.waitUntil(lambda: "2 labelled · 3 unlabelled" in picker.counts.text())
    masks = tiny_dataset / "labelsTr"
    shutil.copy(masks / "blob_001.nii.gz", masks / "blob_004.nii.gz")
    qtbot.waitUntil(lambda: "3 labelled · 2 unlabelled" in picker.counts.text())
    shutil.rmtree(tiny_dataset)
    qtbot.waitUntil(lambda: picker.folder() is None)


def open_from_menu(menu: QMenu, text: str) -> None:
    """Trigger an entry of a menu or of its submenus."""
    for action in menu.actions():
        if action.menu() is not None:
            open_from_menu(action.menu(), text)
        elif action.text() == text:
            action.trigger()


def finished_job(dataset: Path, model: Path) -> None:
    """Make a job that is done and has this model."""
    job = create("train", TrainingConfig(dataset=dataset, name=f"job of {model.name}"))
    shutil.copytree(model, job.model)
    status = job.status().running()
    saved = ModelSaved(path=job.relative(job.model), name=model.name)
    status = status.model_copy(update={"run": status.run.after(saved)})
    with job.writing():
        job.write_state(status)
        job.write_state(status.closed("done"))


@pytest.mark.parametrize("by_menu", [True, False])
def test_use_this_model_on_a_student_raises_the_open_segment_dock(
    viewer: Viewer,
    qtbot: QtBot,
    home: Path,
    make_model: MakeModel,
    tiny_dataset: Path,
    by_menu: bool,
) -> None:
    make_model("other")
    finished_job(tiny_dataset, make_model("small"))
    if by_menu:
        viewer.window.plugins_menu.aboutToShow.emit()
        open_from_menu(viewer.window.plugins_menu, "Segment (Graph Flow)")
    else:
        viewer.window.add_plugin_dock_widget("napari-graphflow", "Segment")
    segment = find_dock(viewer, "Segment")
    jobs = show_dock(viewer, "Jobs")
    qtbot.waitUntil(jobs.details.use.isVisible)
    click(qtbot, jobs.details.use)
    assert segment.model.folder().parent.parent == jobs.selected().folder
    assert segment.model.card().name == "small"
    assert find_dock(viewer, "Distil") is None, "a student became the teacher"
    qtbot.waitUntil(segment.isVisible)
    assert len(viewer.window.dock_widgets) == 2
    viewer.window.remove_dock_widget("all")


def test_use_this_model_on_a_teacher_makes_it_the_teacher(
    viewer: Viewer, qtbot: QtBot, home: Path, make_model: MakeModel, tiny_dataset: Path
) -> None:
    finished_job(tiny_dataset, make_model("large", role="teacher", network="unet"))
    jobs = show_dock(viewer, "Jobs")
    qtbot.waitUntil(jobs.details.use.isVisible)
    click(qtbot, jobs.details.use)
    distil = find_dock(viewer, "Distil")
    assert distil.teacher.card().name == "large"
    assert "Set as teacher" in distil.status.text()
    assert find_dock(viewer, "Segment") is None
    viewer.window.remove_dock_widget("all")


def test_a_student_trained_alone_is_called_so(
    viewer: Viewer, home: Path, make_model: MakeModel, tiny_dataset: Path
) -> None:
    folder = make_model("small")
    card = json.loads((folder / "model.json").read_text("utf-8"))
    card["provenance"] = {
        "dataset": "blobs", "labelled_cases": 2, "unlabelled_cases": 0, "run": None,
    }  # fmt: skip
    (folder / "model.json").write_text(json.dumps(card), "utf-8")
    segment = show_dock(viewer, "Segment")
    assert segment.model.about.text().startswith("student, trained alone · 3D")
    viewer.window.remove_dock_widget("all")
