"""Jobs on full disks, with folders in place of files, and damaged events."""

import errno
import json
import multiprocessing
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from export_cases import save
from job_cases import new_job

from napari_graphflow.errors import UserError
from napari_graphflow.jobs import trust
from napari_graphflow.jobs.event_log import read_events
from napari_graphflow.jobs.job import Job
from napari_graphflow.jobs.status import Status
from napari_graphflow.jobs.trust import accept, is_known
from napari_graphflow.plugin.worker.client import InferenceWorker
from napari_graphflow.system.failures import EXIT_CODES, explain_exit
from napari_graphflow.training import process


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_disk_that_is_full_from_the_start_ends_the_job_with_its_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    job = new_job(tmp_path)

    def full(self: Job, status: Status) -> None:
        raise OSError(number, os.strerror(number), str(self.status_file))

    monkeypatch.setattr(Job, "write_status", full)
    monkeypatch.setattr(process, "FIRST_STATUS_TIMEOUT", 0.1)
    code = process.run(job.folder, iter(()))
    assert code == EXIT_CODES["disk_full" if number == errno.ENOSPC else "no_permission"]
    assert os.strerror(number) in job.log.read_text("utf-8")


def test_the_exit_code_of_a_process_that_could_write_nothing_tells_the_cause() -> None:
    assert explain_exit(EXIT_CODES["disk_full"]).text == "The disk is full."
    assert "not responding" in explain_exit(EXIT_CODES["drive_gone"]).text


@pytest.mark.parametrize("request_name", ["pause", "cancel", "resume", "checkpoint_now"])
def test_a_folder_in_place_of_a_request_is_none_and_is_named(
    tmp_path: Path, request_name: Any
) -> None:
    job = new_job(tmp_path)
    job.request_file(request_name).mkdir(parents=True)
    assert job.requests() == set()
    job.clear_requests()
    with pytest.raises(UserError, match="is a folder"):
        job.request(request_name)


def test_damaged_metrics_are_skipped_and_the_others_are_read(tmp_path: Path) -> None:
    good = {"event": "metric", "name": "dice", "value": 0.5, "step": 3}
    bad = [
        {"event": "metric", "value": 0.5, "step": 3}, good | {"name": ""}, good | {"name": None},
        good | {"step": 10**400}, good | {"step": -1}, good | {"value": "high"}, [], 3,
        {"event": ["metric"]}, {"event": "progress", "step": 1, "total": 2**40},
    ]  # fmt: skip
    path = tmp_path / "events"
    lines = [json.dumps(one) for one in bad]
    path.write_text("\n".join([*lines, "[" * 100_000, json.dumps(good), ""]), "utf-8")
    events, _ = read_events(path, 0)
    assert [event.name for event in events] == ["dice"]


def _hold(path: Path, held: Any, release: Any) -> None:
    from napari_graphflow.system.files import locked

    with locked(path):
        held.set()
        release.wait(60)


def test_nothing_is_accepted_while_another_process_writes_the_list(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept("jobs", "first")
    monkeypatch.setattr(trust, "LOCK_TIMEOUT", 0.1)
    spawning = multiprocessing.get_context("spawn")
    held, release = spawning.Event(), spawning.Event()
    other = spawning.Process(
        target=_hold, args=(home / ".trusted.json.lock", held, release), daemon=True
    )
    other.start()
    try:
        assert held.wait(60)
        with pytest.raises(UserError, match="locked by another process"):
            accept("jobs", "second")
        with pytest.raises(UserError, match="locked by another process"):
            new_job(tmp_path)
    finally:
        release.set()
        other.join()
    assert is_known("jobs", "first")
    assert not is_known("jobs", "second")
    assert not any((home / "jobs").iterdir())


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
def test_colleagues_can_read_the_weights_as_they_can_read_the_card(tmp_path: Path) -> None:
    folder = save(tmp_path / "model")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes["weights.safetensors"] == modes["model.json"]


def test_a_home_that_cannot_be_written_does_not_keep_the_worker_from_starting(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_text("x")
    worker = InferenceWorker(log=tmp_path / "file" / "worker.log")
    try:
        assert worker.run("ping")["event"] == "result"
    finally:
        worker.close()
