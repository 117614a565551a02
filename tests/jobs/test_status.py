"""Transitions of a job's status."""

import os
import socket

import pytest

from napari_graphflow.jobs.status import Process, RunReport, State, Status
from napari_graphflow.system.events import Alive, Metric, Phase
from napari_graphflow.system.failures import Failure

ENDED = Status(
    state="failed",
    failure=Failure(code="crashed", text="It broke."),
    notice="It is silent.",
    run=RunReport(phase="training", step=7, total=9, eta_s=2.0, best=0.5, peak_bytes=1, model="m"),
    process=Process(host="elsewhere", pid=1, started="then", launched=1.0, device="cuda:0"),
)


def test_a_restart_keeps_the_progress_and_clears_the_failure() -> None:
    process = Process(rank=2.0)
    queued = ENDED.queued(process)
    assert queued == Status(
        state="queued", run=RunReport(step=7, total=9, best=0.5), process=process
    )


def test_a_running_status_keeps_the_launch_and_records_this_process() -> None:
    launch = Process(launched=3.0, device="cpu", runner="slurm", log_from=5, host="elsewhere")
    running = ENDED.queued(launch).running()
    assert running.run == RunReport(step=7, total=9, best=0.5)
    assert (running.process.host, running.process.pid) == (socket.gethostname(), os.getpid())
    kept = running.process.model_dump(include={"launched", "device", "runner", "log_from"})
    assert kept == {"launched": 3.0, "device": "cpu", "runner": "slurm", "log_from": 5}


def test_a_final_status_keeps_the_report_without_the_remaining_time() -> None:
    gone = Failure(code="killed", text="It is gone.")
    closed = ENDED.closed("lost", gone)
    assert (closed.state, closed.failure, closed.notice) == ("lost", gone, "")
    assert closed.run == ENDED.run.model_copy(update={"eta_s": None})
    assert closed.process == ENDED.process


@pytest.mark.parametrize(
    ("state", "failure", "exit_code"),
    [
        ("done", None, 0),
        ("cancelled", None, 130),
        ("paused", Failure(code="ended", text="The computer was shut down."), 0),
        ("failed", Failure(code="disk_full", text="The disk is full.", exit_code=4), 4),
        ("lost", None, 1),
    ],
)
def test_the_exit_code_follows_from_the_state_and_the_failure(
    state: State, failure: Failure | None, exit_code: int
) -> None:
    status = Status(state=state, failure=failure)
    assert status.exit_code == exit_code
    assert Status.model_validate_json(status.model_dump_json()) == status


def test_a_report_is_updated_by_events() -> None:
    report = RunReport(step=3, total=4, best=0.5)
    assert report.after(Phase(kind="training", name="training")) == RunReport(
        phase="training", best=0.5
    )

    def dice(value: float) -> Metric:
        return Metric(name="dice", value=value, step=3, split="val")

    assert report.after(dice(0.4)).best == 0.5
    assert report.after(dice(0.6)).best == 0.6
    assert report.after(dice(float("nan"))) is report
    assert report.after(Alive()) is report
