"""What a status takes over from the one before."""

import os
import socket

from napari_graphflow.jobs.status import Process, RunReport, Status
from napari_graphflow.system.events import Alive, Metric, Phase

ENDED = Status(
    state="failed",
    text="It broke.",
    code="crashed",
    exit_code=1,
    run=RunReport(phase="training", step=7, total=9, eta_s=2.0, best=0.5, peak_bytes=1, model="m"),
    process=Process(host="elsewhere", pid=1, started="then", launched=1.0, device="cuda:0"),
)


def test_a_restart_takes_over_how_far_the_run_was_and_nothing_of_its_failure() -> None:
    process = Process(rank=2.0)
    queued = ENDED.queued(process)
    assert queued == Status(
        state="queued", run=RunReport(step=7, total=9, best=0.5), process=process
    )


def test_a_running_status_keeps_what_its_launch_said_and_names_this_process() -> None:
    launch = Process(launched=3.0, device="cpu", runner="slurm", log_from=5, host="elsewhere")
    running = ENDED.queued(launch).running()
    assert running.run == RunReport(step=7, total=9, best=0.5)
    assert (running.process.host, running.process.pid) == (socket.gethostname(), os.getpid())
    kept = running.process.model_dump(include={"launched", "device", "runner", "log_from"})
    assert kept == {"launched": 3.0, "device": "cpu", "runner": "slurm", "log_from": 5}


def test_a_closed_status_has_no_time_left_and_keeps_the_rest_of_the_report() -> None:
    closed = ENDED.closed("lost", text="It is gone.")
    assert (closed.state, closed.text) == ("lost", "It is gone.")
    assert closed.run == ENDED.run.model_copy(update={"eta_s": None})
    assert closed.process == ENDED.process


def test_a_report_follows_the_events_of_a_run() -> None:
    report = RunReport(step=3, total=4, best=0.5)
    assert report.after(Phase(name="training")) == RunReport(phase="training", best=0.5)

    def dice(value: float) -> Metric:
        return Metric(name="dice", value=value, step=3, split="val")

    assert report.after(dice(0.4)).best == 0.5
    assert report.after(dice(0.6)).best == 0.6
    assert report.after(dice(float("nan"))) is report
    assert report.after(Alive()) is report
