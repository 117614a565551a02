"""Runners without a cluster: what the folder of a job tells, and engines that are away."""

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
from napari_graphflow.runners import Local, RunnerName, runner, runner_of
from napari_graphflow.runners.handover import read_note, write_note
from napari_graphflow.runners.ray.runner import Ray
from napari_graphflow.runners.ray.transfer import Carrier
from napari_graphflow.runners.slurm import Slurm


def test_several_workers_need_ray() -> None:
    with pytest.raises(UserError, match="Several workers are started by Ray only"):
        runner("local", workers=2)


@pytest.mark.parametrize("name", get_args(RunnerName))
@pytest.mark.parametrize("workers", [0, -1])
def test_less_than_one_worker_is_refused(name: RunnerName, workers: int) -> None:
    with pytest.raises(UserError, match=f"{workers} workers cannot run a job"):
        runner(name, workers)


class Away:
    """What Ray's package says while the cluster is away."""

    def __call__(self, address: str) -> "Away":
        raise ConnectionError(address)


class Mute:
    """An engine that answers only when it may, with a new id."""

    def __init__(self, look: Callable[[], None]) -> None:
        self.look = look

    def submit_job(self, **_: Any) -> str:
        self.look()
        return "new"


def ray_with(monkeypatch: pytest.MonkeyPatch, client: Any) -> None:
    sdk = SimpleNamespace(JobSubmissionClient=client)
    monkeypatch.setattr("napari_graphflow.runners.ray.runner.engine", lambda *_: sdk)


def ended(dataset: Path, **note: Any) -> Job:
    """A job that an engine had and that was paused."""
    job: Job = store.create("train", training(dataset))
    with job.writing():
        job.write_status(Status(state="paused", process=Process(runner="ray")))
    write_note(job, address="http://127.0.0.1:1", workers=1, **note)
    return job


@pytest.mark.parametrize("name", ["ray", "ray-packed"])
def test_what_the_folder_tells_needs_no_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: RunnerName
) -> None:
    ray_with(monkeypatch, Away())
    job = ended(tmp_path, runner=name, id="old")
    job.log.write_text("its own words")
    assert runner_of(job).poll(job).state == "paused"
    assert runner_of(job).logs(job).startswith("No Ray cluster answers")
    assert runner_of(job).logs(job).endswith("its own words")
    with pytest.raises(UserError, match="No Ray cluster answers"):
        runner_of(job).submit(job)
    assert job.status().state == "paused"


def test_a_carried_job_is_cancelled_while_its_cluster_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray_with(monkeypatch, Away())
    job = ended(tmp_path, runner="ray-packed", id="old", client="ray://127.0.0.1:1")
    queue.start(job, [sys.executable, "-c", "import time; time.sleep(600)"], runner="ray")
    monkeypatch.setattr("napari_graphflow.runners.ray.runner.STOPPING", 0.5)
    assert runner_of(job).cancel(job).state == "cancelled"


def test_an_ended_run_is_not_asked_for_while_the_next_is_handed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, seen = ended(tmp_path, runner="ray", id="old"), []
    ray = Ray("http://127.0.0.1:1")

    def look() -> None:
        seen.append(runner_of(job).poll(job).state)
        with pytest.raises(UserError, match="cannot be started"):
            runner_of(job).submit(job)

    ray_with(monkeypatch, lambda _: Mute(look))
    ray.submit(job)
    assert seen == ["queued"]
    assert read_note(job)["id"] == "new"


def test_our_own_disk_is_no_lost_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = ended(tmp_path, runner="ray-packed", id="old", events=0)
    carrier = Carrier(job)
    monkeypatch.setattr(carrier, "_ask", lambda *_, **__: ((3, 1), b"ab\n"))
    assert carrier._replace("checkpoints/last.pt", (3, 1), "")
    assert job.last_checkpoint.read_bytes() == b"ab\n"
    assert carrier._append_events("events.jsonl", (3, 1), "")
    assert job.events_file.read_bytes() == b"ab\n"
    job.model.write_text("in the way")
    with pytest.raises(UserError):
        carrier._replace("artifacts/model/model.json", (3, 1), "")
    job.events_file.unlink()
    job.events_file.mkdir()
    with pytest.raises(UserError):
        carrier._append_events("events.jsonl", (3, 1), "")


def test_a_carrier_leaves_a_cluster_that_is_silent_when_it_is_to_cancel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def get_job_info(name: str) -> str:
        asked.append(name)
        if len(asked) > 1:
            raise ConnectionError("no route")
        return "it is there"

    ray_with(monkeypatch, lambda _: SimpleNamespace(get_job_info=get_job_info))
    package = SimpleNamespace(exceptions=SimpleNamespace(RayError=OSError), shutdown=lambda: None)
    monkeypatch.setattr("napari_graphflow.runners.ray.transfer.engine", lambda *_: package)
    monkeypatch.setattr("napari_graphflow.runners.ray.transfer.EVERY", 0.01)
    monkeypatch.setattr("napari_graphflow.runners.ray.transfer.GOODBYE", 0.05)
    job = ended(tmp_path, runner="ray-packed", id="old")
    job.request_file("cancel").touch()
    with job.writing():
        Carrier(job).carry()
    status = job.status()
    assert (status.state, status.exit_code) == ("cancelled", 130)
    assert status.failure.remedy.endswith("ray job stop old")
    assert len(asked) > 2, "it was given a moment to answer"


@has_ray
@pytest.mark.filterwarnings("ignore")
def test_a_ray_that_is_not_there_is_told(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(UserError, match="No Ray cluster answers"):
        Ray(address).connect()


@has_submitit
def test_slurm_that_is_not_there_is_told(blobs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    job = store.create("train", training(blobs))
    with pytest.raises(UserError, match=r"Slurm"):
        Slurm("slurm").submit(job)
    assert job.status().state in ("created", "failed")


def test_a_job_that_was_never_handed_over_is_local(tmp_path: Path) -> None:
    job: Job = store.create("train", training(tmp_path))
    assert isinstance(runner_of(job), Local)
    assert runner_of(job).logs(job) == ""
    assert runner_of(job).cancel(job).state == "cancelled"
