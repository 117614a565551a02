"""The presenter of the job list."""

import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from job_cases import new_job

from napari_graphflow.config.run import DistillationConfig, TrainingConfig
from napari_graphflow.jobs.folder import Kind
from napari_graphflow.jobs.job import Job
from napari_graphflow.jobs.status import Process, RunReport, Status
from napari_graphflow.jobs.store import create
from napari_graphflow.plugin.jobs.presenter import (
    KINDS,
    NO_JOBS,
    NONE_HERE,
    Buttons,
    Level,
    datasets_of,
    details,
    levels,
    listing,
    notification,
    table_row,
)
from napari_graphflow.plugin.widgets.words import Message, Progress
from napari_graphflow.system.events import CaseDone, TeacherScored
from napari_graphflow.system.failures import Failure

BROKE = Failure(code="ended", text="It broke.")
GONE = Failure(code="killed", text="It is gone.")
SILENT = "No sign of life for 40 s."
RUNNING = Status(
    state="running",
    run=RunReport(step=20, total=100, eta_s=7512.0, best=0.8432, phase="training"),
    process=Process(launched=1.0, device="cuda:0"),
)

NO_QT = """
import sys
import napari_graphflow.plugin.{dock}.presenter
roots = {{name.partition(".")[0] for name in sys.modules}}
loaded = roots & {{"qtpy", "PyQt5", "PyQt6", "napari", "pyqtgraph", "superqt", "torch"}}
assert not loaded, loaded
"""


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return new_job(tmp_path, "first")


