"""*A whole dataset* in *Compare*: clicks from the choice of A and B to a case that is opened."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from clicking import click
from napari import Viewer
from napari.layers import Labels
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog

from napari_graphflow.config.comparison import ComparisonConfig
from napari_graphflow.evaluation.study import Side, Study
from napari_graphflow.jobs import queue
from napari_graphflow.jobs.job import Job
from napari_graphflow.jobs.status import Status
from napari_graphflow.jobs.store import create
from napari_graphflow.plugin.compare.side_choice import FOLDER
from napari_graphflow.plugin.compare.widget import CompareWidget
from napari_graphflow.plugin.widgets.palette import DARK, LIGHT

WORST = 7


@pytest.fixture
def compare(viewer: Viewer) -> Iterator[CompareWidget]:
    _, widget = viewer.window.add_plugin_dock_widget("napari-graphflow", "Compare")
    yield widget
    viewer.window.remove_dock_widget("all")


def open_section(qtbot: QtBot, compare: CompareWidget) -> None:
    button = compare.whole.toggleButton()
    qtbot.waitUntil(button.isVisible)
    assert compare._dataset.made is None, "it is made when it is unfolded"
    click(qtbot, button)
    qtbot.waitUntil(lambda: compare._dataset.made is not None)
    qtbot.waitUntil(compare.dataset.isVisible)


def finished(dataset: Path, a: Path, b: Path) -> Job:
    """Make a job whose comparison is done: B is worst in slice 7 of blob_003."""
    job = create("compare", ComparisonConfig(a=a, b=b, dataset=dataset, split="val"))
    scores = {"blob_003": {"organ": {"dice_score": 0.75}}}
    sides = tuple(
        Side(letter=letter, role=role, name=name, scores=scores, worst_slices={"blob_003": WORST})
        for letter, role, name in (("A", "teacher", "large"), ("B", "student", "small"))
    )
    job.study.parent.mkdir(parents=True, exist_ok=True)
    job.study.write_text(Study(sides=sides, tolerance=2.0, split="val").model_dump_json())
    with job.writing():
        job.write_status(Status(state="done"))
    return job


def test_two_folders_of_masks_are_compared_as_a_job(
    viewer: Viewer,
    compare: CompareWidget,
    qtbot: QtBot,
    tiny_dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    submitted: list[Job] = []
    monkeypatch.setattr(queue, "submit", lambda job: submitted.append(job) or job)
    open_section(qtbot, compare)
    section = compare.dataset
    assert not section.button.isEnabled()
    assert section.button.text() == "Choose A and B first"
    section.dataset.choose(tiny_dataset)
    for combo, name in ((section.a, "anna"), (section.b, "ben")):
        (tmp_path / name).mkdir()
        folder = str(tmp_path / name)
        monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_, found=folder: found)
        combo.setFocus()
        combo.setCurrentText(FOLDER)
        combo.activated.emit(combo.currentIndex())
        assert combo.currentText() == f"masks: {name}"
    section.split.setCurrentText("val")
    click(qtbot, section.button)
    qtbot.waitUntil(lambda: bool(submitted))
    config = submitted[0].config
    assert isinstance(config, ComparisonConfig)
    assert (config.a, config.b) == (tmp_path / "anna", tmp_path / "ben")
    assert (config.dataset, config.split) == (tiny_dataset, "val")
    with submitted[0].writing():
        submitted[0].write_status(Status(state="cancelled"))
    qtbot.waitUntil(section.button.isEnabled)
    assert compare.status.text() == "The comparison was cancelled."


def test_a_finished_comparison_opens_a_case_at_its_worst_slice(
    viewer: Viewer, qtbot: QtBot, tiny_dataset: Path, tmp_path: Path
) -> None:
    finished(tiny_dataset, tmp_path / "large", tmp_path / "small")
    _, compare = viewer.window.add_plugin_dock_widget("napari-graphflow", "Compare")
    open_section(qtbot, compare)
    section = compare.dataset
    assert section.results.count() == 1
    section.results.activated.emit(0)
    assert "teacher's Dice" in section.verdict.text()
    assert section.plot.isVisible()
    viewer.theme = "light"
    axis = section.plot.widget().getAxis("bottom")
    assert axis.textPen().color().name() == LIGHT.note
    viewer.theme = "dark"
    assert axis.textPen().color().name() == DARK.note
    assert [section.cases.item(0, column).text() for column in range(3)] == [
        "blob_003", "0.750", "0.750",
    ]  # fmt: skip
    where = section.cases.visualItemRect(section.cases.item(0, 0)).center()
    compare.ensureWidgetVisible(section.cases)
    qtbot.mouseClick(section.cases.viewport(), Qt.MouseButton.LeftButton, pos=where)
    assert "blob_003: opened with its reference, slice 7." in compare.status.text()
    assert viewer.dims.current_step[0] == WORST
    assert any(isinstance(layer, Labels) for layer in viewer.layers)
    viewer.window.remove_dock_widget("all")


@pytest.mark.parametrize(
    "content", ["", "[" * 100_000, '{"sides": [], "tolerance": 2}', "no scores", "no dice"]
)
def test_a_damaged_comparison_is_named_and_another_can_be_chosen(
    viewer: Viewer, qtbot: QtBot, tiny_dataset: Path, tmp_path: Path, content: str
) -> None:
    good = finished(tiny_dataset, tmp_path / "large", tmp_path / "small")
    bad = finished(tiny_dataset, tmp_path / "large", tmp_path / "small")
    text = bad.study.read_text()
    changed = {"no scores": '"scores":{}', "no dice": '"organ":{"dice":1}'}.get(content)
    if changed:
        pattern = r'"scores":\{.*?\}\}\}' if "scores" in changed else r'"organ":\{.*?\}'
        content = re.sub(pattern, changed, text)
    bad.study.write_text(content)
    _, compare = viewer.window.add_plugin_dock_widget("napari-graphflow", "Compare")
    open_section(qtbot, compare)
    section = compare.dataset
    section.results.setCurrentIndex(section.results.findData(str(bad.folder)))
    section.results.activated.emit(section.results.currentIndex())
    assert bad.study.name in compare.status.text() and section.verdict.text() == ""
    section.results.setCurrentIndex(section.results.findData(str(good.folder)))
    section.results.activated.emit(section.results.currentIndex())
    assert "teacher's Dice" in section.verdict.text()
    viewer.window.remove_dock_widget("all")
