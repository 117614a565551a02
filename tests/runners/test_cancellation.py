"""A cancellation is confirmed by the engine, or said to be open."""

import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from runner_cases import training

from napari_graphflow.cli import main
from napari_graphflow.jobs import store
from napari_graphflow.jobs.job import Job
from napari_graphflow.jobs.status import Process, State, Status
from napari_graphflow.jobs.trust import accept
from napari_graphflow.plugin.jobs.presenter import details
from napari_graphflow.runners import runner_of
from napari_graphflow.runners.handover import write_note
from napari_graphflow.runners.ray import runner as ray_runner
from napari_graphflow.runners.slurm import Slurm

ADDRESS, CLIENT = "http://127.0.0.1:1", "ray://127.0.0.1:1"
OPEN = "has not confirmed it; the job may continue there"


class Cluster:
    """A Ray cluster whose job ends when it is stopped, if it obeys."""

    def __init__(self, *, obeys: bool = True, reachable: bool = True) -> None:
        self.obeys, self.reachable, self.stopped = obeys, reachable, []

    def stop_job(self, name: str) -> None:
        if not self.reachable:
            raise ConnectionError("no route")
        self.stopped.append(name)

    def get_job_status(self, name: str) -> Any:
        return SimpleNamespace(is_terminal=lambda: self.obeys and name in self.stopped)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_graphflow.runners.handover.STOPPING", 0.2)
    monkeypatch.setattr("napari_graphflow.runners.handover.POLL", 0.01)
    monkeypatch.setattr("napari_graphflow.runners.ray.runner.STOPPING", 0.05)


def on_ray(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cluster: Cluster, state: State, name: str
) -> Job:
    sdk = SimpleNamespace(JobSubmissionClient=lambda _: cluster)
    monkeypatch.setattr(ray_runner, "engine", lambda *_: sdk)
    job: Job = store.create("train", training(tmp_path))
    with job.writing():
        job.write_status(Status(state=state, process=Process(runner="ray", launched=1.0)))
    write_note(job, runner=name, address=ADDRESS, client=CLIENT, workers=1, id="there")
    accept("addresses", ADDRESS, CLIENT)
    return job


@pytest.mark.parametrize("name", ["ray", "ray-packed"])
@pytest.mark.parametrize("state", ["queued", "lost"])
def test_a_job_that_the_cluster_reports_as_ended_is_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, state: State
) -> None:
    cluster = Cluster()
    job = on_ray(tmp_path, monkeypatch, cluster, state, name)
    status = runner_of(job).cancel(job, timeout=0.1)
    assert (status.state, status.failure) == ("cancelled", None)
    assert cluster.stopped == ["there"]


@pytest.mark.parametrize("name", ["ray", "ray-packed"])
@pytest.mark.parametrize("state", ["queued", "lost"])
@pytest.mark.parametrize("cluster", [Cluster(obeys=False), Cluster(reachable=False)])
def test_a_cancellation_that_the_cluster_does_not_confirm_is_said_to_be_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, state: State, cluster: Cluster
) -> None:
    job = on_ray(tmp_path, monkeypatch, cluster, state, name)
    status = runner_of(job).cancel(job, timeout=0.1)
    assert status.state == "cancelled"
    assert status.failure is not None
    assert OPEN in status.failure.text
    assert status.failure.remedy.endswith("ray job stop there")
    shown = details(job, {job: job.status()}).message
    assert OPEN in shown.text
    assert shown.level == "warn"


def test_the_command_says_that_a_cancellation_is_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    job = on_ray(tmp_path, monkeypatch, Cluster(reachable=False), "queued", "ray")
    with pytest.raises(SystemExit):
        main(["jobs", "cancel", str(job.folder)])
    assert OPEN in capsys.readouterr().out


class Controller:
    """Slurm's controller, which knows job 17 with the script of a folder."""

    def __init__(self, script: Path, *, obeys: bool = True, answer: str = "") -> None:
        self.script, self.obeys, self.answer = script, obeys, answer
        self.asked: list[list[str]] = []

    def stop(self) -> None:
        self.asked.append(["scancel"])

    def run(self, command: list[str], **_: Any) -> Any:
        self.asked.append(command)
        ended = self.obeys and ["scancel"] in self.asked
        line = f"{'CANCELLED' if ended else 'RUNNING'} {self.script}\n"
        code = 1 if self.answer else 0
        return subprocess.CompletedProcess(
            command, code, "" if self.answer else line, f"slurm_load_jobs error: {self.answer}"
        )


def on_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: State = "queued") -> Job:
    monkeypatch.setattr("napari_graphflow.runners.slurm.engine", lambda *_: SimpleNamespace())
    job: Job = store.create("train", training(tmp_path))
    with job.writing():
        job.write_status(Status(state=state, process=Process(runner="slurm", launched=1.0)))
    return job


def cancel_on_slurm(job: Job, controller: Controller, monkeypatch: pytest.MonkeyPatch) -> Status:
    monkeypatch.setattr("napari_graphflow.runners.slurm.subprocess.run", controller.run)
    slurm = Slurm("slurm")
    slurm._handles[job.folder] = SimpleNamespace(job_id="17", cancel=controller.stop)
    return slurm.cancel(job, timeout=0.1)


@pytest.mark.parametrize("obeys", [True, False])
def test_slurm_confirms_a_cancellation_or_it_is_said_to_be_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, obeys: bool
) -> None:
    job = on_slurm(tmp_path, monkeypatch)
    controller = Controller(job.slurm / "submission.sh", obeys=obeys)
    status = cancel_on_slurm(job, controller, monkeypatch)
    assert status.state == "cancelled"
    assert (status.failure is None) == obeys
    if status.failure is not None:
        assert status.failure.remedy.endswith("scancel 17")


def test_a_job_that_slurm_no_longer_knows_is_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = on_slurm(tmp_path, monkeypatch)
    controller = Controller(job.slurm, answer="Invalid job id specified")
    status = cancel_on_slurm(job, controller, monkeypatch)
    assert (status.state, status.failure) == ("cancelled", None)


def test_a_job_that_ended_before_it_was_stopped_is_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = on_slurm(tmp_path, monkeypatch)
    controller = Controller(job.slurm / "submission.sh")

    def too_late() -> None:
        controller.asked.append(["scancel"])
        raise subprocess.CalledProcessError(1, "scancel")

    monkeypatch.setattr(controller, "stop", too_late)
    status = cancel_on_slurm(job, controller, monkeypatch)
    assert (status.state, status.failure) == ("cancelled", None)


def test_a_controller_that_does_not_respond_confirms_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = on_slurm(tmp_path, monkeypatch)
    controller = Controller(job.slurm, answer="Unable to contact slurm controller")
    failure = cancel_on_slurm(job, controller, monkeypatch).failure
    assert failure is not None and OPEN in failure.text


def test_another_job_of_slurm_that_the_record_names_is_not_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = on_slurm(tmp_path, monkeypatch)
    controller = Controller(tmp_path / "elsewhere" / "submission.sh")
    failure = cancel_on_slurm(job, controller, monkeypatch).failure
    assert ["scancel"] not in controller.asked
    assert failure is not None and OPEN in failure.text