@pytest.mark.parametrize("dock", ["jobs", "distil"])
def test_importing_a_presenter_loads_neither_qt_nor_torch(dock: str) -> None:
    run = subprocess.run(
        [sys.executable, "-c", NO_QT.format(dock=dock)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr


ROWS = {
    "running": (RUNNING, "Training · 20 %", "2 h 05 left", "Dice 0.843", 0.2),
    "running, steps unknown": (
        Status(state="running", run=RunReport(phase="reading the data")),
        "Training · running", "", "", None
    ),
    "paused on a cluster": (
        Status(
            state="paused", run=RunReport(best=0.5, step=3, total=4, eta_s=9.0),
            process=Process(runner="ray"),
        ),
        "Training · paused", "", "Dice 0.500", None
    ),
    "failed": (Status(state="failed", failure=BROKE), "Training · failed", "", "", None),
}  # fmt: skip


@pytest.mark.parametrize("case", ROWS)
def test_a_row_shows_work_state_time_left_and_dice(case: str, job: Job) -> None:
    status, about, left, dice, share = ROWS[case]
    row = table_row(job, status)
    assert (row.title, row.about, row.left, row.dice) == ("first", about, left, dice)
    assert (row.share, row.state) == (share, status.state)


def test_the_tooltip_of_a_row_contains_device_failure_and_folder(job: Job) -> None:
    tip = table_row(job, RUNNING).tip.splitlines()
    assert (tip[0], tip[2:]) == ("first", ["On cuda:0", "training", str(job.folder)])
    assert "It broke." in table_row(job, Status(state="failed", failure=BROKE)).tip


def test_the_curves_show_the_teacher_and_the_same_student_alone(tmp_path: Path) -> None:
    teacher = TeacherScored(dice={"organ": 0.9}, mean=0.9, cases=2, available=2)
    settings = {"dataset": tmp_path, "network": "enet", "steps": 40, "device": "cpu"}
    distilled = create("distill", DistillationConfig(teacher=tmp_path / "t", **settings))
    alone, longer = (
        create("train", TrainingConfig(**settings | {"steps": steps})) for steps in (40, 80)
    )
    done = Status(state="done", run=RunReport(best=0.7))
    statuses = {longer: done, distilled: Status(run=RunReport(teacher=teacher)), alone: Status()}
    assert levels(distilled, statuses) == (Level("teacher", 0.9),)
    found = levels(distilled, statuses | {alone: done})
    assert found[1:] == (Level("same student without distillation", 0.7),)
    assert levels(alone, statuses) == ()


BUTTONS = {
    "created": (Status(), Buttons(move=True)),
    "waiting": (
        Status(state="queued", process=Process(rank=1.0)),
        Buttons(cancel=True, move=True, shows_move=True)
    ),
    "starting": (
        Status(state="queued", process=Process(launched=1.0)), Buttons(cancel=True, move=True)
    ),
    "running": (RUNNING, Buttons(pause=True, cancel=True, move=True, shows_checkpoint=True)),
    "paused": (
        Status(state="paused"),
        Buttons(resume=True, pause=True, move=True, remove=True)
    ),
    "failed": (
        Status(state="failed"),
        Buttons(resume=True, pause=True, move=True, remove=True)
    ),
    "cancelled": (
        Status(state="cancelled"),
        Buttons(resume=True, pause=True, move=True, remove=True)
    ),
    "lost": (
        Status(state="lost"),
        Buttons(resume=True, pause=True, move=True, remove=True)
    ),
    "done": (
        Status(state="done", run=RunReport(model="artifacts/model")),
        Buttons(move=True, shows_use=True, remove=True)
    ),
}  # fmt: skip


@pytest.mark.parametrize("state", BUTTONS)
def test_each_state_enables_its_buttons(state: str, job: Job) -> None:
    status, buttons = BUTTONS[state]
    assert details(job, {job: status}, log=False).buttons == buttons


def test_buttons_are_disabled_while_a_request_is_pending(job: Job) -> None:
    shown = details(job, {job: RUNNING}, pending="Cancelling …")
    assert shown.message == Message("Cancelling …")
    assert shown.buttons == Buttons(log=True, shows_checkpoint=True)


MESSAGES = {
    "failed": (Status(state="failed", failure=BROKE), Message("It broke.", "fail")),
    "lost": (Status(state="lost", failure=GONE), Message("It is gone.", "fail")),
    "done": (
        Status(state="done", run=RunReport(best=0.9)),
        Message("Done. Best Dice 0.900.", "done"),
    ),
    "running": (RUNNING, Message("Training. On cuda:0. Best Dice 0.843.")),
    "starting": (Status(state="queued", process=Process(launched=1.0)), Message("Starting.")),
    "silent": (
        Status(state="running", notice=SILENT, run=RunReport(phase="training")),
        Message(f"Training. {SILENT}"),
    ),
    "paused": (
        Status(state="paused", run=RunReport(best=0.5)),
        Message("Paused. Best Dice 0.500."),
    ),
}


@pytest.mark.parametrize("case", MESSAGES)
def test_each_state_has_a_status_message(case: str, job: Job) -> None:
    status, message = MESSAGES[case]
    assert details(job, {job: status}).message == message


def test_a_queued_job_shows_its_position(tmp_path: Path) -> None:
    first, second = (new_job(tmp_path, name) for name in ("first", "second"))
    statuses = {
        job: Status(state="queued", process=Process(rank=rank))
        for job, rank in ((first, 1), (second, 2))
    }
    assert "(1 of 2)" in details(first, statuses).message.text
    assert "(2 of 2)" in details(second, statuses).message.text


@pytest.mark.parametrize(
    ("device", "text"),
    [
        ("auto", "Queued until a device is free (1 of 1)."),
        ("cpu", "Queued for the CPU (1 of 1)."),
        ("cuda", "Queued for a GPU (1 of 1)."),
        ("cuda:1", "Queued for cuda:1 (1 of 1)."),
    ],
)
def test_a_queued_job_shows_the_device_it_waits_for(tmp_path: Path, device: str, text: str) -> None:
    job = new_job(tmp_path, "first", device=device)
    assert details(job, {job: Status(state="queued", process=Process())}).message.text == text


PROGRESS = {
    "waiting": (Status(state="queued"), None),
    "starting": (Status(state="queued", process=Process(launched=1.0)), Progress(text="starting")),
    "reading": (Status(state="running", run=RunReport(phase="reading")), Progress(text="reading")),
    "training": (RUNNING, Progress("training", 20, 100, 7512.0)),
    "done": (Status(state="done", run=RunReport(step=100, total=100)), None),
}


@pytest.mark.parametrize("case", PROGRESS)
def test_the_progress_bar_shows_the_phase_or_the_steps(case: str, job: Job) -> None:
    status, progress = PROGRESS[case]
    assert details(job, {job: status}).progress == progress


def test_jobs_can_be_filtered_by_dataset(tmp_path: Path) -> None:
    ours, theirs = (new_job(tmp_path / name, name) for name in ("ours", "theirs"))
    assert listing([theirs, ours], None).jobs == [theirs, ours]
    assert listing([theirs, ours], tmp_path / "ours").jobs == [ours]
    assert datasets_of([theirs, ours]) == [tmp_path / "ours", tmp_path / "theirs"]
    assert listing([theirs], tmp_path / "ours").note == NONE_HERE
    assert listing([], tmp_path / "ours").note == NO_JOBS


def test_a_single_failure_is_announced_with_its_cause(job: Job) -> None:
    statuses = {job: Status(state="failed", failure=BROKE)}
    assert notification([job], statuses) == Message("first: It broke.", "fail")
    assert notification([job], {job: Status(state="done")}) == Message("first is done.", "done")
    assert notification([], statuses) is None


def test_several_ended_jobs_are_announced_together_naming_the_first_four(tmp_path: Path) -> None:
    jobs = [new_job(tmp_path, f"job {number}") for number in range(6)]
    statuses = {job: Status(state="done") for job in jobs}
    statuses[jobs[1]] = Status(state="failed")
    assert notification(jobs[:2], statuses) == Message("job 0 is done and job 1 failed.", "warn")
    message = notification(jobs, statuses)
    assert message is not None
    assert message.text.endswith("job 3 is done and 2 more have ended.")


def test_a_job_that_is_done_says_how_many_cases_failed(tmp_path: Path) -> None:
    job = new_job(tmp_path, "proposals")
    run = RunReport()
    for problem in ("", "It is damaged.", "It is 2D."):
        run = run.after(CaseDone(case="a", problem=problem))
    statuses = {job: Status(state="done", run=run)}
    assert details(job, statuses).message == Message(
        "Done, but 2 cases failed. See the log.", "warn"
    )
    told = notification([job], statuses)
    assert told == Message("proposals is done, but 2 cases failed.", "warn")


def test_a_refusal_before_the_first_step_is_not_resumed(tmp_path: Path) -> None:
    job = new_job(tmp_path, "first")
    poor = Failure(code="user", text="The teacher is poor.", remedy="Train it longer.")
    refused = {job: Status(state="failed", failure=poor)}
    shown = details(job, refused, kept=False)
    assert not shown.buttons.resume
    assert not shown.buttons.pause
    assert details(job, refused, kept=True).buttons.resume
    full = Failure(code="disk_full", text="The disk is full.")
    assert details(job, {job: Status(state="failed", failure=full)}, kept=False).buttons.resume


def test_every_kind_of_job_has_a_title_in_the_list() -> None:
    assert set(KINDS) == set(get_args(Kind))
