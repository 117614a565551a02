"""Proposals and rounds in the window; the whole loop on real scans by clicks and keys."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clicking import click
from job_cases import put
from labelling_cases import box, contents, make_dataset, proposal, propose
from napari import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QFileDialog, QMessageBox
from round_cases import judged_round

from napari_graphflow.config.labelling import ProposalConfig
from napari_graphflow.config.run import PRESETS, DistillationConfig, TrainingConfig
from napari_graphflow.jobs.event_log import event_line
from napari_graphflow.jobs.job import Job
from napari_graphflow.jobs.status import Status
from napari_graphflow.jobs.store import create
from napari_graphflow.labelling.overview import list_cases
from napari_graphflow.labelling.proposing import Report
from napari_graphflow.labelling.rounds import list_rounds
from napari_graphflow.labelling.store import Labelling
from napari_graphflow.plugin.dataset import proposals_presenter, rounds_presenter
from napari_graphflow.plugin.dataset.new_dialog import NewDatasetDialog
from napari_graphflow.plugin.dataset.widget import DatasetWidget
from napari_graphflow.plugin.widgets.words import Message
from napari_graphflow.system.events import CaseDone


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_dataset(tmp_path / "scans", count=9, labelled=6)


@pytest.fixture
def dock(viewer: Viewer) -> Iterator[DatasetWidget]:
    _, widget = viewer.window.add_plugin_dock_widget("napari-graphflow", "Dataset")
    yield widget
    viewer.window.remove_dock_widget("all")


def wait(qtbot: QtBot, condition: Callable[[], bool], timeout: int = 20_000) -> None:
    qtbot.waitUntil(condition, timeout=timeout)


def use(qtbot: QtBot, dock: DatasetWidget, folder: Path) -> None:
    dock.dataset.choose(folder)
    wait(qtbot, lambda: bool(dock.rows))


def test_the_worst_places_of_a_case_are_shown_one_after_the_other(
    qtbot: QtBot, viewer: Viewer, dock: DatasetWidget, folder: Path
) -> None:
    propose(Labelling(folder, "model"), "scan_7")
    use(qtbot, dock, folder)
    dock.open("scan_7")
    wait(qtbot, lambda: dock.session.case is not None and dock.session.case.editable)
    places = proposals_presenter.worst_places(proposal("scan_7"))
    assert places[0].structure == "lesion"
    click(qtbot, dock.box.place)
    case = dock.session.case
    assert case is not None
    assert dock.status.text() == case.in_window(places[0]).text(1, len(places))
    axis, index = case.shown_slice(0, sum(places[0].slices) // 2)
    assert round(case.mask.world_to_data(viewer.dims.point)[axis]) == index


def test_the_inbox_lists_proposed_cases_by_priority(
    qtbot: QtBot, dock: DatasetWidget, folder: Path
) -> None:
    for number in (6, 7, 8):
        propose(Labelling(folder, "model"), f"scan_{number}", number=number)
    use(qtbot, dock, folder)
    dock.tabs.setCurrentWidget(dock.tabs.proposals)
    assert "3 with a proposal" in dock.tabs.proposals.text.text()
    click(qtbot, dock.tabs.proposals.inbox)
    assert dock.tabs.currentIndex() == 0
    assert sorted(dock.model.names()) == ["scan_6", "scan_7", "scan_8"]
    assert dock.model.names() == [one.case for one in dock.order.suggestions]
    assert "unsure" in dock.why.text()


def test_a_round_is_undone_after_a_question_bit_for_bit(
    qtbot: QtBot, dock: DatasetWidget, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labelling = Labelling(folder, "Ada")
    judged_round(labelling, 0.8)
    before = contents(folder / "labelsTr")
    labelling.save(labelling.open_case("scan_7"), box(2))
    use(qtbot, dock, folder)
    dock.tabs.setCurrentWidget(dock.tabs.rounds)
    wait(qtbot, dock.tabs.rounds.undo_button.isEnabled)
    assert "The first model: mean Dice 0.800" in dock.tabs.rounds.verdict.text()
    assert dock.tabs.rounds.list.item(0, 0).text() == "1 ★"
    asked = []

    def answer(*args: Any) -> QMessageBox.StandardButton:
        asked.append(args[1])
        return QMessageBox.StandardButton.Yes

    monkeypatch.setattr(QMessageBox, "question", answer)
    click(qtbot, dock.tabs.rounds.undo_button)
    wait(qtbot, lambda: "Round 1 was undone" in dock.status.text())
    assert asked == ["Undo round 1?"]
    assert contents(folder / "labelsTr") == before
    wait(qtbot, lambda: dock.counts.text().startswith("3 unlabelled"))


def test_a_round_without_masks_cannot_be_started(
    qtbot: QtBot, dock: DatasetWidget, tmp_path: Path
) -> None:
    use(qtbot, dock, make_dataset(tmp_path / "none", labelled=0))
    dock.tabs.setCurrentWidget(dock.tabs.rounds)
    assert not dock.tabs.rounds.button.isEnabled()
    assert dock.tabs.rounds.text.text() == "No training case has a finished mask yet."


def test_a_paused_job_of_proposals_is_found_again_and_cancelled(
    qtbot: QtBot, dock: DatasetWidget, folder: Path, tmp_path: Path
) -> None:
    job = create("propose", ProposalConfig(dataset=folder.resolve(), model=tmp_path / "model"))
    put(job, Status(state="paused"))
    use(qtbot, dock, folder)
    dock.tabs.setCurrentWidget(dock.tabs.proposals)
    bar = dock.tabs.proposals.bar
    wait(qtbot, bar.isVisible)
    assert bar.pause.text() == "Resume"
    assert not dock.tabs.proposals.button.isEnabled()
    with job.events_file.open("ab") as file:
        file.write(event_line(CaseDone(case="scan_7")))
        file.write(event_line(CaseDone(case="scan_8", problem="It cannot be read.")))
    click(qtbot, bar.cancel)
    wait(qtbot, lambda: "Cancelled. 1 mask proposed." in dock.status.text())
    assert not bar.isVisible()
    assert job.status().state == "cancelled"


def test_the_end_of_proposals_is_told_in_words() -> None:
    found = Report(["a", "b"], {"c": "It cannot be read."})
    done = proposals_presenter.proposed_message(found, Status(state="done"))
    assert done == Message("2 masks proposed. 1 case failed. c: It cannot be read.", "warn")
    lost = proposals_presenter.proposed_message(Report(["a"]), Status(state="lost"))
    assert lost == Message("1 mask proposed. The job stopped.", "fail")


def test_what_was_done_with_proposals_is_counted(
    qtbot: QtBot, dock: DatasetWidget, folder: Path
) -> None:
    labelling = Labelling(folder, "Ada")
    for name in ("scan_6", "scan_7"):
        propose(labelling, name)
    labelling.accept("scan_6", seconds=8)
    labelling.reject("scan_7", seconds=4)
    use(qtbot, dock, folder)
    expected = "liver model: 1 accepted untouched, 0 edited, 1 rejected, median 6 s each."
    wait(qtbot, lambda: dock.tabs.proposals.outcomes.text() == expected)


def test_settings_distil_if_there_is_a_teacher(tmp_path: Path) -> None:
    alone = rounds_presenter.settings(tmp_path, ".nii.gz", "scans", "unet", "quick")
    assert type(alone) is TrainingConfig
    assert (alone.dims, alone.steps, alone.name) == (3, PRESETS["quick"]["steps"], "U-Net on scans")
    flat = rounds_presenter.settings(tmp_path, ".png", "cells", "unet", "quick")
    assert flat.dims == 2
    student = rounds_presenter.settings(
        tmp_path, ".nii.gz", "scans", "enet", "quick", tmp_path / "teacher"
    )
    assert isinstance(student, DistillationConfig)


def test_the_list_of_rounds_says_which_model_to_use(folder: Path) -> None:
    labelling = Labelling(folder)
    judged_round(labelling, 0.8)
    judged_round(labelling, 0.5)
    rounds = list_rounds(labelling)
    newest, first = rounds_presenter.cells(rounds, [one.state for one in rounds])
    assert (newest.texts[0], first.texts[0]) == ("2", "1 ★")
    assert "Worse than round 1" in newest.verdict
    assert newest.undoable and not first.undoable
    rows = rounds_presenter.score_rows(rounds, 2)
    cases = sorted(rounds[1].scores)
    assert [row[0] for row in rows] == ["lesion", "liver", *cases]
    assert rows[0] == ("lesion", "–", "–", "")
    assert rows[1][:3] == ("liver", "0.800", "0.500")
    assert rows[1][3].startswith("-0.300")
    assert rows[2] == (cases[0], "0.800", "0.500", "-0.300")
    assert rounds_presenter.score_rows(rounds, 1)[1] == ("liver", "–", "0.800", "")
    assert rounds_presenter.judged(rounds, {2, 3}) == [rounds[1]]


@pytest.mark.slow
def test_from_a_folder_of_scans_to_a_verdict_and_back_by_clicks(
    qtbot: QtBot,
    viewer: Viewer,
    dock: DatasetWidget,
    shared_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """24 hippocampi, 6 with masks: teacher, proposals, three accepted, two edited, one rejected."""
    source = shared_data / "hippocampus_msd"
    study = tmp_path / "study"
    (study / "masks").mkdir(parents=True)
    (study / "images").mkdir()
    for number, image in enumerate(sorted((source / "images").iterdir())[:24]):
        shutil.copy(image, study / "images")
        if number < 6:
            shutil.copy(source / "masks" / image.name, study / "masks")
    monkeypatch.setitem(PRESETS, "quick", {"steps": 12, "validate_every": 12})
    clicks = 0

    def press(button: Any) -> None:
        nonlocal clicks
        clicks += 1
        click(qtbot, button)

    press(dock.new)
    (dialog,) = dock.findChildren(NewDatasetDialog)
    wait(qtbot, dialog.isVisible)
    for button, part in ((dialog.pick_images, "images"), (dialog.pick_masks, "masks")):
        chosen = str(study / part)
        monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_, one=chosen: one)
        wait(qtbot, button.isEnabled)
        press(button)
        clicks += 1  # in the dialog of the system
    wait(qtbot, lambda: dialog.structures.rowCount() == 2 and dialog.create.isEnabled())
    press(dialog.create)
    wait(qtbot, dialog.finish.isVisible, 60_000)
    press(dialog.finish)
    wait(qtbot, lambda: len(dock.rows) == 24)
    folder = dock.dataset.folder()
    assert folder is not None

    dock.tabs.setCurrentWidget(dock.tabs.rounds)
    clicks += 1
    wait(qtbot, dock.tabs.rounds.button.isEnabled)
    press(dock.tabs.rounds.button)
    assert clicks <= 12
    wait(qtbot, lambda: "round" in dock.tabs.rounds.verdict.text().lower(), 120_000)
    wait(qtbot, lambda: "The first model" in dock.tabs.rounds.verdict.text(), 600_000)
    before = contents(folder / "labelsTr")

    dock.tabs.setCurrentWidget(dock.tabs.proposals)
    model = Path(list_rounds(Labelling(folder))[0].model)
    assert dock.tabs.proposals.model.folder() == model
    click(qtbot, dock.tabs.proposals.button)
    wait(qtbot, dock.tabs.proposals.bar.isVisible, 60_000)
    wait(qtbot, lambda: "18 masks proposed" in dock.status.text(), 600_000)
    wait(qtbot, dock.tabs.proposals.inbox.isEnabled)
    click(qtbot, dock.tabs.proposals.inbox)

    click(qtbot, dock.next)
    decided: dict[str, str] = {}
    window = viewer.window._qt_window
    for decision in ("accept", "accept", "accept", "edit", "edit", "reject"):
        wait(qtbot, lambda: dock.session.case is not None and dock.session.case.editable)
        case = dock.session.case
        assert case is not None and case.name not in decided
        decided[case.name] = decision
        if decision == "edit":
            case.mask.data_setitem((np.array([3]), np.array([3]), np.array([3])), 1)
        QApplication.setActiveWindow(window)
        qtbot.keyClick(window, Qt.Key.Key_R if decision == "reject" else Qt.Key.Key_A)
        wait(qtbot, lambda: dock.session.case is not None and dock.session.case.name not in decided)
    wait(qtbot, lambda: not dock.background.busy())
    statuses = {row.name: row.status for row in list_cases(Labelling(folder))}
    for name, decision in decided.items():
        assert statuses[name] == ("unlabelled" if decision == "reject" else "labelled")
    logged = {one.case: one for one in Labelling(folder).entries() if one.case in decided}
    assert [one.what for one in logged.values()].count("accept") == 3

    dock.tabs.setCurrentWidget(dock.tabs.rounds)
    wait(qtbot, dock.tabs.rounds.button.isEnabled)
    click(qtbot, dock.tabs.rounds.button)
    wait(qtbot, lambda: len(list_rounds(Labelling(folder))) == 2, 60_000)
    wait(qtbot, lambda: "round 1" in dock.tabs.rounds.verdict.text(), 600_000)
    job = Job(Path(list_rounds(Labelling(folder))[1].job))
    wait(qtbot, lambda: job.status().state == "done", 60_000)

    monkeypatch.setattr(QMessageBox, "question", lambda *_: QMessageBox.StandardButton.Yes)
    for line, number in enumerate((2, 1)):
        dock.tabs.rounds.list.selectRow(line)
        wait(qtbot, dock.tabs.rounds.undo_button.isEnabled)
        click(qtbot, dock.tabs.rounds.undo_button)
        wait(qtbot, lambda: f"Round {number} was undone" in dock.status.text())  # noqa: B023
        wait(qtbot, lambda: not dock.background.busy())
    assert contents(folder / "labelsTr") == before


def test_a_model_of_other_structures_is_greyed_for_proposals_and_as_a_teacher(
    make_model: Callable[..., Path], qtbot: QtBot, dock: DatasetWidget, folder: Path
) -> None:
    make_model("fits", classes={"background": 0, "liver": 1, "lesion": 2})
    make_model("other", role="teacher", classes={"background": 0, "kidney": 1})
    use(qtbot, dock, folder)
    for picker in (dock.tabs.proposals.model, dock.tabs.rounds.teacher):
        picker.refresh()
        entries = {picker.combo.itemText(i): i for i in range(picker.combo.count())}
        (greyed,) = [text for text in entries if text.startswith("other")]
        assert "kidney" in greyed
        assert "fits" in entries
    assert dock.tabs.proposals.button.isEnabled()
    dock.tabs.proposals.model.combo.setCurrentIndex(
        dock.tabs.proposals.model.combo.findText(greyed)
    )
    assert not dock.tabs.proposals.button.isEnabled()
    assert dock.tabs.proposals.model.about.text().startswith("✕ Does not fit: it has the classes")
    dock.tabs.rounds.teacher.combo.setCurrentIndex(entries[greyed])
    assert not dock.tabs.rounds.button.isEnabled()
