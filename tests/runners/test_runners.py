"""Runners without a cluster, and engines that are not responding."""

import socket
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pytest
from runner_cases import has_ray, has_submitit, training

from napari_graphflow.errors import UserError
from napari_graphflow.jobs import queue, store
from napari_graphflow.jobs.job import Job
from napari_graphflow.jobs.status import Process, Status
from napari_graphflow.jobs.trust import accept
from napari_graphflow.runners import Local, RunnerName, runner, runner_of
from napari_graphflow.runners.handover import read_note, write_note
from napari_graphflow.runners.ray.runner import Ray
from napari_graphflow.runners.ray.transfer import Transfer
from napari_graphflow.runners.slurm import Slurm


def test_several_workers_need_ray() -> None:
    with pytest.raises(UserError, match="Several workers require a Ray cluster"):
        runner("local", workers=2)


@pytest.mark.parametrize("name", get_args(RunnerName))
@pytest.mark.parametrize("workers", [0, -1])
def test_less_than_one_worker_is_refused(name: RunnerName, workers: int) -> None:
    with pytest.raises(UserError, match=f"cannot run with {workers} workers"):
        runner(name, workers)


class Unreachable:
    """A client of Ray while the cluster is not responding."""

    def __call__(self, address: str) -> "Unreachable":
        raise ConnectionError(address)


class Slow:
    """An engine that calls `meanwhile` before it returns a new id."""

    def __init__(self, meanwhile: Callable[[], None]) -> None:
        self.meanwhile = meanwhile

    def submit_job(self, **_: Any) -> str:
        self.meanwhile()
        return "new"


def ray_with(monkeypatch: pytest.MonkeyPatch, client: Any) -> None:
    sdk = SimpleNamespace(JobSubmissionClient=client)
    monkeypatch.setattr("napari_graphflow.runners.ray.runner.engine", lambda *_: sdk)


ADDRESS, CLIENT = "http://127.0.0.1:1", "ray://127.0.0.1:1"


def ended(dataset: Path, **note: Any) -> Job:
    """Create a job that was paused on an engine."""
    job: Job = store.create("train", training(dataset))
    with job.writing():
        job.write_status(Status(state="paused", process=Process(runner="ray")))
    write_note(job, address=ADDRESS, workers=1, **note)
    accept("addresses", ADDRESS, CLIENT)
    return job


@pytest.mark.parametrize("name", ["ray", "ray-packed"])
def test_state_and_log_are_read_without_a_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: RunnerName
) -> None:
    ray_with(monkeypatch, Unreachable())
    job = ended(tmp_path, runner=name, id="old")
    job.log.write_text("log of the job")
    assert runner_of(job).poll(job).state == "paused"
    assert runner_of(job).logs(job).startswith("No Ray cluster responds")
    assert runner_of(job).logs(job).endswith("log of the job")
    with pytest.raises(UserError, match="No Ray cluster responds"):
        runner_of(job).submit(job)
    assert job.status().state == "paused"


def test_a_packed_job_is_cancelled_while_its_cluster_is_unreachable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray_with(monkeypatch, Unreachable())
    job = ended(tmp_path, runner="ray-packed", id="old", client=CLIENT)
    queue.start(job, [sys.executable, "-c", "import time; time.sleep(600)"], runner="ray")
    monkeypatch.setattr("napari_graphflow.runners.ray.runner.STOPPING", 0.5)
    assert runner_of(job).cancel(job).state == "cancelled"


CRASHED = "Fatal Python error: Segmentation fault\n"


def test_a_rejected_job_keeps_cause_and_remedy_despite_an_old_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(**_: Any) -> str:
        raise RuntimeError("the queue is full")

    ray_with(monkeypatch, lambda _: SimpleNamespace(submit_job=full))
    job = ended(tmp_path, runner="ray")
    job.log.write_text(CRASHED)
    with pytest.raises(UserError) as rejected:
        Ray("http://127.0.0.1:1").submit(job)
    failure = job.status().failure
    assert (failure.code, failure.exit_code) == ("user", 2)
    assert (failure.text, failure.remedy) == (rejected.value.text, "the queue is full")


def test_a_job_that_ray_ended_before_it_started_has_not_crashed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = SimpleNamespace(status=SimpleNamespace(is_terminal=lambda: True), message="no such node")
    client = SimpleNamespace(submit_job=lambda **_: "new", get_job_info=lambda _: info)
    ray_with(monkeypatch, lambda _: client)
    job = ended(tmp_path, runner="ray")
    job.log.write_text(CRASHED)
    ray = Ray("http://127.0.0.1:1")
    ray.submit(job)
    failure = ray.poll(job).failure
    assert (failure.code, failure.exit_code) == ("ended", 1)
    assert "no such node" in failure.text


def test_a_previous_run_is_not_queried_while_the_next_is_submitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, seen = ended(tmp_path, runner="ray", id="old"), []
    ray = Ray("http://127.0.0.1:1")

    def poll_and_submit() -> None:
        seen.append(runner_of(job).poll(job).state)
        with pytest.raises(UserError, match="cannot be started"):
            runner_of(job).submit(job)

    ray_with(monkeypatch, lambda _: Slow(poll_and_submit))
    ray.submit(job)
    assert seen == ["queued"]
    assert read_note(job)["id"] == "new"


def test_errors_of_the_local_disk_are_not_cluster_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = ended(tmp_path, runner="ray-packed", id="old", events=0)
    transfer = Transfer(job)
    monkeypatch.setattr(transfer, "_ask", lambda *_, **__: ((3, 1), b"ab\n"))
    assert transfer._replace("checkpoints/last.pt", (3, 1), "")
    assert job.last_checkpoint.read_bytes() == b"ab\n"
    assert transfer._append_events("events.jsonl", (3, 1), "")
    assert job.events_file.read_bytes() == b"ab\n"
    job.model.write_text("in the way")
    with pytest.raises(UserError):
        transfer._replace("artifacts/model/model.json", (3, 1), "")
    job.events_file.unlink()
    job.events_file.mkdir()
    with pytest.raises(UserError):
        transfer._append_events("events.jsonl", (3, 1), "")


def test_a_packed_job_is_cancelled_locally_if_the_cluster_stops_responding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries = []

    def get_job_info(name: str) -> str:
        queries.append(name)
        if len(queries) > 1:
            raise ConnectionError("no route")
        return "it is there"

    ray_with(monkeypatch, lambda _: SimpleNamespace(get_job_info=get_job_info))
    package = SimpleNamespace(exceptions=SimpleNamespace(RayError=OSError), shutdown=lambda: None)
    monkeypatch.setattr("napari_graphflow.runners.ray.transfer.engine", lambda *_: package)
    monkeypatch.setattr("napari_graphflow.runners.ray.transfer.POLL_INTERVAL", 0.01)
    monkeypatch.setattr("napari_graphflow.runners.ray.transfer.CANCEL_TIMEOUT", 0.05)
    job = ended(tmp_path, runner="ray-packed", id="old")
    job.request_file("cancel").touch()
    with job.writing():
        Transfer(job).run()
    status = job.status()
    assert (status.state, status.exit_code) == ("cancelled", 130)
    assert status.failure.remedy.endswith("ray job stop old")
    assert len(queries) > 2, "it is queried again until the timeout"


@has_ray
@pytest.mark.filterwarnings("ignore")
def test_an_unreachable_ray_cluster_is_reported(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(UserError, match="No Ray cluster responds"):
        Ray(address).connect()


@has_submitit
def test_missing_slurm_is_reported(blobs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    job = store.create("train", training(blobs))
    with pytest.raises(UserError, match=r"Slurm"):
        Slurm("slurm").submit(job)
    assert job.status().state in ("created", "failed")


def test_a_job_without_an_engine_is_local(tmp_path: Path) -> None:
    job: Job = store.create("train", training(tmp_path))
    assert isinstance(runner_of(job), Local)
    assert runner_of(job).logs(job) == ""
    assert runner_of(job).cancel(job).state == "cancelled"
